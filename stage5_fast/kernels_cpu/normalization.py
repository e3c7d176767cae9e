"""Batch norm: channels last, so that the numbers of a channel are a column. Layer norm has rows, in `layer_norm.py`.

Sums go over a chunk of rows at a time, in the array's own precision, and from chunk to chunk in float64.
"""

import math

import numpy as np

from . import layer_norm
from .layout import check_shapes, contiguous
from .memory import empty
from .threads import allocating, parallel, thread_count

__all__ = ["moments", "normalized", "normalized_gradient"]

WIDE, CHUNK = 128, 8192  # numbers in a row, into which short ones are joined; and in a chunk, which the L1 cache holds


@allocating
def _moments(t, threads, x, sums, squares):
    """Of the rows of thread t: the sums of the columns, and of their squared distances from their means.

    One pass over memory is enough, as each chunk has a mean of its own (Chan, Golub and LeVeque 1983).
    """
    total, spread, wide, done = sums[t], squares[t], x.shape[1], 0
    total[:] = 0
    spread[:] = 0
    sum_x, mean, sum_squares = np.empty(wide, x.dtype), np.empty(wide, x.dtype), np.empty(wide, x.dtype)
    last, step = (t + 1) * len(x) // threads, max(1, CHUNK // wide)
    for first in range(t * len(x) // threads, last, step):
        end = min(first + step, last)
        n, sum_x[:], sum_squares[:] = end - first, 0, 0
        for r in range(first, end):  # the compiler doesn't vectorize loops over `for row in x`
            row = x[r]
            for k in range(wide):
                sum_x[k] += row[k]
        for k in range(wide):
            mean[k] = sum_x[k] / x.dtype.type(n)
        for r in range(first, end):
            row = x[r]
            for k in range(wide):
                sum_squares[k] += (row[k] - mean[k]) * (row[k] - mean[k])
        for k in range(wide):
            apart = total[k] / max(done, 1) - sum_x[k] / n
            spread[k] += sum_squares[k] + apart * apart * done * n / (done + n)
            total[k] += sum_x[k]
        done += n


@parallel
def _normalized(t, threads, x, scale, shift, out):
    for r in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row, out_row = x[r], out[r]
        for k in range(row.size):
            out_row[k] = row[k] * scale[k] + shift[k]


@allocating
def _sum_products(t, threads, g, x, mean, sums):
    """The sums of the columns of g, and of g·(x − mean), of the rows of thread t."""
    total_g, total_gx = sums[t, 0], sums[t, 1]
    total_g[:] = 0
    total_gx[:] = 0
    wide = x.shape[1]
    sum_g, sum_gx = np.empty(wide, x.dtype), np.empty(wide, x.dtype)
    last, step = (t + 1) * len(x) // threads, max(1, CHUNK // wide)
    for first in range(t * len(x) // threads, last, step):
        sum_g[:] = 0
        sum_gx[:] = 0
        for r in range(first, min(first + step, last)):
            row, g_row = x[r], g[r]
            for k in range(wide):
                sum_g[k] += g_row[k]
                sum_gx[k] += g_row[k] * (row[k] - mean[k])
        for k in range(wide):
            total_g[k] += sum_g[k]
            total_gx[k] += sum_gx[k]


@parallel
def _normalized_gradient(t, threads, g, x, mean, scale, slope, shift, gradient):
    for r in range(t * len(x) // threads, (t + 1) * len(x) // threads):
        row, g_row, out_row = x[r], g[r], gradient[r]
        for k in range(row.size):
            out_row[k] = g_row[k] * scale[k] + (row[k] - mean[k]) * slope[k] + shift[k]


def _by_channel(x, *others):
    """Whether the others are a number for each channel, dim 1 of x."""
    channels = (1, *x.shape[1:2], *(1,) * (x.ndim - 2))
    return x.ndim > 1 and x.size and all([other.shape == channels for other in others])


def _table_of(x):
    """x with its dim 1 last, as rows that hold all channels several times."""
    last = contiguous(x.transpose(0, *range(2, x.ndim), 1))
    times = math.gcd(x.size // x.shape[1], 1 << max(WIDE // x.shape[1], 1).bit_length() - 1)
    return last.reshape(-1, times * x.shape[1])


def _image_of(table, x):
    """The inverse of `_table_of`: rows of channels in the shape of x."""
    channels_last = table.reshape(*x.shape[:1], *x.shape[2:], x.shape[1])
    return channels_last.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def _vectors(table, *others):
    """The others, with a number for each channel, repeated to the length of the rows."""
    times = table.shape[1] // others[0].size
    return [np.concatenate([other.ravel()] * times).astype(table.dtype) for other in others]


def moments(x, dim):
    if x.size and layer_norm.last(dim, x.ndim):
        return layer_norm.moments(x, len(dim))
    if x.ndim < 2 or not x.size or sorted(dim) != [0, *range(2, x.ndim)]:
        return NotImplemented
    table, kept = _table_of(x), (1, x.shape[1], *(1,) * (x.ndim - 2))
    threads = thread_count(x.size)
    sums, squares = np.empty((2, threads, table.shape[1]))
    _moments(threads, table, sums, squares)
    n = x.size // x.shape[1]
    mean = sums.reshape(-1, x.shape[1]).sum(axis=0) / n
    rows = np.diff(np.arange(threads + 1) * len(table) // threads)[:, None]
    apart = sums / np.maximum(rows, 1) - np.tile(mean, table.shape[1] // x.shape[1])
    var = (squares + apart * apart * rows).reshape(-1, x.shape[1]).sum(axis=0) / n
    return mean.astype(x.dtype).reshape(kept), var.astype(x.dtype).reshape(kept)


def normalized(x, weight, bias, mean, var, eps):
    if weight.shape == bias.shape and layer_norm.by_row(x, weight.shape, mean, var):
        return layer_norm.normalized(x, weight, bias, mean, var, eps)
    if not _by_channel(x, weight, bias, mean, var):
        return NotImplemented
    scale = weight / np.sqrt(var + eps)
    table = _table_of(x)
    out = empty(table.shape, x.dtype)
    _normalized(thread_count(x.size), table, *_vectors(table, scale, bias - mean * scale), out)
    return _image_of(out, x)


def normalized_gradient(g, x, weight, mean, var, eps, dim):
    if layer_norm.last(dim, x.ndim) and len(dim) == weight.ndim and layer_norm.by_row(x, weight.shape, mean, var):
        return layer_norm.normalized_gradient(g, x, weight, mean, var, eps)
    if not _by_channel(x, weight, mean, var) or sorted(dim) != [0, *range(2, x.ndim)]:
        return NotImplemented
    check_shapes(g.shape == x.shape, g, x)
    rows, table = _table_of(g), _table_of(x)
    (means,) = _vectors(table, mean)
    sums = np.empty((thread_count(x.size), 2, table.shape[1]))
    _sum_products(len(sums), rows, table, means, sums)
    sum_g, sum_gx = sums.reshape(len(sums), 2, -1, x.shape[1]).sum(axis=(0, 2)).reshape(2, *weight.shape)
    n, inverse = x.size // x.shape[1], 1 / np.sqrt(var + eps)
    weight_gradient = sum_gx * inverse
    scale = weight * inverse
    vectors = means, *_vectors(table, scale, -scale * inverse * weight_gradient / n, -scale * sum_g / n)
    gradient = empty(table.shape, x.dtype)
    _normalized_gradient(thread_count(x.size), rows, table, *vectors, gradient)
    return _image_of(gradient, x), weight_gradient.astype(x.dtype), sum_g.astype(x.dtype)
