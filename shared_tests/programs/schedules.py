"""Groups of parameters, schedules that work together, a rate set by hand and gradients of a limited norm."""

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler

rng = np.random.default_rng(14)
model = nn.Sequential(nn.Linear(6, 10), nn.SiLU(), nn.Linear(10, 3)).double()
for p in model.parameters():
    p.data = torch.from_numpy(rng.normal(size=p.shape))
x, y = torch.from_numpy(rng.normal(size=(25, 6))), torch.from_numpy(rng.integers(0, 3, 25))
weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
criterion = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)


def step(optimizer, limit=None):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit) if limit else torch.zeros(())
    optimizer.step()
    return f"{loss.item():.12g} {norm.item():.12g}"


optimizer = torch.optim.SGD(
    [
        {"params": model[0].parameters()},
        {"params": [model[2].weight, model[2].bias], "lr": 1e-2, "weight_decay": 0.1},
    ],
    lr=0.1,
    momentum=0.9,
)
warm_up = lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda epoch: min(1.0, (epoch + 1) / 5))
cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
for epoch in range(12):
    report = step(optimizer, limit=0.5)
    cosine.step()
    if epoch == 6:
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
    print(epoch, report, [group["lr"] for group in optimizer.param_groups])
print(warm_up.get_last_lr() == warm_up.get_last_lr(), len(optimizer.state_dict()["param_groups"]))

optimizers = [
    (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5}),
    (torch.optim.Adadelta, {"lr": 1.0}),
    (torch.optim.Adagrad, {"lr": 0.1, "weight_decay": 0.01}),
    (torch.optim.AdamW, {"lr": 0.01, "amsgrad": True}),
]
for kind, settings in optimizers:
    optimizer = kind(model.parameters(), **settings)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, threshold=10.0)
    for _ in range(5):
        report = step(optimizer)
        plateau.step(float(report.split()[0]))
    print(kind.__name__, report, optimizer.param_groups[0]["lr"])

optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, 0.5)  # the fourth is dampening
cycle = lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=6)
for _ in range(5):
    report = step(optimizer)
    cycle.step()
print(report, f"{optimizer.param_groups[0]['lr']:.12g}")
