"""Data sets: examples that are taken by their number or come one after the other, joined, cut and split."""

import math
from bisect import bisect_right
from itertools import accumulate
from types import GenericAlias

import numpy as np

from ...device import on_host
from ...engine import Tensor, constant
from ...random import default_generator


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
        x = constant(np.asarray(x) if on_host(x) else x)
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
    order = (generator or default_generator).numpy.permutation(n).tolist()
    return [Subset(dataset, order[end - length : end]) for end, length in zip(accumulate(lengths), lengths)]
