"""Updates in place, within the graph and outside of it, and what shares memory with what."""

import numpy as np
import torch

rng = np.random.default_rng(13)
x = torch.from_numpy(rng.normal(size=(4, 6, 3)))
w = torch.from_numpy(rng.normal(size=(3, 5)) * 0.5).requires_grad_()
u = torch.from_numpy(rng.normal(size=(5, 5)) * 0.5).requires_grad_()

# A recurrent network that writes each step into its place.
h = torch.zeros(4, 6, 5, dtype=torch.float64)
state = torch.zeros(4, 5, dtype=torch.float64)
for t in range(6):
    state = torch.tanh(x[:, t] @ w + state @ u)
    h[:, t] = state
h[:, 0] *= 2.0
loss = (h**2).mean() + h[:, -1].sum()
loss.backward()
print(f"{loss.item():.12g}", h.requires_grad, h.grad_fn is not None)
print(f"{w.grad.norm().item():.12g} {u.grad.abs().sum().item():.12g}")

# Every name of a tensor sees what is written into it.
a = torch.ones(3, 2)
b, row, flat = a, a[1], a.view(-1)
a += 1
row.mul_(10)
flat[0] = -1
print(a.tolist(), b is a, row.tolist(), a.t()[1].tolist())
n = a.numpy()
a.add_(0.5)
print(n.tolist(), torch.from_numpy(n).sum().item())

# Masks, ranges and what is chosen by numbers; gradients go to what was written and to what was left.
c = torch.arange(8.0, requires_grad=True)
d = torch.full((3,), 2.0, requires_grad=True)
e = c * 3
e[torch.tensor([1, 4, 6])] = d**2
e[e > 18] = 0.0
e[-2:].clamp_(max=3.0)
e.masked_fill_(torch.arange(8) == 2, 7.0)
e.sum().backward()
print(e.tolist(), c.grad.tolist(), d.grad.tolist())

# What PyTorch refuses.
for update in (lambda: w.add_(1), lambda: u.__setitem__(0, 1.0)):
    try:
        update()
        print("done")
    except RuntimeError:
        print("refused")
y = torch.tensor([1.0, 2.0], requires_grad=True)
z = y.exp()
z += 1
try:
    z.sum().backward()
    print("done")
except RuntimeError:
    print("refused")
with torch.no_grad():
    y[0], y[1] = 5.0, y[1] * 3
    y.grad = torch.ones_like(y)
print(y.tolist(), y.grad.tolist(), y.requires_grad)
