"""A variational autoencoder, its noise drawn with NumPy so that it is the same everywhere."""

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self, size=16, hidden=24, latent=3):
        super().__init__()
        self.fc1 = nn.Linear(size, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, size)

    def encode(self, x):
        h1 = F.elu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.from_numpy(rng.normal(size=std.shape)).type_as(std)
        return eps.mul(std).add_(mu)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.elu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 16))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    bce = F.binary_cross_entropy(recon_x, x.view(-1, 16), size_average=False)
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld, kld


rng = np.random.default_rng(7)
images = torch.from_numpy((rng.random((80, 1, 4, 4)) < rng.random((4, 4))).astype(np.float32))
model = VAE()
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(size=p.shape) * 0.3))
optimizer = optim.Adam(model.parameters(), lr=1e-2)

for epoch in range(3):
    model.train()
    train_loss = 0
    for data in images.split(20):
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss, kld = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        train_loss += loss.item()
        optimizer.step()
        print(f"{loss.item() / len(data):.6f} {kld.item():.6f}")
    print(f"epoch {epoch} average {train_loss / len(images):.6f}")

with torch.no_grad():
    sample = torch.zeros(2, 3)
    sample[1] += 1
    print(model.decode(sample).view(2, 1, 4, 4).mean(dim=(1, 2, 3)).tolist())
