# A neuron, and how wrong it is
from stage1_scalar import Tensor

x = [Tensor(1.0, requires_grad=False), Tensor(-2.0, requires_grad=False)]
w = [Tensor(0.7), Tensor(0.4)]
bias = Tensor(0.3)
target = 1.0

score = x[0] * w[0] + x[1] * w[1] + bias
loss = (score.tanh() - target) ** 2
loss.backward()

# One step against the gradient: is it less wrong now?
for p in [*w, bias]:
    p.data -= 0.2 * p.grad
score = x[0] * w[0] + x[1] * w[1] + bias
print(f"loss {loss.data:.4f}, after one step {((score.tanh() - target) ** 2).data:.4f}")
