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
    t, threads, a, b, bias, out, scratch, starts, a_rows, out_rows, b_rows, packed_rows, sizes, steps, parts, floor
):
    """max((m, k) @ (k, n) + bias, floor): for each part of the rows, each panel of columns is packed once."""
    packed, (m, n, k), (a_step, b_step) = scratch[t], sizes, steps
    width = packed.size // k
    panels, blocks = -(-n // width), -(-m // (parts * BLOCK))  # blocks in a part
    units = starts.shape[1] * parts * panels * blocks
    u, end = t * units // threads, (t + 1) * units // threads
    while u < end:
        i, j, block = u // (parts * panels * blocks), u // blocks % panels * width, u % blocks
        several = min(blocks - block, end - u)  # of one panel, in one call, as its arguments cost as a tile does
        first = (u // (panels * blocks) % parts * blocks + block) * BLOCK
        last = min(first + several * BLOCK, m)
        pack_panel(b[starts[1, i] :], j, n, k, b_step, packed, width, b_rows, packed_rows)
        a_i, out_i = a[starts[0, i] :], out[starts[2, i] :]
        if n - j > width // 2:
            _macro_kernel(
                a_i, packed, bias, out_i, a_rows, out_rows, j, first, last, n, k, a_step, width, PRODUCT, floor
            )
        else:
            _macro_kernel(a_i, packed, bias, out_i, a_rows, out_rows, j, first, last, n, k, a_step, width, ONE, floor)
        u += several


@lru_cache(maxsize=1024)
def _layout(shape, strides, itemsize):
    """How matrices lie in memory: the strides of rows and in rows, where each begins, and how many numbers there are.

    Strides are in numbers; what lies between the matrices counts too. None if neither their rows nor their columns are
    contiguous.
    """
    strides = [1 if n == 1 else stride / itemsize for n, stride in zip(shape, strides)]
    if 1 not in strides[-2:] or not all([stride > 0 and stride == int(stride) for stride in strides]):
        return None
    *matrices, row, step = map(int, strides)
    starts = np.zeros(1, np.int64)
    for n, stride in zip(shape, matrices):
        starts = np.add.outer(starts, np.arange(n) * stride).ravel()
    return row, step, starts, 1 + sum((n - 1) * int(stride) for n, stride in zip(shape, strides))


@lru_cache(maxsize=1024)
def _product_plan(a, b, out, itemsize, width):
    """What the kernel is told of three arrays of these shapes and strides, and how many numbers each has.

    Where each matrix begins; the offsets of rows, of all and of a packed panel; sizes, and strides within a row.
    """
    (*_, m, k), n = a[0], b[0][-1]
    rows, steps, starts, sizes = zip(*[_layout(*x, itemsize) for x in (a, b, out)])
    tables = row_offsets(m, rows[0]), row_offsets(m, rows[2]), row_offsets(k, rows[1]), row_offsets(k, width)
    return (np.array(starts), *tables, (m, n, k), steps[:2]), sizes


def _regular(x):
    """The matrices themselves, or a copy if neither their rows nor their columns are contiguous."""
    return x if x.flags.behaved and _layout(x.shape, x.strides, x.itemsize) else contiguous(x)


def _memory(x, size):
    """The numbers of matrices, and what lies between them, as a 1-D array."""
    x = x.T if x.ndim == 2 and x.flags.f_contiguous else x
    return x.reshape(-1) if x.flags.c_contiguous else np.lib.stride_tricks.as_strided(x, (size,), (x.itemsize,))


def laid_out_like(x, shape, new=empty):
    """An array whose dims lie in memory in the order of those of x, if those of x end with its last one.

    The product of attention's weights with its values is as they are then: with the numbers of a place side by side.
    """
    if x.ndim == 2 or x.flags.c_contiguous or x.strides[-1] != x.itemsize:
        return new(shape, x.dtype)
    before = range(x.ndim - 1)
    order = sorted(before, key=lambda d: -x.strides[d])
    out = new((*[shape[d] for d in order], shape[-1]), x.dtype)
    return out.transpose(*[order.index(d) for d in before], x.ndim - 1)


def multiply(a, b, bias=None, floor=-np.inf, out=None):
    """max(a b + bias, floor): (…, m, k), (…, k, n), (n,) or None -> (…, m, n), perhaps into `out`."""
    (*batch, m, k), n, width = a.shape, b.shape[-1], 2 * lanes(a.dtype)
    count, down = math.prod(batch), a.strides[-1] != a.itemsize and m * a.itemsize >= STRIDE and k > 256
    plain = bias is None and floor == -np.inf and (out is None or out.flags.c_contiguous)
    if down and plain and n < m and b.strides[-1] == b.itemsize:
        product = multiply(b.swapaxes(-1, -2), a.swapaxes(-1, -2)).reshape(count, n, m)
        return transposed(product, (*batch, m, n), out)  # less to copy than a
    if down:
        a = transposed(contiguous(a.swapaxes(-1, -2)).reshape(count, k, m), a.shape)
    a, b = _regular(a), _regular(b)
    out = laid_out_like(b, (*batch, m, n)) if out is None else out
    arrays = a, b, out
    plan, sizes = _product_plan(*[(x.shape, x.strides) for x in arrays], a.itemsize, width)
    if bias is None or n % width or not bias.flags.carray:
        bias = pack_bias(bias, 1, n, a.dtype).ravel()
    threads = thread_count(count * m * n * k // COST)
    parts = threads if count == 1 and m >= n else 1  # then a thread's rows are those of its other kernels: in its cache
    a, b, memory = [_memory(x, size) for x, size in zip(arrays, sizes)]
    _multiply(threads, a, b, bias, memory, empty((threads, k * width), a.dtype), *plan, parts, floor)
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
