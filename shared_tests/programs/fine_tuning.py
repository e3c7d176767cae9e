"""Training goes on from a saved state_dict: a new head, frozen layers, then a checkpoint of model and optimizer."""

import os
import tempfile

import numpy as np
import torch
import torch.nn as nn

rng = np.random.default_rng(11)
x = torch.from_numpy(rng.normal(size=(40, 5)).astype(np.float32))
old_target = torch.from_numpy(rng.normal(size=(40, 2)).astype(np.float32))
new_target = torch.from_numpy(rng.integers(0, 2, size=(40, 1)).astype(np.float32))


def network(outputs):
    net = nn.Sequential()
    net.add_module("body", nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Sigmoid()))
    net.add_module("head", nn.Linear(8, outputs))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
    return net


def train(model, criterion, target, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(x), target)
        loss.backward()
        optimizer.step()
    print(f"{criterion.__class__.__name__} {loss.item():.7f}")


folder = tempfile.mkdtemp()
path = os.path.join(folder, "pretrained.pth")
model = network(2)
train(model, nn.MSELoss(), old_target, torch.optim.SGD(model.parameters(), lr=0.1), 20)
torch.save(model.state_dict(), path)

tuned = network(1)
pretrained = torch.load(path, map_location=torch.device("cpu"), weights_only=True)
body = {name: value for name, value in pretrained.items() if name.startswith("body")}
result = tuned.load_state_dict(body, strict=False)
print(sorted(result.missing_keys), result.unexpected_keys)
for param in tuned.body.parameters():
    param.requires_grad = False
frozen = tuned.body[0].weight.clone()
optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, tuned.parameters()), lr=0.05)
train(tuned, nn.BCEWithLogitsLoss(), new_target, optimizer, 15)
print(torch.equal(frozen, tuned.body[0].weight), tuned.body[0].weight.grad, tuned.head.weight.grad.norm().item())

for param in tuned.parameters():
    param.requires_grad_(True)
optimizer.add_param_group({"params": tuned.body.parameters(), "lr": 0.01})
train(tuned, nn.BCEWithLogitsLoss(), new_target, optimizer, 10)

checkpoint = os.path.join(folder, "checkpoint.tar")
torch.save({"epoch": 3, "model": tuned.state_dict(), "optimizer": optimizer.state_dict(), "best": 0.5}, checkpoint)
resumed = network(1)
again = torch.optim.Adam([{"params": resumed.head.parameters()}, {"params": resumed.body.parameters()}], lr=1.0)
state = torch.load(checkpoint)
resumed.load_state_dict(state["model"])
again.load_state_dict(state["optimizer"])
train(tuned, nn.BCEWithLogitsLoss(), new_target, optimizer, 5)
train(resumed, nn.BCEWithLogitsLoss(), new_target, again, 5)
print(state["epoch"], state["best"], [group["lr"] for group in again.param_groups])
