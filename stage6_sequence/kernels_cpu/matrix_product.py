"""Matrix products of linear layers and of batches of matrices: blocks of rows of a times packed panels of b."""

import math
from functools import lru_cache

import numpy as np

from .jit import empty, inner
from .layout import check_shapes, contiguous, transposed
from .micro_kernel import micro_kernel
from .packing import pack_bias, pack_panel, row_offsets
from .registers import NARROW_ROWS, ONE, OUTER, PRODUCT, PRODUCT_ROWS, broadcast_row, clamp_min, lanes, store
from .threads import parallel, thread_count

__all__ = ["affine", "affine_relu", "affine_to_weight", "affine_to_x", "product"]
THRESHOLDS = dict.fromkeys(__all__, 2048)

FIRST = np.zeros(1, np.int64)
BLOCK = 5 * PRODUCT_ROWS  # rows of a that a thread multiplies by one packed panel
STRIDE = 512  # bytes: addresses at such strides map to so few cache sets that they evict each other
SMALL = 500_000  # multiply-adds; below that BLAS is faster
COST = 64  # multiply-adds that take as long as one number in a pass over memory


@inner
def _macro_kernel(a, packed, bias, out, a_rows, out_rows, j, first, last, n, k, a_step, width, columns, floor):
    """The loop around the micro-kernel: tiles of a's rows `first` to `last` times one packed panel of b, + bias."""
    height = PRODUCT_ROWS if columns == PRODUCT else NARROW_ROWS
    for p in range(first, last, height):
        tile = broadcast_row(bias, j, columns, OUTER)
        tile = micro_kernel(tile, a, a_rows, p, FIRST, 0, packed, 0, k, a_step, width)
        store(clamp_min(tile, floor), out, out_rows, p, min(height, last - p), j, n - j)


@parallel
def _multiply(
    t, threads, a, b, bias, out, scratch, starts, a_rows, out_rows, b_rows, packed_rows, m, n, k, a_step, b_step, floor
):
    """max((m, k) @ (k, n) + bias, floor): blocks of rows for each panel of columns, which is packed once."""
    packed, width = scratch[t], scratch.shape[1] // k
    blocks, panels = -(-m // BLOCK), -(-n // width)
    units = starts.shape[1] * panels * blocks
    u, end = t * units // threads, (t + 1) * units // threads
    while u < end:
        i, j, block = u // (panels * blocks), u // blocks % panels * width, u % blocks
        several = min(blocks - block, end - u)  # of one panel, in one call, as its arguments cost as a tile does
        first, last = block * BLOCK, min((block + several) * BLOCK, m)
        pack_panel(b[starts[1, i] :], j, n, k, b_step, packed, width, b_rows, packed_rows)
        a_i, out_i = a[starts[0, i] :], out[i * m * n : (i + 1) * m * n]
        if n - j > width // 2:
            _macro_kernel(
                a_i, packed, bias, out_i, a_rows, out_rows, j, first, last, n, k, a_step, width, PRODUCT, floor
            )
        else:
            _macro_kernel(a_i, packed, bias, out_i, a_rows, out_rows, j, first, last, n, k, a_step, width, ONE, floor)
        u += several


@lru_cache(maxsize=1024)
def _product_plan(m, n, k, a_layout, b_layout, width):
    """Where each matrix begins; the offsets of rows, of both, of the product and of a packed panel; and strides."""
    (a_row, a_step, a_starts), (b_row, b_step, b_starts) = a_layout, b_layout
    starts = np.array([_starts(*a_starts), _starts(*b_starts)])
    tables = row_offsets(m, a_row), row_offsets(m, n), row_offsets(k, b_row), row_offsets(k, width)
    return (starts, *tables), (m, n, k, a_step, b_step)


def _starts(shape, strides):
    """Where each matrix of an array of matrices begins."""
    starts = np.zeros(1, np.int64)
    for n, stride in zip(shape, strides):
        starts = np.add.outer(starts, np.arange(n) * stride).ravel()
    return starts


def _memory(x):
    """The memory of matrices as a 1-D array, and how they lie there: strides of rows and in rows, and of the matrices.

    They are copied if neither their rows nor their columns are contiguous.
    """
    in_rows = x.strides[-1] == x.itemsize
    x = x if in_rows else x.swapaxes(-1, -2)
    if x.flags.carray:
        memory, strides = x.reshape(-1), [math.prod(x.shape[d + 1 :]) for d in range(x.ndim - 1)]
    elif x.flags.behaved and x.strides[-1] == x.itemsize and all([s > 0 and not s % x.itemsize for s in x.strides]):
        strides = [s // x.itemsize for s in x.strides[:-1]]
        size = x.shape[-1] + sum([(n - 1) * s for n, s in zip(x.shape, strides)])
        memory = np.lib.stride_tricks.as_strided(x, (size,), (x.itemsize,))
    else:
        return _memory(contiguous(x) if in_rows else contiguous(x).swapaxes(-1, -2))
    *matrices, row = strides
    return memory, (row if in_rows else 1, 1 if in_rows else row, (x.shape[:-2], tuple(matrices)))


def multiply(a, b, bias=None, floor=-np.inf, out=None):
    """max(a b + bias, floor): (…, m, k), (…, k, n), (n,) or None -> (…, m, n), perhaps into `out`."""
    (*batch, m, k), n, width = a.shape, b.shape[-1], 2 * lanes(a.dtype)
    count, down = math.prod(batch), a.strides[-1] != a.itemsize and m * a.itemsize >= STRIDE and k > 256
    if down and n < m and b.strides[-1] == b.itemsize and bias is None and floor == -np.inf:
        product = multiply(b.swapaxes(-1, -2), a.swapaxes(-1, -2)).reshape(count, n, m)
        return transposed(product, (*batch, m, n), out)  # less to copy than a
    if down:
        a = transposed(contiguous(a.swapaxes(-1, -2)).reshape(count, k, m), a.shape)
    (a, a_layout), (b, b_layout) = _memory(a), _memory(b)
    tables, sizes = _product_plan(m, n, k, a_layout, b_layout, width)
    if bias is None or n % width or not bias.flags.carray:
        bias = pack_bias(bias, 1, n, a.dtype).ravel()
    threads = thread_count(count * m * n * k // COST)
    out = empty((*batch, m, n), a.dtype) if out is None else out
    _multiply(threads, a, b, bias, out.reshape(-1), empty((threads, k * width), a.dtype), *tables, *sizes, floor)
    return out


def product(x, y):
    if x.ndim < 2 or y.ndim < 2 or not y.size or x.dtype != y.dtype or x.size * y.shape[-1] < SMALL:
        return NotImplemented
    check_shapes(x.shape[-1] == y.shape[-2], x, y)
    if y.ndim == 2:
        return multiply(x.reshape(-1, x.shape[-1]), y).reshape(*x.shape[:-1], y.shape[1])
    return multiply(x, y) if x.shape[:-2] == y.shape[:-2] else NotImplemented


def _affine(floor, x, weight, bias):
    if x.size * len(weight) < SMALL:
        return NotImplemented
    check_shapes(x.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1]), x, weight)
    return multiply(x.reshape(-1, x.shape[-1]), weight.T, bias, floor).reshape(*x.shape[:-1], len(weight))


def affine(x, weight, bias):
    return _affine(-np.inf, x, weight, bias)


def affine_relu(x, weight, bias):
    return _affine(0.0, x, weight, bias)


def affine_to_x(g, weight):
    if g.size * weight.shape[1] < SMALL:
        return NotImplemented
    check_shapes(g.shape[-1] == len(weight), g, weight)
    return multiply(g.reshape(-1, g.shape[-1]), weight).reshape(*g.shape[:-1], weight.shape[1])


def affine_to_weight(g, x):
    if g.size * x.shape[-1] < SMALL:
        return NotImplemented
    check_shapes(g.shape[:-1] == x.shape[:-1], g, x)
    return multiply(g.reshape(-1, g.shape[-1]).T, x.reshape(-1, x.shape[-1]))
