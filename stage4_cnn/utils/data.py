"""Data sets, the order in which their examples come, and batches of them, as in `torch.utils.data`."""

import math
from bisect import bisect_right
from collections.abc import Mapping, MutableMapping, Sequence
from copy import copy
from itertools import accumulate, islice
from types import GenericAlias

import numpy as np

from ..device import at_hand, moved
from ..engine import Tensor, constant, stack
from ..random import default_generator


class Dataset:
    """Examples that are taken by their number: a subclass has `dataset[i]` and, as a rule, `len(dataset)`.

    Two more ways to give many at once: `__getitems__([i, …])`, PyTorch's, gives a list of examples; and
    `whole_batches = True` says that `dataset[i]` takes an array of numbers too, and then gives a batch.
    """

    whole_batches = False
    __class_getitem__ = classmethod(GenericAlias)  # so that Dataset[Tensor] is a class, too

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__()")

    def __add__(self, other):
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Examples that come one after the other, by `__iter__`, where none can be taken by its number."""

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} has no __iter__()")


class TensorDataset(Dataset):
    """Tensors or arrays side by side: example i is row i of each. What is taken from them requires no grad."""

    def __init__(self, *tensors):
        self.tensors = tuple([_rows(x) for x in tensors])
        if len({len(x) for x in self.tensors}) != 1:
            raise ValueError(f"TensorDataset: wanted tensors of one length, got {[len(x) for x in self.tensors]}")

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        index = index._data if isinstance(index, Tensor) else index
        return tuple([constant(x._data[index]) for x in self.tensors])

    @property
    def whole_batches(self):
        """Whether the examples are what this class takes them for, and all in one memory."""
        return type(self).__getitem__ is TensorDataset.__getitem__ and len({x.device for x in self.tensors}) == 1

    @property
    def device(self):
        return self.tensors[0].device

    def to(self, device):
        """The same examples in the memory of a device, from which batches are then taken without a transfer."""
        return TensorDataset(*[x.to(device) for x in self.tensors])


def _rows(x):
    """A Tensor that requires no grad, of a Tensor, of what NumPy takes for an array, or of a list."""
    if isinstance(x, Tensor):
        x = x.detach()
    elif hasattr(x, "__array__"):
        x = constant(np.asarray(x) if at_hand(x) else x)
    else:
        x = Tensor(x, requires_grad=False)
    if not x.ndim or x.dtype.kind not in "fiub":
        raise TypeError(
            f"TensorDataset: wanted tensors or arrays of numbers with rows, got shape {tuple(x.shape)}, {x.dtype}"
        )
    return x


class ConcatDataset(Dataset):
    """Data sets one after the other, as one."""

    def __init__(self, datasets):
        self.datasets = list(datasets)
        if not self.datasets or any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            kinds = [type(dataset).__name__ for dataset in self.datasets]
            raise ValueError(f"ConcatDataset: wanted data sets whose examples have numbers, got {kinds}")
        self.cumulative_sizes = list(accumulate(map(len, self.datasets)))

    def __len__(self):
        return self.cumulative_sizes[-1]

    def __getitem__(self, index):
        index = range(len(self))[index]  # counts from the end if it is negative, an IndexError beyond
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class Subset(Dataset):
    """The examples of a data set that have these numbers, in their order."""

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices):
        if hasattr(self.dataset, "__getitems__") and type(self).__getitem__ is Subset.__getitem__:
            return self.dataset.__getitems__([self.indices[i] for i in indices])
        return [self[i] for i in indices]


def random_split(dataset, lengths, generator=default_generator):
    """Subsets of these lengths, or these fractions of the whole, drawn at random. No two share an example."""
    n, lengths = len(dataset), list(lengths)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        if not all(0 <= fraction <= 1 for fraction in lengths):
            raise ValueError(f"random_split: wanted fractions from 0 to 1, got {lengths}")
        lengths = [math.floor(n * fraction) for fraction in lengths]
        for i in range(n - sum(lengths)):  # what is left over goes round
            lengths[i % len(lengths)] += 1
    if sum(lengths) != n:
        raise ValueError(f"random_split: wanted lengths that sum to {n}, or fractions that sum to 1, got {lengths}")
    order = _numpy(generator).permutation(n).tolist()
    return [Subset(dataset, order[end - length : end]) for end, length in zip(accumulate(lengths), lengths)]


# The order of examples


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
            yield from _numpy(self.generator).integers(n, size=left).tolist()
            return
        while left > 0:
            yield from _numpy(self.generator).permutation(n)[:left].tolist()
            left -= n


class _SeededSampler(SequentialSampler):
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


def _numpy(generator):
    """NumPy's generator behind one of ours, by default behind that which `manual_seed` seeds."""
    return (generator or default_generator).numpy


def _check(name, **arguments):
    """ValueError unless the first argument is a whole number above 0 and the second True or False."""
    (size, number), (flag, choice) = arguments.items()
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{name}: {size} should be a positive integer value, but got {number!r}")
    if not isinstance(choice, bool):
        raise ValueError(f"{name}: {flag} should be a boolean value, but got {choice!r}")


# Batches


def default_collate(batch):
    """One batch of a list of examples: Tensors with one dim more, in the structure that each of the examples has.

    Numbers become Tensors, float64 and int64, and arrays and Tensors are stacked; tuples become lists; strings stay as
    they are. Nothing in a batch requires grad.
    """
    first = batch[0]
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, float):
        return constant(np.array(batch, np.float64))
    if isinstance(first, int):
        return Tensor(batch, requires_grad=False)
    if isinstance(first, np.generic):
        return _constant(np.array(batch))
    if hasattr(first, "__array__"):
        return _stacked([_constant(x) for x in batch])
    if isinstance(first, Mapping):
        return _refilled(first, {key: default_collate([example[key] for example in batch]) for key in first})
    if not isinstance(first, Sequence):
        raise _not_collated(type(first).__name__)
    if len({len(example) for example in batch}) > 1:
        raise RuntimeError("default_collate: each element in list of batch should be of equal size")
    parts = map(default_collate, zip(*batch))
    return type(first)(*parts) if hasattr(first, "_fields") else list(parts)


def default_convert(data):
    """The same structure with Tensors in the place of arrays; its numbers and strings stay, tuples become lists."""
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Tensor) or hasattr(data, "__array__"):
        return _constant(data)
    if isinstance(data, Mapping):
        return _refilled(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, Sequence):
        parts = map(default_convert, data)
        return type(data)(*parts) if hasattr(data, "_fields") else list(parts)
    return data


def _constant(x):
    """A Tensor that requires no grad, of a Tensor or an array."""
    if isinstance(x, Tensor):
        return x.detach() if x.requires_grad else x
    x = np.asarray(x) if at_hand(x) else x
    if x.dtype.kind not in "fiub":
        raise _not_collated(f"an array of {x.dtype}")
    return constant(x)


def _stacked(tensors):
    shapes = list(dict.fromkeys([tuple(x.shape) for x in tensors]))
    if len(shapes) > 1:
        raise RuntimeError(f"default_collate: wanted examples of one shape, got {shapes[0]} and {shapes[1]}")
    return stack(tensors)


def _refilled(mapping, values):
    """A mapping of the same kind with these values, a dict where that kind can't be changed."""
    if not isinstance(mapping, MutableMapping):
        return values
    mapping = copy(mapping)
    mapping.update(values)
    return mapping


def _not_collated(found):
    wanted = "batch must contain tensors, numpy arrays, numbers, dicts or lists"
    return TypeError(f"default_collate: {wanted}; found {found}")


def get_worker_info():
    """None, as there are no worker processes: batches are made where they are asked for."""


class DataLoader:
    """Goes through a dataset in batches; each time it is gone through is an epoch. See `torch.utils.data.DataLoader`.

    Examples are taken one by one and collated, but for a dataset with `whole_batches`. A random order is drawn from
    `generator`; with a `seed`, which PyTorch's has not, it follows from `seed` and `epoch` alone: a run that goes on
    with `loader.epoch = 3` gets the batches of one that was never stopped. What is said of workers and pinned memory
    changes no batch, and there are neither.
    """

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory_device="",
        in_order=True,
        seed=None,
    ):
        iterable, own_batches, own_order = isinstance(dataset, IterableDataset), batch_sampler is None, sampler is None
        for wrong, why in [
            (num_workers < 0, "num_workers should be non-negative"),
            (timeout < 0, "timeout should be non-negative"),
            (not num_workers and prefetch_factor is not None, "prefetch_factor needs num_workers > 0"),
            (not num_workers and persistent_workers, "persistent_workers needs num_workers > 0"),
            (not num_workers and multiprocessing_context is not None, "multiprocessing_context needs num_workers > 0"),
            (iterable and shuffle, "an IterableDataset comes in its own order: expected no shuffle"),
            (
                iterable and not (own_order and own_batches),
                "an IterableDataset comes in its own order: expected no sampler",
            ),
            (not own_order and shuffle, "sampler is mutually exclusive with shuffle"),
            (
                not own_batches and (batch_size != 1 or shuffle or not own_order or drop_last),
                "batch_sampler is mutually exclusive with batch_size, shuffle, sampler, and drop_last",
            ),
            (batch_size is None and drop_last, "batch_size=None is mutually exclusive with drop_last"),
            (seed is not None and not shuffle, "seed needs shuffle=True, whose order it fixes"),
        ]:
            if wrong:
                raise ValueError(f"DataLoader: {why}")
        if iterable:
            sampler = dataset  # in the place of its examples' numbers: themselves
        elif own_order and not shuffle:
            sampler = SequentialSampler(dataset)
        elif own_order:
            sampler = RandomSampler(dataset, generator=generator) if seed is None else _SeededSampler(dataset, seed)
        if not own_batches:
            batch_size = None
        elif batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.num_workers, self.pin_memory, self.timeout = num_workers, pin_memory, timeout
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.seed, self.epoch = seed, 0
        self._whole = collate_fn is None and batch_sampler is not None and getattr(dataset, "whole_batches", False)
        self._order_at_once = own_order and own_batches

    def __setattr__(self, name, value):
        if name in ("dataset", "batch_size", "drop_last", "sampler", "batch_sampler") and name in vars(self):
            raise ValueError(f"DataLoader: {name} can't be set once it is made")
        super().__setattr__(name, value)

    def __len__(self):
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self):
        if self.seed is not None:
            self.sampler.epoch = self.epoch
        self.epoch += 1
        if self._whole:
            for numbers in self._arrays_of_numbers():
                yield default_convert(self.dataset[numbers])
        else:
            for numbers in self.sampler if self.batch_sampler is None else self.batch_sampler:
                yield self.collate_fn(self._examples(numbers))

    def _arrays_of_numbers(self):
        """Those of each batch, in the memory of the dataset; to where the whole order goes at once where it is ours."""
        device = getattr(self.dataset, "device", "cpu")
        if not self._order_at_once:
            for numbers in self.batch_sampler:
                yield moved(np.array(numbers), device)
            return
        order = moved(np.fromiter(self.sampler, np.int64), device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]

    def _examples(self, numbers):
        """The examples of a batch or, without batches, the one example."""
        dataset = self.dataset
        if isinstance(dataset, IterableDataset):
            return numbers
        if self.batch_sampler is None:
            return dataset[numbers]
        if hasattr(dataset, "__getitems__"):
            return dataset.__getitems__(numbers)
        return [dataset[i] for i in numbers]
