"""Training parity: PyTorch's initial weights in both, 20 steps in both, every loss and every weight compared.

In float64, where the two may differ by rounding only. (Adam divides a gradient by its own size, so in float32 it takes
a full step along what is rounding noise; weights cannot be compared then. Losses can, and are.)
"""

import numpy as np
import pytest

from .case import state

training = pytest.mark.capability("training")
images = pytest.mark.capability("convolution")
STEPS = 20


def mlp(nn):
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 5))


def normed(nn):
    return nn.Sequential(
        nn.Linear(12, 16, bias=False), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(8, 5)
    )


def cnn(nn):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, (2, 3), stride=(1, 2), padding=(1, 0), groups=2, bias=False),
        nn.BatchNorm2d(6),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 5),
    )


MOMENTUM = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}

RUNS = [
    pytest.param(mlp, (12,), "SGD", {"lr": 0.1}, id="MLP, SGD"),
    pytest.param(mlp, (12,), "SGD", MOMENTUM, id="MLP, SGD with momentum"),
    pytest.param(mlp, (12,), "Adam", {"lr": 0.01}, id="MLP, Adam"),
    pytest.param(mlp, (12,), "AdamW", {"lr": 0.01}, id="MLP, AdamW"),
    pytest.param(normed, (12,), "SGD", {"lr": 0.1}, id="batch and layer norm, SGD"),
    pytest.param(cnn, (2, 7, 10), "SGD", {"lr": 0.1}, id="CNN, SGD", marks=images),
    pytest.param(cnn, (2, 7, 10), "Adam", {"lr": 0.01}, id="CNN, Adam", marks=images),
]


@training
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("network", "shape", "kind", "settings"), RUNS)
def test_a_run_of_twenty_steps_is_pytorchs(engine, stage, network, shape, kind, settings, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    theirs = network(torch.nn).to(getattr(torch, dtype))
    ours = network(engine.nn).to(np.dtype(dtype))
    ours.load_state_dict(theirs.state_dict())
    reference = getattr(torch.optim, kind)(theirs.parameters(), **settings)
    optimizer = getattr(stage.part("optim"), kind)(ours.parameters(), **settings)
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        x, y = rng.standard_normal((9, *shape)).astype(dtype), rng.integers(0, 5, 9)
        reference.zero_grad()
        their_loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        their_loss.backward()
        reference.step()
        optimizer.zero_grad()
        loss = engine.nn.cross_entropy(ours(engine.Tensor(x, requires_grad=False)), engine.constant(y))
        loss.backward()
        optimizer.step()
        # float32 has 7 digits, of which 20 steps use up a few
        assert loss.item() == pytest.approx(their_loss.item(), rel=1e-9 if dtype == "float64" else 1e-4)
    if dtype == "float64":
        for name, array in state(engine, ours).items():
            np.testing.assert_allclose(array, theirs.state_dict()[name].numpy(), rtol=1e-7, atol=1e-9, err_msg=name)


@training
def test_evaluation_after_training_is_pytorchs(engine):
    """The running statistics that training left behind are what evaluation uses, and it changes nothing."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs, ours = normed(torch.nn).double(), normed(engine.nn).double()
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(2)
    for _ in range(3):
        x = rng.standard_normal((9, 12))
        ours(engine.Tensor(x))
        theirs(torch.tensor(x))
    ours.eval()
    theirs.eval()
    before = state(engine, ours)
    wanted = theirs(torch.tensor(x[:1])).detach().numpy()
    np.testing.assert_allclose(engine.value(ours(engine.Tensor(x[:1]))), wanted, rtol=1e-9)
    for name, array in state(engine, ours).items():
        np.testing.assert_array_equal(before[name], array)
