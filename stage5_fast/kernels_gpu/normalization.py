"""Batch norm, with arrays as (images, channels, pixels), and layer norm, whose rows are channels of one image."""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

import numpy as np
from numba import cuda

from ..kernels_cpu.layer_norm import by_row, last
from ..kernels_cpu.layout import check_shapes
from .launch import MOST, contiguous, device, empty, grid_size, same_dtype, specialized, split
from .reduction import two_sums

__all__ = ["moments", "normalized", "normalized_gradient"]


@device
def _shifted_term(x, g, mean, i, c, start):
    """The difference from the channel's first number, and its square: sums of these lose no digits."""
    d = np.float64(x[i]) - _shift(x, start)
    return d, d * d


@device
def _shift(x, start):
    first = np.float64(x[start])
    return first if first - first == 0 else 0.0  # where it is infinite or NaN


@device
def _times_centred(x, g, mean, i, c, start):
    return np.float64(g[i]), np.float64(g[i]) * (np.float64(x[i]) - np.float64(mean[c]))


@device
def _as_moments(a, b, x, var, c, start, n, eps):
    """The mean and the variance."""
    variance = b / n - a / n * (a / n)
    return _shift(x, start) + a / n, 0.0 if variance < 0 else variance


@device
def _as_scaled(a, b, x, var, c, start, n, eps):
    return a, b / math.sqrt(np.float64(var[c]) + eps)


def _normalized(x, weight, bias, mean, var, out, n, channels, pixels, eps):
    """weight·(x − mean)/√(var + ε) + bias of each number's channel.

    Grid: a thread for each number. Shared memory: none. Bytes: x and out once each, the minimum.
    """
    i = cuda.grid(1)
    if i < n:
        c = split(split(i, pixels)[0], channels)[1]
        out[i] = (x[i] - mean[c]) * (weight[c] / real(math.sqrt(var[c] + real(eps)))) + bias[c]


def _normalized_rows(x, weight, bias, mean, var, out, n, columns, eps):
    """weight·(x − mean)/√(var + ε) + bias, with the weight and bias of a column, and the mean and variance of a row.

    Grid: a thread for each number. Shared memory: none. Bytes: x and out once each, the minimum.
    """
    i = cuda.grid(1)
    if i < n:
        r, k = split(i, columns)
        out[i] = (x[i] - mean[r]) * (weight[k] / real(math.sqrt(var[r] + real(eps)))) + bias[k]


def _normalized_gradient(g, x, weight, mean, var, to_bias, to_weight, out, n, channels, pixels, eps):
    """(g − mean g − x̂·mean(g·x̂))·weight/√(var + ε), where to_bias is Σg and to_weight Σg·x̂.

    Grid: a thread for each number. Shared memory: none. Bytes: g, x and out once each, the minimum.
    """
    i = cuda.grid(1)
    if i < n:
        c = split(split(i, pixels)[0], channels)[1]
        count = real(n // channels)
        scale = real(1) / real(math.sqrt(var[c] + real(eps)))
        unit = (x[i] - mean[c]) * scale
        out[i] = (g[i] - to_bias[c] / count - unit * (to_weight[c] / count)) * (weight[c] * scale)


def _by_channel(x, *others):
    """Whether the others are a number for each channel, dim 1 of x."""
    channels = (1, *x.shape[1:2], *(1,) * (x.ndim - 2))
    return x.ndim > 1 and 0 < x.size < MOST and all(other.shape == channels for other in others)


def _over_the_rest(x, dim):
    return isinstance(dim, tuple) and sorted(dim) == [0, *range(2, x.ndim)]


def _as_planes(x):
    return contiguous(x).reshape(*x.shape[:2], -1)


def _vectors(x, *others):
    return [contiguous(other.astype(x.dtype, copy=False)) for other in others]


def _as_rows(x, n):
    return contiguous(x).reshape(1, -1, n)


def moments(x, dim):
    if last(dim, x.ndim) and 0 < x.size < MOST:
        kept, n = x.shape[: x.ndim - len(dim)], math.prod(x.shape[x.ndim - len(dim) :])
        x, shape = _as_rows(x, n), (*kept, *(1,) * len(dim))
    elif _by_channel(x) and _over_the_rest(x, dim):
        x, shape = _as_planes(x), (1, x.shape[1], *(1,) * (x.ndim - 2))
    else:
        return NotImplemented
    mean, var = two_sums(x, x, x, x, 0.0, _shifted_term, _as_moments)
    return mean.reshape(shape), var.reshape(shape)


def normalized(x, weight, bias, mean, var, eps):
    if x.size < MOST and weight.shape == bias.shape and by_row(x, weight.shape, mean, var):
        out, arrays = empty(x, *x.shape), (contiguous(x), *_vectors(x, weight, bias, mean, var))
        specialized(_normalized_rows, x.dtype)(grid_size(x.size), *arrays, out, x.size, weight.size, float(eps))
        return out
    if not _by_channel(x, weight, bias, mean, var):
        return NotImplemented
    planes, out = _as_planes(x), empty(x, *x.shape)
    size = x.size, *planes.shape[1:], float(eps)
    specialized(_normalized, x.dtype)(grid_size(x.size), planes, *_vectors(x, weight, bias, mean, var), out, *size)
    return out


def _row_gradient(g, x, weight, mean, var, eps):
    """Of layer norm: to x as of batch norm whose channels are the rows; and the sums of the columns of g·x̂ and of g."""
    n, rows = weight.size, mean.size
    one, zero = empty(x, 2, max(rows, n))
    one[...], zero[...] = 1, 0
    mean, var = _vectors(x, mean, var)
    planes, unit, to_x = _as_rows(x, n), empty(x, *x.shape), empty(x, *x.shape)
    specialized(_normalized_rows, x.dtype)(grid_size(x.size), planes, one, zero, mean, var, unit, x.size, n, float(eps))
    to_unit = _as_rows(g * weight, n)
    sum_g, sum_gx = two_sums(planes, to_unit, mean, var, float(eps), _times_centred, _as_scaled)
    arrays = to_unit, planes, one, mean, var, sum_g, sum_gx, to_x
    specialized(_normalized_gradient, x.dtype)(grid_size(x.size), *arrays, x.size, rows, n, float(eps))
    columns = unit.reshape(rows, n, 1), contiguous(g).reshape(rows, n, 1)
    to_bias, to_weight = two_sums(*columns, zero, one, 0.0, _times_centred, _as_scaled)
    return to_x, to_weight.reshape(weight.shape), to_bias.reshape(weight.shape)


def normalized_gradient(g, x, weight, mean, var, eps, dim):
    rows = x.size < MOST and by_row(x, weight.shape, mean, var) and last(dim, x.ndim) and len(dim) == weight.ndim
    if not rows and not (_by_channel(x, weight, mean, var) and _over_the_rest(x, dim)):
        return NotImplemented
    check_shapes(g.shape == x.shape, g, x)
    if not same_dtype(x, g):
        return NotImplemented
    if rows:
        return _row_gradient(g, x, weight, mean, var, eps)
    g, planes, out = _as_planes(g), _as_planes(x), empty(x, *x.shape)
    scale, mean, var = _vectors(x, weight, mean, var)
    to_bias, to_weight = two_sums(planes, g, mean, var, float(eps), _times_centred, _as_scaled)
    arrays = g, planes, scale, mean, var, to_bias, to_weight, out
    specialized(_normalized_gradient, x.dtype)(grid_size(x.size), *arrays, x.size, *planes.shape[1:], float(eps))
    return out, to_weight.reshape(weight.shape), to_bias.reshape(weight.shape)
