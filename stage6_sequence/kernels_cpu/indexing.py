"""The gradient of indexing by arrays: rows of it are added to those that were taken."""

import math

import numpy as np

from .jit import parallel, share
from .layout import contiguous

__all__ = ["add_at"]
THRESHOLDS = {"add_at": 2048}

WIDE = 32  # columns, for each thread to have some of its own


@parallel
def _add_rows(t, parts, x, index, g):
    """x[index[i]] += g[i], one row after the other: each thread has some of the columns."""
    first, last = t * x.shape[1] // parts, (t + 1) * x.shape[1] // parts
    for i in range(index.size):
        row, to = g[i, first:last], x[index[i], first:last]
        for c in range(row.size):
            to[c] += row[c]


def _places(index):
    """The dims that arrays index, in a tuple of these and full slices, and the arrays; a mask's are where it holds."""
    dims, arrays = [], []
    taken = 0
    for item in index:
        if isinstance(item, slice):
            taken += 1
            continue
        places = item.nonzero() if item.dtype == bool else (item,)
        dims += range(taken, taken + len(places))
        arrays += places
        taken += len(places)
    return dims, arrays


def add_at(x, index, g):
    if not all([item == slice(None) if isinstance(item, slice) else item.ndim for item in index]):
        return NotImplemented
    dims, arrays = _places(index)
    arrays = np.broadcast_arrays(*arrays)
    taken = arrays[0].ndim
    if g.dtype != x.dtype or g.ndim != x.ndim - len(dims) + taken or not g.size:
        return NotImplemented
    rows = np.zeros(arrays[0].shape, np.int64)
    for array, dim in zip(arrays, dims):
        n = x.shape[dim]
        if array.min() < -n or array.max() >= n:
            return NotImplemented  # whose error says which
        rows = rows * n + np.where(array < 0, array + n, array)
    together = dims[-1] - dims[0] + 1 == len(dims)  # else NumPy puts what the arrays make first
    to = np.moveaxis(x, dims, range(len(dims)))
    g = np.moveaxis(g, range(dims[0], dims[0] + taken), range(taken)) if together else g
    columns = math.prod(to.shape[len(dims) :])
    table = contiguous(to).reshape(-1, columns)
    if g.shape != (*rows.shape, *to.shape[len(dims) :]):
        return NotImplemented
    parts = share(g.size) if columns >= WIDE else 1
    _add_rows(parts, table, rows.ravel(), contiguous(g).reshape(-1, columns))
    if not np.may_share_memory(table, x):
        to[...] = table.reshape(to.shape)
