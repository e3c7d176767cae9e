"""A module whose forward has a loop of varying length over one layer, and asks for its parts by name."""

import random

import numpy as np
import torch
from torch import nn


class DynamicNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.input_linear = nn.Linear(8, width)
        self.middle = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.heads = nn.ModuleDict({"mean": nn.Linear(width, 1), "spread": nn.Linear(width, 1)})
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("calls", torch.zeros(1, dtype=torch.long))

    def forward(self, x, repeats=1):
        self.calls += 1
        h = torch.tanh(self.input_linear(x))
        for i in range(repeats):
            h = torch.tanh(self.middle[i % 2](h)) * self.scale
        return self.heads["mean"](h).squeeze(-1), nn.functional.softplus(self.heads["spread"](h)).squeeze(-1)


def initialize(module):
    if isinstance(module, nn.Linear):
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(rng.normal(size=module.weight.shape)) / module.in_features**0.5)
        nn.init.zeros_(module.bias)


rng = np.random.default_rng(4)
random.seed(4)
model = DynamicNet(12).double()
model.apply(initialize)
x = torch.from_numpy(rng.normal(size=(30, 8)))
y = torch.from_numpy(rng.normal(size=30))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for step in range(30):
    mean, spread = model(x, repeats=random.randint(0, 4))
    loss = ((y - mean) ** 2 / (spread + 0.1) + torch.log(spread + 0.1)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 5 == 0:
        print(step, f"{loss.item():.12g}")

for name, parameter in model.named_parameters():
    print(name, tuple(parameter.shape), f"{parameter.detach().abs().sum().item():.12g}")
print(int(model.calls), [name for name, _ in model.named_modules()], list(model.state_dict())[-1])
