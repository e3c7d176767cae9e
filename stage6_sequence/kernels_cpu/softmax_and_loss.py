"""Softmax and its logarithm over any dim, and with cross-entropy, row by row.

An array is looked at as (blocks, n, columns), with the softmax over n; where there is one column, as rows of n.
"""

import math

import numpy as np

from .elementary import dot, exponential, larger, largest, sum_of
from .jit import empty, jit, parallel, share
from .layout import check_shapes, contiguous

__all__ = ["log_softmax_gradient", "log_softmax_values", "nll", "nll_gradient", "softmax_gradient", "softmax_values"]
THRESHOLDS = dict.fromkeys([name for name in __all__ if "softmax" in name], 2048)

COST = 16  # an exponential and its sum take as long as so many additions
COLUMNS = 256  # as many as are worked on at once, so that what is found of them stays in the cache


@jit
def exponentials(row, out):
    """Write eˣ of each number of a row less the largest; returns the largest, and the sum of what was written."""
    top = largest(row)
    for k in range(row.size):
        out[k] = exponential(row[k] - top)
    return top, sum_of(out)


@parallel
def _softmax_of_rows(t, parts, x, out, logarithm):
    for i in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, to = x[i], out[i]
        top, total = exponentials(row, to)
        if logarithm:
            total = np.log(total)
            for k in range(row.size):
                to[k] = row[k] - top - total
        else:
            for k in range(row.size):
                to[k] /= total


@parallel
def _softmax_of_rows_gradient(t, parts, g, out, gradient, logarithm):
    for i in range(t * len(g) // parts, (t + 1) * len(g) // parts):
        row, by, to = g[i], out[i], gradient[i]
        if logarithm:
            total = sum_of(row)
            for k in range(row.size):
                to[k] = row[k] - exponential(by[k]) * total
        else:
            total = dot(row, by)
            for k in range(row.size):
                to[k] = by[k] * (row[k] - total)


@parallel
def _softmax_of_columns(t, parts, x, out, scratch, logarithm):
    (blocks, n, columns), top, total = x.shape, scratch[t, 0], scratch[t, 1]  # not unpacked: that would be no vector
    pieces = -(-columns // COLUMNS)
    for u in range(t * blocks * pieces // parts, (t + 1) * blocks * pieces // parts):
        block, first = u // pieces, u % pieces * COLUMNS
        last = min(first + COLUMNS, columns)
        top[:], total[:] = -np.inf, 0
        for k in range(n):
            row = x[block, k, first:last]
            for c in range(row.size):
                top[c] = larger(top[c], row[c])
        for k in range(n):
            row, to = x[block, k, first:last], out[block, k, first:last]
            for c in range(row.size):
                power = exponential(row[c] - top[c])
                to[c] = power
                total[c] += power
        if logarithm:
            for c in range(last - first):
                total[c] = np.log(total[c])
        for k in range(n):
            row, to = x[block, k, first:last], out[block, k, first:last]
            if logarithm:
                for c in range(row.size):
                    to[c] = row[c] - top[c] - total[c]
            else:
                for c in range(row.size):
                    to[c] /= total[c]


@parallel
def _softmax_of_columns_gradient(t, parts, g, out, gradient, scratch, logarithm):
    (blocks, n, columns), total = g.shape, scratch[t, 0]
    pieces = -(-columns // COLUMNS)
    for u in range(t * blocks * pieces // parts, (t + 1) * blocks * pieces // parts):
        block, first = u // pieces, u % pieces * COLUMNS
        last = min(first + COLUMNS, columns)
        total[:] = 0
        for k in range(n):
            row, by = g[block, k, first:last], out[block, k, first:last]
            if logarithm:
                for c in range(row.size):
                    total[c] += row[c]
            else:
                for c in range(row.size):
                    total[c] += row[c] * by[c]
        for k in range(n):
            row, by, to = g[block, k, first:last], out[block, k, first:last], gradient[block, k, first:last]
            if logarithm:
                for c in range(row.size):
                    to[c] = row[c] - exponential(by[c]) * total[c]
            else:
                for c in range(row.size):
                    to[c] = by[c] * (row[c] - total[c])


def _over(dim, of_rows, of_columns, logarithm, *arrays):
    """What a kernel makes of arrays of one shape, over a dim of them."""
    shape = arrays[0].shape
    if not arrays[0].size or not -len(shape) <= dim < len(shape):
        return NotImplemented
    check_shapes(all([x.shape == shape for x in arrays]), *arrays)
    dim %= len(shape)
    columns = math.prod(shape[dim + 1 :])
    out = empty(shape, arrays[0].dtype)
    arrays = [contiguous(x).reshape(-1, shape[dim], columns) for x in (*arrays, out)]
    parts = share(COST * out.size)
    if columns == 1:
        of_rows(parts, *[x.reshape(-1, shape[dim]) for x in arrays], logarithm)
    else:
        of_columns(parts, *arrays, np.empty((parts, 2, COLUMNS), out.dtype), logarithm)
    return out


def softmax_values(x, dim):
    return _over(dim, _softmax_of_rows, _softmax_of_columns, False, x)


def log_softmax_values(x, dim):
    return _over(dim, _softmax_of_rows, _softmax_of_columns, True, x)


def softmax_gradient(g, out, dim):
    return _over(dim, _softmax_of_rows_gradient, _softmax_of_columns_gradient, False, g, out)


def log_softmax_gradient(g, out, dim):
    return _over(dim, _softmax_of_rows_gradient, _softmax_of_columns_gradient, True, g, out)


@parallel
def _nll(t, parts, x, target, losses, probabilities):
    for i in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, out = x[i], probabilities[i]
        top, total = exponentials(row, out)
        for k in range(row.size):
            out[k] /= total
        there = 0 <= target[i] < row.size
        losses[i] = np.log(total) - (row[target[i]] - top) if there else np.nan


@parallel
def _nll_gradient(t, parts, g, probabilities, target, gradient):
    for i in range(t * len(g) // parts, (t + 1) * len(g) // parts):
        row, out = probabilities[i], gradient[i]
        for k in range(row.size):
            out[k] = g[i] * row[k] - (g[i] if k == target[i] else 0)


def nll(x, target):
    check_shapes(x.ndim == 2 and target.shape == x.shape[:1] and x.shape[1], x, target)
    losses, probabilities = empty(len(x), x.dtype), empty(x.shape, x.dtype)
    target = contiguous(target.astype(np.int64, copy=False))
    _nll(share(16 * x.size), contiguous(x), target, losses, probabilities)
    return losses, probabilities


def nll_gradient(g, probabilities, target):
    check_shapes(
        probabilities.ndim == 2 and g.shape == target.shape == probabilities.shape[:1], g, probabilities, target
    )
    gradient = empty(probabilities.shape, g.dtype)
    target = contiguous(target.astype(np.int64, copy=False))
    _nll_gradient(share(probabilities.size), contiguous(g), contiguous(probabilities), target, gradient)
    return gradient
