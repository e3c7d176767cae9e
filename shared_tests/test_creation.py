"""Functions that make tensors, and those that draw random ones, beside PyTorch's of the same name."""

import numpy as np
import pytest

from .engines import torch_engine

pytestmark = pytest.mark.host

MADE = {
    "tensor": lambda lib: lib.tensor([[1, 2.5], [True, 3]], requires_grad=True),
    "tensor of tensors": lambda lib: lib.tensor([lib.ones(1), 2]),
    "tensor of doubles": lambda lib: lib.tensor([np.float64(1), 2]),
    "as_tensor": lambda lib: lib.as_tensor(np.arange(3), dtype=lib.float64),
    "as_tensor of a list": lambda lib: lib.as_tensor([1, 2]),
    "as_tensor of a tensor": lambda lib: lib.as_tensor(lib.ones(2), dtype=lib.int64),
    "from_numpy": lambda lib: lib.from_numpy(np.arange(3, dtype=np.int16)),
    "zeros": lambda lib: lib.zeros(2, 3, dtype=lib.float64, requires_grad=True),
    "ones": lambda lib: lib.ones((2, 3), dtype=lib.uint8),
    "a size by its name": lambda lib: lib.zeros(size=(2, 0)),
    "full": lambda lib: lib.full((2, 3), 7),
    "full of a boolean": lambda lib: lib.full((2,), True),
    "zeros_like": lambda lib: lib.zeros_like(lib.ones(2, 3, dtype=lib.float64)),
    "ones_like": lambda lib: lib.ones_like(lib.zeros(2, 3), dtype=lib.int32),
    "full_like": lambda lib: lib.full_like(lib.zeros(2, 3), 0.1),
    "arange": lambda lib: lib.arange(2, 11, 3),
    "arange of floats": lambda lib: lib.arange(0.5, -1, -0.25),
    "arange of a tensor": lambda lib: lib.arange(lib.tensor(4)),
    "linspace": lambda lib: lib.linspace(-1, 1, 5),
    "logspace": lambda lib: lib.logspace(0, 3, 4, base=2),
    "eye": lambda lib: lib.eye(2, 3, dtype=lib.float64),
    "new_full": lambda lib: lib.ones(2, dtype=lib.int16).new_full((2, 2), 5),
    "new_tensor": lambda lib: lib.ones(2, dtype=lib.float64).new_tensor([1, 2]),
}
DRAWN = {  # n numbers each, of which the least, the mean and the largest are compared
    "rand": lambda lib, n: lib.rand(n, dtype=lib.float64),
    "randn": lambda lib, n: lib.randn((n,)),
    "randint": lambda lib, n: lib.randint(-3, 2, (n,)),
    "randint from 0": lambda lib, n: lib.randint(5, (n,), dtype=lib.float32),
    "randint by names": lambda lib, n: lib.randint(high=5, size=(n,)),
    "randperm": lambda lib, n: lib.randperm(n),
    "normal": lambda lib, n: lib.normal(3.0, 0.1, (n,)),
    "normal of tensors": lambda lib, n: lib.normal(lib.arange(n) * 1.0, lib.full((n,), 0.1)),
    "rand_like": lambda lib, n: lib.rand_like(lib.ones(n, dtype=lib.float64)),
    "randn_like": lambda lib, n: lib.randn_like(lib.ones(n)),
    "randint_like": lambda lib, n: lib.randint_like(lib.ones(n), 2, 4),
    "randint_like from 0": lambda lib, n: lib.randint_like(lib.ones(n), 4),
    "bernoulli": lambda lib, n: lib.bernoulli(lib.full((n,), 0.25)),
    "uniform_": lambda lib, n: lib.zeros(n).uniform_(-1, 3),
    "normal_": lambda lib, n: lib.zeros(n).normal_(1, 0.1),
    "random_": lambda lib, n: lib.zeros(n, dtype=lib.int64).random_(6),
    "random_ up to 0": lambda lib, n: lib.zeros(n).random_(-5, 0),
    "bernoulli_": lambda lib, n: lib.zeros(n).bernoulli_(0.75),
    "multinomial": lambda lib, n: lib.multinomial(lib.tensor([0.0, 1.0, 3.0]), n, replacement=True),
}


def both(engine, make, *arguments):
    found = [make(engine.package, *arguments), make(torch_engine().torch, *arguments)]
    return [(x.detach().cpu().numpy(), str(x.dtype).removeprefix("torch."), x.requires_grad) for x in found]


@pytest.mark.capability("making tensors")
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_is_pytorchs(engine, name):
    (mine, *kind), (theirs, *their_kind) = both(engine, MADE[name])
    assert kind == their_kind and mine.shape == theirs.shape
    np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.capability("random numbers")
@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_lies_where_pytorchs_does(engine, name):
    torch_engine().torch.manual_seed(0)
    engine.package.manual_seed(0)
    (mine, *kind), (theirs, *their_kind) = both(engine, DRAWN[name], 4000)
    assert kind == their_kind and mine.shape == theirs.shape
    spread = theirs.std()
    np.testing.assert_allclose(mine.mean(), theirs.mean(), atol=0.1 * spread)
    np.testing.assert_allclose([mine.min(), mine.max()], [theirs.min(), theirs.max()], atol=spread)


NAN, INF = float("nan"), float("inf")
REFUSED = [
    [0.0, 0.0],
    [-1.0, 2.0],
    [NAN, 1.0],
    [INF, 1.0],
    [[1.0, 2.0], [0.0, 0.0]],
    [[1.0, 2.0], [NAN, 1.0]],
    [],
    [[[1.0]]],
]


@pytest.mark.capability("random numbers")
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("weights", REFUSED, ids=str)
def test_weights_of_which_nothing_can_be_drawn_are_refused_as_by_pytorch(engine, weights, replacement):
    for lib in (engine.package, torch_engine().torch):
        with pytest.raises(RuntimeError):
            lib.multinomial(lib.tensor(weights), 1, replacement)


@pytest.mark.capability("random numbers")
def test_no_more_is_drawn_than_is_there(engine):
    lib = engine.package
    assert lib.multinomial(lib.tensor([[0.0, 2.0], [3.0, 0.0]]), 1).tolist() == [[1], [0]]
    assert sorted(lib.multinomial(lib.tensor([1.0, 0.0, 2.0]), 2).tolist()) == [0, 2]
    assert lib.multinomial(lib.zeros(0, 3), 1).shape == (0, 1)
    for count, replacement in ((3, False), (0, False), (0, True)):
        with pytest.raises(RuntimeError, match=f"multinomial: {count} samples"):
            lib.multinomial(lib.tensor([1.0, 0.0, 2.0]), count, replacement)


@pytest.mark.capability("random numbers")
def test_the_same_seed_gives_the_same_numbers(engine):
    package, draws = engine.package, []
    for seed in (1, 1, 2):
        package.manual_seed(seed)
        state = package.get_rng_state()
        draws.append(package.rand(3).tolist())
        package.set_rng_state(state)
        assert package.rand(3).tolist() == draws[-1] and package.initial_seed() == seed
    assert draws[0] == draws[1] != draws[2]
    assert package.rand(3, generator=package.Generator().manual_seed(1)).tolist() == draws[0]
