"""A policy gradient, REINFORCE: a walker in a corridor learns that the reward is at the right end."""

from collections import deque

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

LENGTH = 6
rng = np.random.default_rng(9)
eps = np.finfo(np.float32).eps.item()


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(LENGTH, 16)
        self.affine2 = nn.Linear(16, 2)
        self.saved_log_probs = []
        self.rewards = []

    def forward(self, x):
        return F.log_softmax(self.affine2(F.relu(self.affine1(x))), dim=-1)


def select_action(place):
    state = F.one_hot(torch.tensor(place), num_classes=LENGTH).float().unsqueeze(0)
    log_probs = policy(state)
    action = int(rng.random() < log_probs[0, 1].exp().item())
    policy.saved_log_probs.append(log_probs.gather(1, torch.tensor([[action]])).squeeze(1))
    return action


def finish_episode():
    R = 0
    returns = deque()
    for r in policy.rewards[::-1]:
        R = r + 0.9 * R
        returns.appendleft(R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    policy_loss = [-log_prob * R for log_prob, R in zip(policy.saved_log_probs, returns)]
    optimizer.zero_grad()
    policy_loss = torch.cat(policy_loss).sum()
    policy_loss.backward()
    optimizer.step()
    del policy.rewards[:]
    del policy.saved_log_probs[:]
    return policy_loss.item()


policy = Policy()
for p in policy.parameters():
    nn.init.zeros_(p)
    p.data += torch.from_numpy(rng.normal(size=p.shape) * 0.3).float()
optimizer = optim.Adam(policy.parameters(), lr=0.02)

for episode in range(12):
    place = 0
    for _ in range(40):
        place = max(place + (1 if select_action(place) else -1), 0)
        policy.rewards.append(1.0 if place == LENGTH - 1 else -0.1)
        if place == LENGTH - 1:
            break
    print(f"episode {episode} steps {len(policy.rewards)} loss {finish_episode():.5f}")

with torch.inference_mode():
    print((policy(torch.eye(LENGTH))[:, 1].exp() > 0.5).tolist(), policy(torch.eye(LENGTH)).exp().sum(0).tolist())
