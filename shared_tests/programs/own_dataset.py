"""A data set of one's own, whose examples are a dict of this and that, and the ways to go through it."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, Subset


class Waves(Dataset):
    """Waves, each with its frequency, its number and a name."""

    def __init__(self, n, transform=None):
        self.phases = np.random.default_rng(12).random(n)
        self.transform = transform
        self.asked = []

    def __len__(self):
        return len(self.phases)

    def __getitem__(self, idx):
        if torch.is_tensor(idx):
            idx = idx.tolist()
        self.asked.append(idx)
        wave = np.sin(np.arange(8) * 0.5 + 6 * self.phases[idx]).astype(np.float32)
        if self.transform:
            wave = self.transform(wave)
        return {"wave": wave, "phase": self.phases[idx], "number": idx, "name": f"wave {idx}"}


class ToTensor:
    def __call__(self, wave):
        return torch.from_numpy(wave).unsqueeze(0)


dataset = Waves(11, transform=ToTensor())
print(len(dataset), dataset[3]["wave"].shape, dataset[torch.tensor(3)]["name"])
loader = DataLoader(dataset, batch_size=4, shuffle=False, num_workers=0, drop_last=False)
for i, batch in enumerate(loader):
    print(i, batch["wave"].size(), batch["phase"].dtype == torch.float64, batch["number"].tolist(), batch["name"])
print(len(loader), dataset.asked[2:6], f"{batch['wave'].sum().item():.6f}")

tail = DataLoader(Subset(dataset, [9, 7, 5]), batch_size=2, drop_last=True)
print([batch["number"].tolist() for batch in tail], len(tail))
pairs = [(torch.tensor([1.0, 2.0]), 0), (torch.tensor([3.0, 4.0]), 1), (torch.tensor([5.0, 6.0]), 0)]
for points, labels in DataLoader(pairs, batch_size=3, sampler=SequentialSampler(pairs)):
    print(points.tolist(), labels.tolist(), labels.dtype == torch.int64)
longest = DataLoader(["a", "bcd", "ef"], batch_size=3, collate_fn=lambda batch: max(map(len, batch)))
print(list(longest), sorted(n for batch in DataLoader(range(7), 3, shuffle=True) for n in batch.tolist()))

endless = iter(DataLoader(dataset, batch_size=2, sampler=RandomSampler(dataset, replacement=True, num_samples=10**10)))
print([tuple(next(endless)["wave"].shape) for _ in range(2)])

generator = torch.Generator().manual_seed(0)
parts = torch.utils.data.random_split(range(10), [7, 3], generator=generator)
print([len(part) for part in parts], sorted([*parts[0], *parts[1]]))

model = torch.nn.Linear(8, 1)
model.weight.data.fill_(0.1)
model.bias.data.zero_()
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
for _ in range(3):
    for batch in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.smooth_l1_loss(model(batch["wave"]).flatten(), batch["phase"].float())
        loss.backward()
        optimizer.step()
    print(f"{loss.item():.7f}")
