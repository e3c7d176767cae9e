"""A network of two layers on plain tensors: forward, backward and the steps by hand."""

import numpy as np
import torch

device = torch.device("cpu")
dtype = torch.float64

rng = np.random.default_rng(0)
x = torch.from_numpy(rng.normal(size=(32, 10))).to(device)
y = torch.tensor(rng.normal(size=(32, 3)), dtype=dtype, device=device)
w1 = torch.tensor(rng.normal(size=(10, 16)), dtype=dtype)
w2 = torch.tensor(rng.normal(size=(16, 3)), dtype=dtype)

learning_rate = 1e-3
for step in range(40):
    h = x.mm(w1)
    h_relu = h.clamp(min=0)
    prediction = h_relu.mm(w2)
    loss = (prediction - y).pow(2).sum()
    if step % 8 == 0:
        print(step, f"{loss.item():.12g}")

    grad_prediction = 2.0 * (prediction - y)
    grad_w2 = h_relu.t().mm(grad_prediction)
    grad_h = grad_prediction.mm(w2.t())
    grad_h[h < 0] = 0
    grad_w1 = x.t().mm(grad_h)

    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2

print(x.size(), h_relu.view(-1).numel(), w1.dim(), w2.dtype == torch.double)
print(f"{loss:.12g} {w1.abs().max().item():.12g} {w2.sum(dim=0).tolist()}")

buffer = torch.empty(size=(16, 16), dtype=dtype)
same = torch.mm(w1.t(), w1, out=buffer)
print(
    same is buffer, f"{torch.linalg.matmul(w1.t(), w1).sub(buffer).abs().max().item():.6f} {buffer.trace().item():.12g}"
)
