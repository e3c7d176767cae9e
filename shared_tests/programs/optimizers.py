"""Minibatches, Adam, a schedule and the accuracy, as most training loops are written."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden, bias=False)
        self.bn = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x):
        x = F.relu(self.bn(self.fc1(x)))
        return self.fc2(self.dropout(x))


rng = np.random.default_rng(3)
points = rng.normal(size=(240, 6)).astype(np.float32)
labels = (points[:, :3].sum(1) > points[:, 3:].sum(1)) + 2 * (points[:, 0] > 0)
train = TensorDataset(torch.from_numpy(points[:200]), torch.tensor(labels[:200], dtype=torch.long))
test = TensorDataset(torch.from_numpy(points[200:]), torch.tensor(labels[200:], dtype=torch.long))
train_loader = DataLoader(train, batch_size=32, shuffle=False, num_workers=0, pin_memory=False)
test_loader = DataLoader(test, batch_size=40)

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Net(6, 24, 4).to(device)
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.from_numpy(rng.normal(size=p.size()) * 0.4))
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.02)
scheduler = StepLR(optimizer, step_size=2, gamma=0.5)

for epoch in range(4):
    model.train()
    for batch_idx, (data, target) in enumerate(train_loader):
        data, target = data.to(device), target.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(data), target)
        loss.backward()
        optimizer.step()
        if batch_idx % 3 == 0:
            print(f"epoch {epoch} [{batch_idx * len(data)}/{len(train_loader.dataset)}] loss {loss.item():.7f}")
    scheduler.step()
    model.eval()
    test_loss, correct = 0.0, 0
    with torch.no_grad():
        for data, target in test_loader:
            output = F.log_softmax(model(data), dim=1)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    print(f"test {test_loss / len(test):.7f} {100.0 * correct / len(test):.1f}% lr {scheduler.get_last_lr()[0]}")
