"""Functions with derivatives of their own, and gradients without backward()."""

import numpy as np
import torch


class Legendre3(torch.autograd.Function):
    """(5 x³ − 3 x) / 2, which keeps its input for the way back."""

    @staticmethod
    def forward(ctx, input, factor):
        ctx.save_for_backward(input)
        ctx.factor = factor
        return factor * (5 * input**3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        return grad_output * ctx.factor * 3 * (5 * input**2 - 1), None


class Rounded(torch.autograd.Function):
    """The nearest integer forward, straight through backward; what wasn't rounded counts as constant."""

    @staticmethod
    def forward(x):
        return torch.round(x), (x != torch.round(x)).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, grad_rounded, grad_changed):
        return grad_rounded.clone() if ctx.needs_input_grad[0] else None


rng = np.random.default_rng(5)
x = torch.linspace(-1, 1, 50, dtype=torch.double)
y = torch.sin(3 * x)
a, b, c, d = [torch.tensor(v, requires_grad=True) for v in rng.normal(size=4)]
parameters = [a, b, c, d]

for step in range(40):
    y_pred = a + b * Legendre3.apply(c + d * x, 0.5)
    loss = (y_pred - y).pow(2).mean()
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients):
            parameter -= 0.02 * gradient
    if step % 8 == 0:
        print(step, f"{loss.item():.12g}", [p.grad for p in parameters])

z = torch.from_numpy(rng.normal(size=7) * 3).requires_grad_()
rounded, changed = Rounded.apply(z)
(rounded * torch.arange(7) + changed).sum().backward()
print(rounded.tolist(), z.grad.tolist(), changed.requires_grad, int(changed.sum()))

u = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
v = u * u
first, second = torch.autograd.grad(v.sum() + u.prod(), [v, u], grad_outputs=torch.tensor(2.0))
unused = torch.autograd.grad((u * 2).sum(), [u, z], allow_unused=True)
print(first.tolist(), second.tolist(), unused[0].tolist(), unused[1] is None, u.grad is None)
try:
    torch.autograd.grad((u * 2).sum(), z)
except RuntimeError:
    print("z has no part in it")
