"""Sums over the first dims, or all but one: the gradients of biases and of broadcast arrays."""

import math

import numpy as np

from .layout import channels_last, contiguous
from .threads import parallel, thread_count

__all__ = ["affine_to_bias", "convolve_to_bias", "float64_total"]
THRESHOLDS = {"affine_to_bias": 8192}


@parallel
def _sum_columns(t, threads, x, sums):
    """The sums of the columns, over the rows of thread t."""
    total, rows = sums[t], x[t * len(x) // threads : (t + 1) * len(x) // threads]
    total[:] = 0
    for r in range(0, len(rows) - 3, 4):
        a, b, c, d = rows[r], rows[r + 1], rows[r + 2], rows[r + 3]
        for k in range(total.size):
            total[k] += (a[k] + b[k]) + (c[k] + d[k])
    for r in range(len(rows) // 4 * 4, len(rows)):
        total += rows[r]


def column_sums(x):
    """(rows, columns) -> (columns,)."""
    return float64_column_sums(x).astype(x.dtype)


def float64_column_sums(x):
    """(rows, columns) -> (columns,). Several rows become one, as a loop over few columns is mostly overhead."""
    n, c = x.shape
    together = math.gcd(n, 16)
    x = x.reshape(n // together, together * c)
    sums = np.empty((thread_count(x.size), x.shape[1]))  # float64, as many rows are added one by one
    _sum_columns(len(sums), x, sums)
    return sums.reshape(-1, c).sum(axis=0)


def affine_to_bias(g):
    return column_sums(contiguous(g.reshape(-1, g.shape[-1])))


def convolve_to_bias(g):
    return column_sums(channels_last(g).reshape(-1, g.shape[1]))


def float64_total(x, dim, keepdim):
    kept = x.shape[len(dim) :]
    if sorted([d % x.ndim for d in dim]) != list(range(len(dim))) or not x.size or not kept:
        return NotImplemented
    out = float64_column_sums(contiguous(x).reshape(-1, math.prod(kept)))
    return out.reshape(*(1,) * len(dim) if keepdim else (), *kept)
