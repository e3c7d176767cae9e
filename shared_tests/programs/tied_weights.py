"""A language model of two letters of context, whose embedding and last layer are one matrix."""

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F

text = "the quick brown fox jumps over the lazy dog; the dog sleeps on, and the fox jumps again. "
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)
rng = np.random.default_rng(10)


class Block(nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        self.ln = nn.LayerNorm(n_embd)
        self.net = nn.Sequential(nn.Linear(n_embd, 2 * n_embd), nn.GELU(), nn.Linear(2 * n_embd, n_embd))

    def forward(self, x):
        return x + self.net(self.ln(x))


class Model(nn.Module):
    def __init__(self, vocab_size, n_embd, context):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.mix = nn.Linear(context * n_embd, n_embd)
        self.blocks = nn.Sequential(*[Block(n_embd) for _ in range(2)])
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx, targets=None):
        B, T = idx.shape
        logits = self.lm_head(self.blocks(self.mix(self.wte(idx).view(B, -1))))
        return logits, None if targets is None else F.cross_entropy(logits, targets, ignore_index=-1)


model = Model(len(chars), 8, 2)
for p in model.parameters():
    if p.dim() > 1:
        p.data.copy_(torch.from_numpy(rng.normal(size=p.shape) * 0.2))
    elif p.data.sum() == 0:
        p.data.zero_()
    else:
        nn.init.constant_(p, 1.0) if bool((p == 1).all()) else p.data.fill_(0.1)

decay = [p for p in model.parameters() if p.dim() >= 2]
rest = [p for p in model.parameters() if p.dim() < 2]
groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))

for step in range(30):
    ix = torch.from_numpy(rng.integers(0, len(data) - 2, 16))
    x = torch.stack([data[i : i + 2] for i in ix])
    y = torch.stack([data[i + 2] for i in ix])
    y[:2] = -1
    logits, loss = model(x, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 5 == 0:
        print(f"step {step}: loss {loss:.6f}, norm {norm.item():.6f}")

print(model.wte.weight is model.lm_head.weight, sum(p.numel() for p in model.parameters()), len(model.state_dict()))
model.eval()
idx = data[None, :2]
with torch.no_grad():
    for _ in range(12):
        logits, _ = model(idx[:, -2:])
        values, indices = torch.topk(logits, 3)
        idx = torch.cat((idx, indices[:, :1]), dim=1)
print("".join(chars[i] for i in idx[0].tolist()), values.softmax(-1).tolist())
