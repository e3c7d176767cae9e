"""Layer norm: the numbers that are normalized together are contiguous, as a row."""

import math
from functools import partial

import numpy as np

from .elementary import sum_of
from .jit import inner
from .layout import check_shapes, contiguous
from .memory import empty
from .threads import allocating, parallel, thread_count

CHUNK = 64  # rows, of which the columns are summed in the array's own precision; from chunk to chunk it is float64
summed = partial(inner, fastmath={"reassoc"})  # in an order that fits vectors


@summed
def _squares(row, m):
    """The sum of (x − m)²."""
    total = row.dtype.type(0)
    for k in range(row.size):
        total += (row[k] - m) * (row[k] - m)
    return total


@parallel
def _moments(t, threads, x, mean, var):
    for r in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row = x[r]
        mean[r] = sum_of(row) / x.dtype.type(row.size)
        var[r] = _squares(row, mean[r]) / x.dtype.type(row.size)


@parallel
def _normalized(t, threads, x, weight, bias, mean, var, eps, out):
    for r in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row, out_row, m, s = x[r], out[r], mean[r], x.dtype.type(1) / np.sqrt(var[r] + eps)
        for k in range(row.size):
            out_row[k] = (row[k] - m) * (weight[k] * s) + bias[k]


@summed
def _means(g, weight, row, m, s):
    """Over a row: the means of g·weight and of g·weight·x̂."""
    sum_g, sum_gx = row.dtype.type(0), row.dtype.type(0)
    for k in range(row.size):
        sum_g += g[k] * weight[k]
        sum_gx += g[k] * weight[k] * ((row[k] - m) * s)
    return sum_g / row.dtype.type(row.size), sum_gx / row.dtype.type(row.size)


@allocating
def _normalized_gradient(t, threads, g, x, weight, mean, var, eps, gradient, sums):
    """The gradient with respect to x, and the sums of the columns of g·x̂ and of g, of the rows of thread t."""
    total_gx, total_g, wide, one = sums[t, 0], sums[t, 1], x.shape[1], x.dtype.type(1)
    total_gx[:], total_g[:] = 0, 0
    sum_gx, sum_g = np.empty(wide, x.dtype), np.empty(wide, x.dtype)
    last = (t + 1) * len(x) // threads
    for first in range(t * len(x) // threads, last, CHUNK):
        sum_gx[:], sum_g[:] = 0, 0
        for r in range(first, min(first + CHUNK, last)):
            row, g_row, out, m, s = x[r], g[r], gradient[r], mean[r], one / np.sqrt(var[r] + eps)
            mean_g, mean_gx = _means(g_row, weight, row, m, s)
            for k in range(wide):
                unit = (row[k] - m) * s
                out[k] = (g_row[k] * weight[k] - mean_g - unit * mean_gx) * s
                sum_gx[k] += g_row[k] * unit
                sum_g[k] += g_row[k]
        for k in range(wide):
            total_gx[k] += sum_gx[k]
            total_g[k] += sum_g[k]


def last(dim, ndim):
    """Whether these are the last dims, over which a layer norm goes."""
    return 0 < len(dim) <= ndim and sorted([d % ndim for d in dim]) == list(range(ndim - len(dim), ndim))


def by_row(x, shape, *kept):
    """Whether x ends in the dims `shape`, and the others have one number for each of its arrays of this shape."""
    before = x.ndim - len(shape)
    kept_shape = (*x.shape[:before], *(1,) * len(shape))
    return (
        x.size and 0 < len(shape) <= x.ndim and x.shape[before:] == shape and all(k.shape == kept_shape for k in kept)
    )


def _rows(x, n):
    return contiguous(x).reshape(-1, n)


def moments(x, dims):
    """Mean and variance over so many last dims."""
    kept = (*x.shape[: x.ndim - dims], *(1,) * dims)
    mean, var = empty(kept, x.dtype), empty(kept, x.dtype)
    _moments(thread_count(2 * x.size), _rows(x, math.prod(x.shape[x.ndim - dims :])), mean.reshape(-1), var.reshape(-1))
    return mean, var


def normalized(x, weight, bias, mean, var, eps):
    out, n = empty(x.shape, x.dtype), weight.size
    vectors = [contiguous(v).reshape(-1) for v in (weight, bias, mean, var)]
    _normalized(thread_count(x.size), _rows(x, n), *vectors, x.dtype.type(eps), out.reshape(-1, n))
    return out


def normalized_gradient(g, x, weight, mean, var, eps):
    check_shapes(g.shape == x.shape, g, x)
    n, shape = weight.size, weight.shape
    gradient, threads = empty(x.shape, x.dtype), thread_count(4 * x.size)
    vectors = [contiguous(v).reshape(-1) for v in (weight, mean, var)]
    sums = np.empty((threads, 2, n))
    _normalized_gradient(threads, _rows(g, n), _rows(x, n), *vectors, x.dtype.type(eps), gradient.reshape(-1, n), sums)
    weight_gradient, bias_gradient = sums.sum(axis=0).astype(x.dtype)
    return gradient, weight_gradient.reshape(shape), bias_gradient.reshape(shape)
