"""A network in one expression, a loss that sums, and steps that go over the parameters."""

import numpy as np
import torch

rng = np.random.default_rng(2)
x = torch.from_numpy(rng.normal(size=(64, 20)).astype(np.float32))
y = torch.from_numpy(rng.normal(size=(64, 4)).astype(np.float32))

model = torch.nn.Sequential(
    torch.nn.Linear(20, 30),
    torch.nn.ReLU(inplace=True),
    torch.nn.Linear(30, 10),
    torch.nn.Tanh(),
    torch.nn.Linear(10, 4),
)
for parameter in model.parameters():
    parameter.data = torch.from_numpy(rng.normal(size=parameter.shape).astype(np.float32) * 0.3)
loss_fn = torch.nn.MSELoss(reduction="sum")

for step in range(50):
    y_pred = model(x)
    loss = loss_fn(y_pred, y)
    if step % 10 == 0:
        print(step, loss.item())
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad

print(model)
print(sum(p.numel() for p in model.parameters()), [tuple(p.shape) for p in model.parameters() if p.requires_grad])
print(loss.item(), model[0].weight.norm().item(), model[-1].bias.mean().item())
