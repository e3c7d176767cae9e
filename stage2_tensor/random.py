"""Random numbers: one generator, seeded by `manual_seed`, for weights, dropout, shuffling and random tensors."""

import numpy as np

from .creation import _float, _made, size_of, sized
from .device import moved
from .engine import Tensor, array_of


class Generator:
    """A source of random numbers, as `torch.Generator`; `numpy` is the NumPy generator behind it."""

    def __init__(self, device="cpu"):
        self.device = device
        self.seed()

    def manual_seed(self, seed):
        """Restart from a seed, an int; returns the generator."""
        self._seed = int(seed)
        self.numpy = np.random.default_rng(self._seed % 2**64)
        return self

    def seed(self):
        """Restart from an unpredictable seed, which is returned."""
        self.manual_seed(int(np.random.SeedSequence().entropy % 2**63))
        return self._seed

    def initial_seed(self):
        """The seed that it started from."""
        return self._seed

    def get_state(self):
        """The state, for `set_state`."""
        return self._seed, self.numpy.bit_generator.state

    def set_state(self, state):
        self._seed, self.numpy.bit_generator.state = state


default_generator = Generator()


def manual_seed(seed):
    """Seed the generator for all random numbers, unless another one is given: weights, dropout, shuffling, `randn`."""
    return default_generator.manual_seed(seed)


def seed():
    """Restart from an unpredictable seed, which is returned."""
    return default_generator.seed()


def initial_seed():
    """The seed that the default generator started from."""
    return default_generator.initial_seed()


def get_rng_state():
    return default_generator.get_state()


def set_rng_state(new_state):
    default_generator.set_state(new_state)


def _numpy(generator):
    """NumPy's generator behind one of ours, by default behind that which `manual_seed` seeds."""
    return (generator or default_generator).numpy


@sized
def rand(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Uniform from 0 to 1."""
    return _made(_numpy(generator).random(size_of(size)), _float(dtype), device, requires_grad)


@sized
def randn(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Normal with mean 0 and variance 1."""
    return _made(_numpy(generator).standard_normal(size_of(size)), _float(dtype), device, requires_grad)


def randint(low=0, high=None, size=None, *, generator=None, dtype=None, device=None, requires_grad=False):
    """Integers from low, or 0, below high: randint(high, size) or randint(low, high, size)."""
    if size is None:
        low, high, size = 0, low, high
    numbers = _numpy(generator).integers(low, high, size_of((size,)))
    return _made(numbers, np.int64 if dtype is None else dtype, device, requires_grad)


def randperm(n, *, generator=None, dtype=None, device=None, requires_grad=False):
    """The integers below n in random order."""
    return _made(_numpy(generator).permutation(n), np.int64 if dtype is None else dtype, device, requires_grad)


def normal(mean, std=1.0, size=None, *, generator=None, dtype=None, device=None, requires_grad=False):
    """Normal, with one mean and standard deviation for all of a size, or with tensors of them."""
    shape = np.broadcast_shapes(np.shape(mean), np.shape(std)) if size is None else size_of((size,))
    like = next((x for x in (mean, std) if isinstance(x, Tensor)), None)
    mean, std = (moved(array_of(x), "cpu") for x in (mean, std))
    numbers = np.asarray(mean + std * _numpy(generator).standard_normal(shape))
    return _made(numbers, np.float32 if like is None and dtype is None else dtype, device, requires_grad, like)


def rand_like(input, *, dtype=None, device=None, requires_grad=False):
    """Uniform from 0 to 1, in the shape of a tensor, of its dtype and on its device."""
    return _made(_numpy(None).random(input.shape), dtype, device, requires_grad, input)


def randn_like(input, *, dtype=None, device=None, requires_grad=False):
    """Normal with mean 0 and variance 1, in the shape of a tensor, of its dtype and on its device."""
    return _made(_numpy(None).standard_normal(input.shape), dtype, device, requires_grad, input)


def randint_like(input, low=0, high=None, *, dtype=None, device=None, requires_grad=False):
    """Integers from low, or 0, below high, in the shape of a tensor, of its dtype and on its device."""
    low, high = (0, low) if high is None else (low, high)
    return _made(_numpy(None).integers(low, high, input.shape), dtype, device, requires_grad, input)


def bernoulli(input, *, generator=None):
    """1 with the probability that each number is, else 0."""
    return _made(_numpy(generator).random(input.shape) < input.to("cpu")._data, like=input)


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Indices drawn with probabilities in proportion to the numbers of each row: (m,) or (n, m) -> (…, num_samples)."""
    weights = np.atleast_2d(input.to("cpu")._data.astype(np.float64))
    totals = weights.sum(1)
    least, most = totals.min(initial=np.inf), totals.max(initial=0)  # both NaN, where one is
    if input.ndim not in (1, 2) or not (weights.min(initial=0) >= 0 and least > 0 and most < np.inf):
        raise RuntimeError("multinomial: wanted one or two dims of numbers of at least 0, in each row some above 0")
    if num_samples < 1 or not replacement and num_samples > 1 and (np.count_nonzero(weights, 1) < num_samples).any():
        raise RuntimeError(f"multinomial: {num_samples} samples are none, or more than there are to be drawn once")
    draws = _numpy(generator)
    if replacement:
        ends = weights.cumsum(axis=1)
        places = draws.random((len(weights), num_samples)) * ends[:, -1:]
        chosen = np.stack([np.searchsorted(end, place, side="right") for end, place in zip(ends, places)])
        chosen = np.minimum(chosen, weights.shape[1] - 1)
    else:  # the top k of log w + Gumbel noise are a sample without replacement (Yellott 1977)
        with np.errstate(divide="ignore"):
            keys = np.log(weights) + draws.gumbel(size=weights.shape)
        chosen = np.argsort(-keys, 1, "stable")[:, :num_samples] if num_samples > 1 else keys.argmax(1)[:, None]
    return _made(chosen if input.ndim == 2 else chosen[0], np.int64, input.device)


def _filling(draw):
    """The method that fills a tensor in place with draw(NumPy's generator, shape, …)."""

    def fill(self, *args, generator=None, **options):
        numbers = np.asarray(draw(_numpy(generator), self.shape, *args, **options))
        self[...] = moved(numbers.astype(self.dtype), self.device)
        return self

    return fill


Tensor.uniform_ = _filling(lambda draws, shape, a=0.0, b=1.0: draws.uniform(a, b, shape))
Tensor.normal_ = _filling(lambda draws, shape, mean=0.0, std=1.0: mean + std * draws.standard_normal(shape))
Tensor.random_ = _filling(
    lambda draws, shape, low=2**24, high=None: draws.integers(*((0, low) if high is None else (low, high)), shape)
)
Tensor.bernoulli_ = _filling(lambda draws, shape, p=0.5: draws.random(shape) < array_of(p))
Tensor.exponential_ = _filling(lambda draws, shape, lambd=1.0: draws.exponential(1 / lambd, shape))
Tensor.bernoulli, Tensor.multinomial = bernoulli, multinomial

__all__ = ["Generator", "bernoulli", "get_rng_state", "initial_seed", "manual_seed", "multinomial", "normal", "rand"]
__all__ += ["rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "seed", "set_rng_state"]
