"""Layer norm: the numbers that are brought to one mean and variance lie side by side, as a row."""

import math

import numpy as np

from .elementary import dot, sum_of
from .jit import empty, parallel, share
from .layout import check_shapes, contiguous


@parallel
def _moments(t, parts, x, mean, var):
    scratch = np.empty(x.shape[1], x.dtype)
    for r in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row = x[r]
        mean[r] = sum_of(row) / x.dtype.type(row.size)
        for k in range(row.size):
            scratch[k] = row[k] - mean[r]
        var[r] = dot(scratch, scratch) / x.dtype.type(row.size)


@parallel
def _normalized(t, parts, x, weight, bias, mean, scale, out):
    for r in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, to, m, s = x[r], out[r], mean[r], scale[r]
        for k in range(row.size):
            to[k] = (row[k] - m) * (weight[k] * s) + bias[k]


@parallel
def _normalized_gradient(t, parts, g, x, weight, mean, scale, gradient, sums):
    """The gradient with respect to x, and the sums of the columns of g·x̂ and of g, of a part of the rows."""
    sum_gx, sum_g = sums[t, 0], sums[t, 1]
    sum_gx[:], sum_g[:] = 0, 0
    unit, to_unit, n = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype), x.dtype.type(x.shape[1])
    for r in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, to, out, m, s = x[r], g[r], gradient[r], mean[r], scale[r]
        for k in range(row.size):
            unit[k] = (row[k] - m) * s
            to_unit[k] = to[k] * weight[k]
            sum_gx[k] += to[k] * unit[k]
            sum_g[k] += to[k]
        mean_g, mean_gx = sum_of(to_unit) / n, dot(to_unit, unit) / n
        for k in range(row.size):
            out[k] = (to_unit[k] - mean_g - unit[k] * mean_gx) * s


def by_row(x, shape, *kept):
    """Whether x is an array of arrays of the shape, and the others have a number for each of these."""
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
    _moments(share(2 * x.size), _rows(x, math.prod(x.shape[x.ndim - dims :])), mean.reshape(-1), var.reshape(-1))
    return mean, var


def normalized(x, weight, bias, mean, var, eps):
    out, n = empty(x.shape, x.dtype), weight.size
    scale = (1 / np.sqrt(var + eps)).astype(x.dtype)
    weight, bias, mean, scale = (contiguous(v).reshape(-1) for v in (weight, bias, mean, scale))
    _normalized(share(x.size), _rows(x, n), weight, bias, mean, scale, out.reshape(-1, n))
    return out


def normalized_gradient(g, x, weight, mean, var, eps):
    check_shapes(g.shape == x.shape, g, x)
    n, shape = weight.size, weight.shape
    gradient, parts = empty(x.shape, x.dtype), share(4 * x.size)
    scale = (1 / np.sqrt(var + eps)).astype(x.dtype)
    weight, mean, scale = (contiguous(v).reshape(-1) for v in (weight, mean, scale))
    sums = np.empty((parts, 2, n))
    _normalized_gradient(parts, _rows(g, n), _rows(x, n), weight, mean, scale, gradient.reshape(-1, n), sums)
    to_weight, to_bias = sums.sum(axis=0).astype(x.dtype)
    return gradient, to_weight.reshape(shape), to_bias.reshape(shape)
