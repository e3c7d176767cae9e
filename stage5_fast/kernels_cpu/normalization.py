"""Batch norm: channels last, so that the numbers of a channel are a column. Layer norm has rows, in `layer_norm.py`."""

import numpy as np

from . import layer_norm
from .jit import empty, parallel, share
from .layout import check_shapes, contiguous
from .reduction import column_sums

__all__ = ["moments", "normalized", "normalized_gradient"]


@parallel
def _sum_squares(t, parts, x, mean, sums):
    """The sums of the columns' squared distances from their means, of a part of the rows."""
    total, rows = sums[t], x[t * len(x) // parts : (t + 1) * len(x) // parts]
    total[:] = 0
    for row in rows:
        for k in range(total.size):
            total[k] += (row[k] - mean[k]) * (row[k] - mean[k])


@parallel
def _normalized(t, parts, x, scale, shift, out):
    first, last = t * len(x) // parts, (t + 1) * len(x) // parts
    for r in range(first, last):
        row, to = x[r], out[r]
        for k in range(row.size):
            to[k] = row[k] * scale[k] + shift[k]


@parallel
def _sum_products(t, parts, g, x, mean, scale, sums):
    """The sums of the columns of g, and of g·x̂, of a part of the rows."""
    sum_g, sum_gx = sums[t]
    sum_g[:] = 0
    sum_gx[:] = 0
    for r in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, to = x[r], g[r]
        for k in range(row.size):
            sum_g[k] += to[k]
            sum_gx[k] += to[k] * ((row[k] - mean[k]) * scale[k])


@parallel
def _normalized_gradient(t, parts, g, x, mean, scale, weight, sum_g, sum_gx, gradient):
    for r in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, to, out = x[r], g[r], gradient[r]
        for k in range(row.size):
            unit = (row[k] - mean[k]) * scale[k]
            out[k] = (to[k] - sum_g[k] - unit * sum_gx[k]) * (weight[k] * scale[k])


def _by_channel(x, *others):
    """Whether the others are a number for each channel, dim 1 of x."""
    channels = (1, *x.shape[1:2], *(1,) * (x.ndim - 2))
    return x.ndim > 1 and x.size and all(other.shape == channels for other in others)


def _table_of(x):
    """x with its dim 1 last, as rows of channels."""
    return contiguous(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def _image_of(table, x):
    """The rows of channels in the shape of x."""
    return np.moveaxis(table.reshape(*x.shape[:1], *x.shape[2:], x.shape[1]), -1, 1)


def _last(dim, ndim):
    """Whether these are the last dims, as those of a layer norm are."""
    return 0 < len(dim) <= ndim and sorted([d % ndim for d in dim]) == list(range(ndim - len(dim), ndim))


def moments(x, dim):
    if x.size and _last(dim, x.ndim):
        return layer_norm.moments(x, len(dim))
    if x.ndim < 2 or not x.size or sorted(dim) != [0, *range(2, x.ndim)]:
        return NotImplemented
    table, kept = _table_of(x), (1, x.shape[1], *(1,) * (x.ndim - 2))
    mean = column_sums(table) / x.dtype.type(len(table))
    sums = np.empty((share(x.size), x.shape[1]))
    _sum_squares(len(sums), table, mean, sums)
    return mean.reshape(kept), (sums.sum(axis=0) / len(table)).astype(x.dtype).reshape(kept)


def normalized(x, weight, bias, mean, var, eps):
    if weight.shape == bias.shape and layer_norm.by_row(x, weight.shape, mean, var):
        return layer_norm.normalized(x, weight, bias, mean, var, eps)
    if not _by_channel(x, weight, bias, mean, var):
        return NotImplemented
    scale = weight / np.sqrt(var + eps)
    shift = bias - mean * scale
    table = _table_of(x)
    out = empty(table.shape, x.dtype)
    _normalized(share(x.size), table, *(v.ravel().astype(x.dtype) for v in (scale, shift)), out)
    return _image_of(out, x)


def normalized_gradient(g, x, weight, mean, var, eps, dim):
    if _last(dim, x.ndim) and len(dim) == weight.ndim and layer_norm.by_row(x, weight.shape, mean, var):
        return layer_norm.normalized_gradient(g, x, weight, mean, var, eps)
    if not _by_channel(x, weight, mean, var) or sorted(dim) != [0, *range(2, x.ndim)]:
        return NotImplemented
    check_shapes(g.shape == x.shape, g, x)
    rows, table = _table_of(g), _table_of(x)
    mean, scale, by = (v.ravel().astype(x.dtype) for v in (mean, 1 / np.sqrt(var + eps), weight))
    sums = np.empty((share(x.size), 2, x.shape[1]))
    _sum_products(len(sums), rows, table, mean, scale, sums)
    sum_g, sum_gx = sums.sum(axis=0).astype(x.dtype)
    gradient = empty(table.shape, x.dtype)
    n = x.dtype.type(len(table))
    _normalized_gradient(share(x.size), rows, table, mean, scale, by, sum_g / n, sum_gx / n, gradient)
    return _image_of(gradient, x), sum_gx.reshape(weight.shape), sum_g.reshape(weight.shape)
