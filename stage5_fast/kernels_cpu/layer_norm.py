"""Layer norm: the numbers that are normalized together are contiguous, as a row."""

import math

import numpy as np

from .elementary import dot, sum_of
from .jit import empty
from .layout import check_shapes, contiguous
from .threads import parallel, thread_count


@parallel
def _moments(t, threads, x, mean, var):
    scratch = np.empty(x.shape[1], x.dtype)
    for r in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row = x[r]
        mean[r] = sum_of(row) / x.dtype.type(row.size)
        for k in range(row.size):
            scratch[k] = row[k] - mean[r]
        var[r] = dot(scratch, scratch) / x.dtype.type(row.size)


@parallel
def _normalized(t, threads, x, weight, bias, mean, scale, out):
    for r in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row, out_row, m, s = x[r], out[r], mean[r], scale[r]
        for k in range(row.size):
            out_row[k] = (row[k] - m) * (weight[k] * s) + bias[k]


@parallel
def _normalized_gradient(t, threads, g, x, weight, mean, scale, gradient, sums):
    """The gradient with respect to x, and the sums of the columns of g·x̂ and of g, of the rows of thread t."""
    sum_gx, sum_g = sums[t, 0], sums[t, 1]
    sum_gx[:], sum_g[:] = 0, 0
    unit, g_unit, n = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype), x.dtype.type(x.shape[1])
    for r in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row, g_row, out, m, s = x[r], g[r], gradient[r], mean[r], scale[r]
        for k in range(row.size):
            unit[k] = (row[k] - m) * s
            g_unit[k] = g_row[k] * weight[k]
            sum_gx[k] += g_row[k] * unit[k]
            sum_g[k] += g_row[k]
        mean_g, mean_gx = sum_of(g_unit) / n, dot(g_unit, unit) / n
        for k in range(row.size):
            out[k] = (g_unit[k] - mean_g - unit[k] * mean_gx) * s


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
    scale = (1 / np.sqrt(var + eps)).astype(x.dtype)
    weight, bias, mean, scale = (contiguous(v).reshape(-1) for v in (weight, bias, mean, scale))
    _normalized(thread_count(x.size), _rows(x, n), weight, bias, mean, scale, out.reshape(-1, n))
    return out


def normalized_gradient(g, x, weight, mean, var, eps):
    check_shapes(g.shape == x.shape, g, x)
    n, shape = weight.size, weight.shape
    gradient, threads = empty(x.shape, x.dtype), thread_count(4 * x.size)
    scale = (1 / np.sqrt(var + eps)).astype(x.dtype)
    weight, mean, scale = (contiguous(v).reshape(-1) for v in (weight, mean, scale))
    sums = np.empty((threads, 2, n))
    _normalized_gradient(threads, _rows(g, n), _rows(x, n), weight, mean, scale, gradient.reshape(-1, n), sums)
    weight_gradient, bias_gradient = sums.sum(axis=0).astype(x.dtype)
    return gradient, weight_gradient.reshape(shape), bias_gradient.reshape(shape)
