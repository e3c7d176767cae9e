"""Samplers: the order in which the examples of a data set are taken, and how many make a batch."""

from itertools import islice
from types import GenericAlias

import numpy as np

from ...engine import constant
from ...random import _numpy


class Sampler:
    """The numbers of examples, or lists of them, in the order in which they are wanted: a subclass has `__iter__`."""

    __class_getitem__ = classmethod(GenericAlias)

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} has no __iter__()")


class SequentialSampler(Sampler):
    """0, 1, 2, …, always."""

    def __init__(self, data_source):
        self.data_source = data_source

    def __len__(self):
        return len(self.data_source)

    def __iter__(self):
        return iter(range(len(self.data_source)))


class RandomSampler(Sampler):
    """All numbers in a random order, another one each time, or num_samples of them, with replacement if wanted."""

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None):
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples
        _check("RandomSampler", num_samples=self.num_samples, replacement=replacement)

    @property
    def num_samples(self):
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self):
        return self.num_samples

    def __iter__(self):
        n, left = len(self.data_source), self.num_samples
        if self.replacement:
            for start in range(0, left, 32):  # a few at a time: there may be more to come than fit into memory
                yield from _numpy(self.generator).integers(n, size=min(32, left - start)).tolist()
            return
        while left > 0:
            yield from _numpy(self.generator).permutation(n)[:left].tolist()
            left -= n


class SeededSampler(SequentialSampler):
    """All numbers in a random order, which follows from the seed and the number of the epoch alone."""

    def __init__(self, data_source, seed):
        super().__init__(data_source)
        self.seed, self.epoch = seed, 0

    def __iter__(self):
        order = np.arange(len(self))
        np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        return iter(order.tolist())


class SubsetRandomSampler(Sampler):
    """The given numbers in a random order."""

    def __init__(self, indices, generator=None):
        self.indices, self.generator = indices, generator

    def __len__(self):
        return len(self.indices)

    def __iter__(self):
        return (self.indices[i] for i in _numpy(self.generator).permutation(len(self.indices)).tolist())


class WeightedRandomSampler(Sampler):
    """num_samples numbers from 0 to len(weights) − 1, each as often as its weight says."""

    def __init__(self, weights, num_samples, replacement=True, generator=None):
        _check("WeightedRandomSampler", num_samples=num_samples, replacement=replacement)
        self.weights = constant(np.array(weights, np.float64))
        if self.weights.ndim != 1:
            raise ValueError(f"WeightedRandomSampler: wanted weights in one dim, got shape {tuple(self.weights.shape)}")
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __len__(self):
        return self.num_samples

    def __iter__(self):
        weights = self.weights.numpy()
        shares = weights / weights.sum()
        drawn = _numpy(self.generator).choice(len(weights), self.num_samples, self.replacement, shares)
        return iter(drawn.tolist())


class BatchSampler(Sampler):
    """Lists of batch_size numbers each; the last one may be shorter, or is left out with drop_last."""

    def __init__(self, sampler, batch_size, drop_last):
        _check("BatchSampler", batch_size=batch_size, drop_last=drop_last)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __len__(self):
        whole, rest = divmod(len(self.sampler), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self):
        numbers = iter(self.sampler)
        while batch := list(islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


def _check(name, **arguments):
    """ValueError unless the first argument is a whole number above 0 and the second True or False."""
    (size, number), (flag, choice) = arguments.items()
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{name}: {size} should be a positive integer value, but got {number!r}")
    if not isinstance(choice, bool):
        raise ValueError(f"{name}: {flag} should be a boolean value, but got {choice!r}")
