"""Softmax and its logarithm over any dim, and with cross-entropy, row by row.

An array is treated as (blocks, n, columns), with the softmax over n; with one column, as rows of n.
"""

import math

import numpy as np

from .elementary import dot, exponential_below_0, larger, largest, sum_of
from .jit import inner
from .layout import check_shapes, contiguous
from .memory import empty
from .threads import parallel, thread_count

__all__ = ["log_softmax_gradient", "log_softmax_values", "nll", "nll_gradient", "softmax_gradient", "softmax_values"]
THRESHOLDS = dict.fromkeys([name for name in __all__ if "softmax" in name], 2048)

COST = 16  # additions that take as long as an exponential and its sum
COLUMNS = 256  # that are processed together, so that their maxima and sums stay in the cache


@inner
def exponentials(row, out):
    """Write eˣ of each number of a row less the largest; returns the largest, and the sum of what was written."""
    top = largest(row)
    for k in range(row.size):
        out[k] = exponential_below_0(row[k] - top)
    return top, sum_of(out)


@parallel
def _softmax_of_rows(t, threads, x, out, logarithm):
    for i in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row, out_row = x[i], out[i]
        top, total = exponentials(row, out_row)
        if logarithm:
            total = np.log(total)
            for k in range(row.size):
                out_row[k] = row[k] - top - total
        else:
            for k in range(row.size):
                out_row[k] /= total


@parallel
def _softmax_of_rows_gradient(t, threads, g, out, gradient, logarithm):
    for i in range(t * len(g) // threads, (t + 1) * len(g) // threads):
        g_row, out_row, gradient_row = g[i], out[i], gradient[i]
        if logarithm:
            total = sum_of(g_row)
            for k in range(g_row.size):
                gradient_row[k] = g_row[k] - exponential_below_0(out_row[k]) * total
        else:
            total = dot(g_row, out_row)
            for k in range(g_row.size):
                gradient_row[k] = out_row[k] * (g_row[k] - total)


@parallel
def _softmax_of_columns(t, threads, x, out, scratch, logarithm):
    # The scratch isn't unpacked: loops over its rows wouldn't be vectorized.
    (blocks, n, columns), top, total = x.shape, scratch[t, 0], scratch[t, 1]
    pieces = -(-columns // COLUMNS)
    for u in range(t * blocks * pieces // threads, (t + 1) * blocks * pieces // threads):
        block, first = u // pieces, u % pieces * COLUMNS
        last = min(first + COLUMNS, columns)
        top[:], total[:] = -np.inf, 0
        for k in range(n):
            row = x[block, k, first:last]
            for c in range(row.size):
                top[c] = larger(top[c], row[c])
        for k in range(n):
            row, out_row = x[block, k, first:last], out[block, k, first:last]
            for c in range(row.size):
                power = exponential_below_0(row[c] - top[c])
                out_row[c] = power
                total[c] += power
        if logarithm:
            for c in range(last - first):
                total[c] = np.log(total[c])
        for k in range(n):
            row, out_row = x[block, k, first:last], out[block, k, first:last]
            if logarithm:
                for c in range(row.size):
                    out_row[c] = row[c] - top[c] - total[c]
            else:
                for c in range(row.size):
                    out_row[c] /= total[c]


@parallel
def _softmax_of_columns_gradient(t, threads, g, out, gradient, scratch, logarithm):
    (blocks, n, columns), total = g.shape, scratch[t, 0]
    pieces = -(-columns // COLUMNS)
    for u in range(t * blocks * pieces // threads, (t + 1) * blocks * pieces // threads):
        block, first = u // pieces, u % pieces * COLUMNS
        last = min(first + COLUMNS, columns)
        total[:] = 0
        for k in range(n):
            g_row, out_row = g[block, k, first:last], out[block, k, first:last]
            if logarithm:
                for c in range(g_row.size):
                    total[c] += g_row[c]
            else:
                for c in range(g_row.size):
                    total[c] += g_row[c] * out_row[c]
        for k in range(n):
            g_row, out_row = g[block, k, first:last], out[block, k, first:last]
            gradient_row = gradient[block, k, first:last]
            if logarithm:
                for c in range(g_row.size):
                    gradient_row[c] = g_row[c] - exponential_below_0(out_row[c]) * total[c]
            else:
                for c in range(g_row.size):
                    gradient_row[c] = out_row[c] * (g_row[c] - total[c])


def _over(dim, of_rows, of_columns, logarithm, *arrays):
    """The result of a kernel over a dim of arrays of one shape."""
    shape = arrays[0].shape
    if not arrays[0].size or not -len(shape) <= dim < len(shape):
        return NotImplemented
    check_shapes(all([x.shape == shape for x in arrays]), *arrays)
    dim %= len(shape)
    columns = math.prod(shape[dim + 1 :])
    out = empty(shape, arrays[0].dtype)
    arrays = [contiguous(x).reshape(-1, shape[dim], columns) for x in (*arrays, out)]
    threads = thread_count(COST * out.size)
    if columns == 1:
        of_rows(threads, *[x.reshape(-1, shape[dim]) for x in arrays], logarithm)
    else:
        of_columns(threads, *arrays, np.empty((threads, 2, COLUMNS), out.dtype), logarithm)
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
def _nll(t, threads, x, target, losses, probabilities):
    for i in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row, out_row = x[i], probabilities[i]
        top, total = exponentials(row, out_row)
        for k in range(row.size):
            out_row[k] /= total
        in_range = 0 <= target[i] < row.size
        losses[i] = np.log(total) - (row[target[i]] - top) if in_range else np.nan


@parallel
def _nll_gradient(t, threads, g, probabilities, target, gradient):
    for i in range(t * len(g) // threads, (t + 1) * len(g) // threads):
        row, out_row = probabilities[i], gradient[i]
        for k in range(row.size):
            out_row[k] = g[i] * row[k] - (g[i] if k == target[i] else 0)


def nll(x, target):
    check_shapes(x.ndim == 2 and target.shape == x.shape[:1] and x.shape[1], x, target)
    losses, probabilities = empty(len(x), x.dtype), empty(x.shape, x.dtype)
    target = contiguous(target.astype(np.int64, copy=False))
    _nll(thread_count(16 * x.size), contiguous(x), target, losses, probabilities)
    return losses, probabilities


def nll_gradient(g, probabilities, target):
    check_shapes(
        probabilities.ndim == 2 and g.shape == target.shape == probabilities.shape[:1], g, probabilities, target
    )
    gradient = empty(probabilities.shape, g.dtype)
    target = contiguous(target.astype(np.int64, copy=False))
    _nll_gradient(thread_count(probabilities.size), contiguous(g), contiguous(probabilities), target, gradient)
    return gradient
