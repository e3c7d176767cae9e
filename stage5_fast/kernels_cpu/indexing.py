"""Indexing by arrays: of its gradient each row is added to the row that was selected; and filling under a mask."""

import math

import numpy as np

from .layout import contiguous
from .memory import empty
from .threads import parallel, thread_count

__all__ = ["add_at", "filled"]
THRESHOLDS = dict.fromkeys(__all__, 2048)

WIDE = 32  # columns, from which on each thread adds some of them


@parallel
def _add_rows(t, threads, x, index, g):
    """x[index[i]] += g[i], row after row, those below 0 counted from the end: each thread adds some of the columns."""
    first, last = t * x.shape[1] // threads, (t + 1) * x.shape[1] // threads
    for i in range(index.size):
        g_row, x_row = g[i, first:last], x[index[i], first:last]
        for c in range(g_row.size):
            x_row[c] += g_row[c]


def _positions(index):
    """The dims that arrays index, in a tuple of these and full slices, and the arrays; a mask's are where it holds."""
    dims, arrays = [], []
    taken = 0
    for item in index:
        if isinstance(item, slice):
            taken += 1
            continue
        positions = item.nonzero() if item.dtype == bool else (item,)
        dims += range(taken, taken + len(positions))
        arrays += positions
        taken += len(positions)
    return dims, arrays


def add_at(x, index, g):
    if not all([item == slice(None) if isinstance(item, slice) else item.ndim for item in index]):
        return NotImplemented
    dims, arrays = _positions(index)
    shape = np.broadcast_shapes(*[array.shape for array in arrays])
    if g.dtype != x.dtype or g.ndim != x.ndim - len(dims) + len(shape) or not g.size:
        return NotImplemented
    front = np.moveaxis(x, dims, range(len(dims)))
    sizes, others = front.shape[: len(dims)], front.shape[len(dims) :]
    together = dims[-1] - dims[0] + 1 == len(dims)  # else NumPy puts their dims first
    g = np.moveaxis(g, range(dims[0], dims[0] + len(shape)), range(len(shape))) if together else g
    if g.shape != shape + others or any([array.min() < -n or array.max() >= n for array, n in zip(arrays, sizes)]):
        return NotImplemented  # NumPy's error says which index is out of range
    rows = arrays[0] if len(arrays) == 1 else np.ravel_multi_index(arrays, sizes, mode="wrap")
    columns = math.prod(others)
    table = contiguous(front).reshape(-1, columns)
    threads = thread_count(g.size) if columns >= WIDE else 1
    _add_rows(threads, table, np.require(rows, np.int64, "CAW").ravel(), contiguous(g).reshape(-1, columns))
    if not np.may_share_memory(table, x):
        front[...] = table.reshape(front.shape)


@parallel
def _filled(t, threads, x, mask, value, out):
    """The value where the mask is true, else x, of which each block of the mask's size has the same mask."""
    i, last = t * x.size // threads, (t + 1) * x.size // threads
    while i < last:
        first = i % mask.size
        n = min(mask.size - first, last - i)
        row, mask_row, out_row = x[i : i + n], mask[first : first + n], out[i : i + n]
        for k in range(n):
            out_row[k] = value if mask_row[k] else row[k]
        i += n


def filled(x, mask, value):
    shape = mask.shape
    while shape[:1] == (1,):
        shape = shape[1:]
    if mask.dtype != bool or np.ndim(value) or not x.size or mask.ndim > x.ndim or shape != x.shape[-len(shape) :]:
        return NotImplemented
    out = empty(x.shape, x.dtype)
    flat = [contiguous(array).reshape(-1) for array in (x, mask, out)]
    _filled(thread_count(x.size), *flat[:2], x.dtype.type(value), flat[2])
    return out
