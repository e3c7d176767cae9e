"""`capture` on the CPU: a step that is recorded does what it did before, number by number, and says what it can't do."""

import gc
import re
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from .test_kernels import ROOT, run

pytestmark = pytest.mark.capability("captured steps")


def moons(nn):
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))


def mlp(nn):
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def normed(nn):
    """Batch norm of images and of rows, dropout, and layer norm; a bias before batch norm would be moved by rounding."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.GELU(), nn.AvgPool2d(3), nn.Flatten()),
        *(nn.Linear(64, 16, bias=False), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.3), nn.LayerNorm(16), nn.Linear(16, 10)),
    )


def attention(nn):
    """A small GPT: two heads, each position sees those before it."""
    functional = nn.functional

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.letters, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
            self.norm, self.joint, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 11)
            self.register_buffer("later", self.places.weight.new_ones((6, 6)).triu(1).bool())

        def forward(self, letters):
            x = self.letters(letters) + self.places.weight
            q, k, v = [
                y.reshape(-1, 6, 2, 4).transpose(1, 2) for y in self.joint(self.norm(x)).split(8, dim=2)
            ]
            seen = (q @ k.transpose(-2, -1) / 2).masked_fill(self.later, float("-inf"))
            x = x + (functional.softmax(seen, dim=-1) @ v).transpose(1, 2).reshape(-1, 6, 8)
            return self.out(functional.gelu(x)).reshape(-1, 11)

    return GPT()


def margin(package, model, scores, labels):
    return (1 - labels * scores).relu().mean() + 1e-4 * sum((p * p).sum() for p in model.parameters())


def entropy(package, model, logits, labels):
    return package.nn.functional.cross_entropy(logits, labels.reshape(-1))


def squared(package, model, images, labels):
    return package.nn.functional.mse_loss(images, labels)


def batches(kind, dtype, count=8):
    """Batches of the inputs and labels of a network."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        if kind == "moons":
            yield rng.standard_normal((100, 2)).astype(dtype), rng.choice([-1.0, 1.0], (100, 1)).astype(dtype)
        elif kind == "attention":
            yield rng.integers(0, 11, (3, 6)), rng.integers(0, 11, (3, 6))
        elif kind == "autoencoder":
            images = rng.random((16, 784)).astype(dtype)
            yield images, images
        else:
            shape = (16, 784) if kind == "mlp" else (16, 1, 28, 28)
            yield rng.standard_normal(shape).astype(dtype), rng.integers(0, 10, 16)


NETWORKS = {
    "moons": (moons, margin, "SGD", 0.1),
    "mlp": (mlp, entropy, "SGD", 0.1),
    "mnist": ("mnist", entropy, "Adam", 1e-3),
    "autoencoder": ("autoencoder", squared, "Adam", 1e-3),
    "normed": (normed, entropy, "RMSprop", 1e-3),
    "attention": (attention, entropy, "SGD", 0.1),
}


def trained(stage, kind, dtype, way, steps=100):
    """The losses and all weights, buffers and optimizer's state after so many steps, in which the learning rate falls."""
    package, optim = stage.package, stage.part("optim")
    network, loss_of, optimizer, lr = NETWORKS[kind]
    package.manual_seed(0)
    model = stage.part(network).network() if isinstance(network, str) else network(package.nn)
    model.to(dtype)
    optimizer = getattr(optim, optimizer)(model.parameters(), lr=lr)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.99**step)

    def step(x, y):
        loss = loss_of(package, model, model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    data = [tuple(package.tensor(array) for array in batch) for batch in batches(kind, dtype)]
    step, losses = way(step), []
    for i in range(steps):
        losses.append(step(*data[i % len(data)]).item())
        scheduler.step()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for i, values in optimizer.state_dict()["state"].items():
        state |= {f"{i} {name}": np.array(value) for name, value in values.items()}
    grads = {f"grad of {name}": p.grad.numpy() for name, p in model.named_parameters()}
    return losses, state, grads


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_are_the_same_after_a_hundred_captured_steps(stage, kind, dtype):
    """Also the losses of all steps, the last gradients, the state of the optimizer and batch norm's statistics."""
    expected, got = (trained(stage, kind, dtype, way) for way in (lambda step: step, stage.package.capture))
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if dtype is np.float64 else {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(got[0], expected[0], **tolerance)
    for wanted, found in zip(expected[1:], got[1:]):
        assert wanted.keys() == found.keys()
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, **tolerance, err_msg=name)
            assert found[name].dtype == value.dtype
