"""Two networks against each other: steps in turn, detached fakes, labels that are filled in place."""

import numpy as np
import torch
import torch.nn as nn

rng = np.random.default_rng(8)


def weights_init(m):
    if m.__class__.__name__.find("Linear") != -1:
        m.weight.data.copy_(torch.from_numpy(rng.normal(0.0, 0.2, tuple(m.weight.shape))))
        nn.init.constant_(m.bias.data, 0.01)


def noise(n, size):
    return torch.from_numpy(rng.normal(size=(n, size)).astype(np.float32))


G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(True), nn.Linear(16, 2), nn.Tanh())
D = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2, inplace=True), nn.Linear(16, 1), nn.Sigmoid())
G.apply(weights_init)
D.apply(weights_init)
criterion = nn.BCELoss()
optimizer_d = torch.optim.Adam(D.parameters(), lr=0.01, betas=(0.5, 0.999))
optimizer_g = torch.optim.Adam(G.parameters(), lr=0.01, betas=(0.5, 0.999))
fixed_noise = noise(8, 4)

for i in range(15):
    # The discriminator: real samples, then fakes that send nothing back to the generator.
    D.zero_grad()
    real = noise(32, 2) * 0.1 + 0.5
    label = torch.full((real.size(0),), 1.0, dtype=torch.float)
    output = D(real).view(-1)
    err_real = criterion(output, label)
    err_real.backward()
    fake = G(noise(32, 4))
    label.fill_(0.0)
    output = D(fake.detach()).view(-1)
    err_fake = criterion(output, label)
    err_fake.backward()
    d_g_z1 = output.mean().item()
    optimizer_d.step()
    # The generator, through the discriminator as it is now.
    G.zero_grad()
    label.fill_(1.0)
    output = D(fake).view(-1)
    err_g = criterion(output, label)
    err_g.backward()
    optimizer_g.step()
    if i % 3 == 0:
        scores = (err_real + err_fake).item(), err_g.item(), d_g_z1, output.mean().item()
        print("[{}] {:.6f} {:.6f} {:.6f} / {:.6f}".format(i, *scores))

with torch.no_grad():
    print(G(fixed_noise).detach().cpu().numpy().round(5).tolist())
