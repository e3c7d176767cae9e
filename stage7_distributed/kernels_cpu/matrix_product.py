"""Matrix products of linear layers and of batches of matrices: blocks of rows of a times packed panels of b.

Packed are also rows of a whose numbers don't lie side by side, as those of gᵀ in the gradient of a weight.
"""

import math
from functools import lru_cache

import numpy as np

from .jit import empty, inner
from .layout import check_shapes, contiguous
from .micro_kernel import micro_kernel
from .packing import offset_table, pack_bias, pack_panel, pack_rows, row_offsets
from .registers import NARROW_ROWS, ONE, OUTER, PRODUCT, PRODUCT_ROWS, broadcast_row, clamp_min, lanes, load, store
from .threads import parallel, thread_count

__all__ = ["affine", "affine_relu", "affine_to_weight", "affine_to_x", "product"]
THRESHOLDS = dict.fromkeys(__all__, 2048)

FIRST = np.zeros(1, np.int64)
PANEL = 50_000  # bytes of a packed panel of b
BLOCK = 2_000_000  # bytes of packed rows of a
STRIDE = 512  # bytes: addresses at such strides map to so few cache sets that they evict each other
SMALL = 500_000  # multiply-adds; below that BLAS is faster
COST = 64  # multiply-adds that take as long as one number in a pass over memory


@inner
def _macro_kernel(a, panel, bias, out, a_rows, out_rows, j, first, last, n, k, a_step, width, columns, begins, floor):
    """The loop around the micro-kernel: tiles of a's rows `first` to `last` times one panel of b.

    The product is added to the bias if it begins with these k, else to what is in `out`.
    """
    height = PRODUCT_ROWS if columns == PRODUCT else NARROW_ROWS
    for p in range(first, last, height):
        tile = broadcast_row(bias, j, columns, OUTER) if begins else load(out, out_rows, p, j, columns, OUTER)
        tile = micro_kernel(tile, a, a_rows, p, FIRST, 0, panel, 0, k, a_step, width)
        store(clamp_min(tile, floor), out, out_rows, p, min(height, last - p), j, n - j)


@parallel
def _multiply(
    t, threads, a, b, bias, out, scratch, starts, a_rows, out_rows, b_rows, panel_rows, sizes, steps, block, floor
):
    """max((m, k) @ (k, n) + bias, floor): a block of the result at a time, over one chunk of k after the other."""
    (m, n, k), (a_step, b_step), (height, breadth, depth, width) = sizes, steps, block
    blocks, parts = -(-m // height), -(-n // breadth)
    panel, packed = scratch[t, : depth * width], scratch[t, depth * width :]
    units = starts.shape[1] * blocks * parts
    for u in range(t * units // threads, (t + 1) * units // threads):
        i, first, left = u // (blocks * parts), u // parts % blocks * height, u % parts * breadth
        last, right = min(first + height, m), min(left + breadth, n)
        a_i, b_i, out_i = a[starts[0, i] :], b[starts[1, i] :], out[starts[2, i] :]
        for s in range(0, k, depth):
            length, begins = min(depth, k - s), s == 0
            least = floor if s + depth >= k else -np.inf
            rows, step = a_i[s * a_step :], a_step
            if packed.size:
                pack_rows(rows, first, last - first, length, a_step, packed, depth + width // 2)
                rows, step = packed, 1
            for j in range(left, right, width):
                pack_panel(b_i[b_rows[s] :], j, n, length, b_step, panel, width, b_rows, panel_rows)
                place = a_rows, out_rows, j, first, last, n
                if n - j > width // 2:
                    _macro_kernel(rows, panel, bias, out_i, *place, length, step, width, PRODUCT, begins, least)
                else:
                    _macro_kernel(rows, panel, bias, out_i, *place, length, step, width, ONE, begins, least)


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
def _product_plan(a, b, out, dtype, threads):
    """What the kernel is told of three arrays of these shapes and strides, and how many numbers each has.

    Where each matrix begins; the offsets of rows, of all and of a panel; sizes, strides within a row, the size of a
    block; how much memory a thread needs, and a bias of zeros. A thread has blocks of rows, which its other kernels
    have written, or of columns, if there are more of them.
    """
    (*batch, m, k), n, width = a[0], b[0][-1], 2 * lanes(dtype)
    rows, steps, starts, sizes = zip(*[_layout(*x, dtype.itemsize) for x in (a, b, out)])
    count, panels = math.prod(batch), -(-n // width)
    chunks = 1 if n % width else -(-k * width * dtype.itemsize // PANEL)
    depth = -(-k // chunks)
    parts = threads // math.gcd(count, threads) if count < 4 * threads else 1
    breadth = -(-panels // parts) * width if m < n and panels >= 4 * parts else n
    blocks = 1 if breadth < n else parts
    packs = k > 128 and steps[0] * dtype.itemsize >= STRIDE  # rows of a
    if packs:
        blocks *= -(-m * depth * dtype.itemsize // (blocks * BLOCK))
    height = -(-m // (blocks * PRODUCT_ROWS)) * PRODUCT_ROWS
    length = depth + width // 2  # of a packed row: lines at strides of whole pages would evict each other
    a_rows = offset_table(np.arange(m) % height * length) if packs else row_offsets(m, rows[0])
    tables = a_rows, row_offsets(m, rows[2]), row_offsets(k, rows[1]), row_offsets(k, width)
    plan = np.array(starts), *tables, (m, n, k), steps[:2], (height, breadth, depth, width)
    return plan, sizes, depth * width + packs * height * length, pack_bias(None, 1, n, dtype).ravel()


def _regular(x):
    """The matrices themselves, or a copy if neither their rows nor their columns are contiguous."""
    return x if x.flags.behaved and _layout(x.shape, x.strides, x.itemsize) else contiguous(x)


def _memory(x, size):
    """The numbers of matrices, and what lies between them, as a 1-D array."""
    return x.ravel("K") if size == x.size else np.lib.stride_tricks.as_strided(x, (size,), (x.itemsize,))


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
    (*batch, m, k), n = a.shape, b.shape[-1]
    a, b = _regular(a), _regular(b)
    out = laid_out_like(b, (*batch, m, n)) if out is None else out
    arrays = a, b, out
    threads = thread_count(math.prod(batch) * m * n * k // COST)
    plan, sizes, scratch, zeros = _product_plan(*[(x.shape, x.strides) for x in arrays], a.dtype, threads)
    if bias is None:
        bias = zeros
    elif n < zeros.size or not bias.flags.carray:
        bias = pack_bias(bias, 1, n, a.dtype).ravel()
    a, b, memory = [_memory(x, size) for x, size in zip(arrays, sizes)]
    _multiply(threads, a, b, bias, memory, empty((threads, scratch), a.dtype), *plan, floor)
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
