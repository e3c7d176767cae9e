"""The sine as a polynomial of the third degree: gradients by autograd, steps under no_grad."""

import math

import numpy as np
import torch

x = torch.linspace(-math.pi, math.pi, 200)
y = torch.sin(x)
a, b, c, d = [torch.tensor(v, dtype=torch.float32, requires_grad=True) for v in np.random.default_rng(1).normal(size=4)]

learning_rate = 1e-5
for t in range(60):
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = (y_pred - y).square().sum()
    if t % 10 == 9:
        print(t, loss.item())
    loss.backward()
    with torch.no_grad():
        for parameter in (a, b):
            parameter -= learning_rate * parameter.grad
            parameter.grad.zero_()
        c.sub_(c.grad, alpha=learning_rate)
        d.copy_(d - learning_rate * d.grad)
    c.grad, d.grad = None, None

print(a.grad.item(), c.grad, loss.requires_grad, loss.grad_fn is not None, x.is_leaf)
print(f"y = {a.item():.6f} + {b.item():.6f} x + {float(c):.6f} x^2 + {d:.6f} x^3")

scale = torch.ones(3, requires_grad=True)
out = (scale * torch.arange(3.0)).sum()
out.backward(retain_graph=True)
out.backward()
print(scale.grad.tolist(), scale.detach().requires_grad)
print(out.grad_fn.name(), out.grad_fn.next_functions[0][0] is not None, scale.grad_fn, out.grad_fn.next_functions[0][1])
