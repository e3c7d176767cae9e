"""Matrix products of linear layers and of batches of matrices: blocks of rows of a times packed panels of b.

Packed are also rows of a whose numbers don't lie side by side, as those of gᵀ in the gradient of a weight.
"""

import math
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np

from .jit import inner
from .layout import check_shapes, contiguous
from .memory import empty
from .micro_kernel import micro_kernel
from .packing import offset_table, pack_bias, pack_panel, pack_rows, row_offsets
from .registers import NARROW_ROWS, ONE, OUTER, PRODUCT, PRODUCT_ROWS, broadcast_row, clamp_min, lanes, load, store
from .threads import ENOUGH, parallel, thread_count

__all__ = ["affine", "affine_relu", "affine_to_weight", "affine_to_x", "product"]
THRESHOLDS = dict.fromkeys(__all__, 2048)

FIRST = np.zeros(1, np.int64)
PANEL = 52_000  # bytes of a packed panel of b
BLOCK = 2_000_000  # bytes of packed rows of a
STRIDE = 512  # bytes: addresses at such strides map to so few cache sets that they evict each other
COLUMNS = 1024 if lanes(np.dtype("f4")) == 16 else 1  # of b, for which rows of a are packed: large tiles need it less
SMALL = 500_000  # multiply-adds; below that BLAS is faster
COST = 64  # multiply-adds that take as long as one number in a pass over memory
# Sizes, and strides within a row; the size of a block of the result, over how many k, and the width of a panel;
# where each table of offsets but the last ends; and how many numbers a thread packs
NAMES = "m n k a_step b_step height breadth depth width starts a_rows out_rows b_rows scratch"
VIEW = np.dtype([(name, np.int64) for name in NAMES.split()])


class Plan(NamedTuple):
    """How a product of arrays of certain shapes and strides is computed."""

    sizes: list  # how many numbers in memory there are from the first to the last one of a, b and the result
    threads: int
    space: int  # how many numbers they pack
    zeros: np.ndarray  # a bias
    offsets: np.ndarray  # where each matrix of a, b and the result begins, then of rows: of all, and of a panel
    view: np.ndarray  # one VIEW


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
def _multiply(t, threads, a, b, bias, out, scratch, offsets, view, floor):
    """max((m, k) @ (k, n) + bias, floor): a block of the result at a time, over one chunk of k after the other."""
    v = view[0]
    m, n, k, height, breadth, depth, width = v.m, v.n, v.k, v.height, v.breadth, v.depth, v.width
    starts, a_rows, out_rows = offsets[: v.starts], offsets[v.starts : v.a_rows], offsets[v.a_rows : v.out_rows]
    b_rows, panel_rows = offsets[v.out_rows : v.b_rows], offsets[v.b_rows :]
    blocks, parts, count = -(-m // height), -(-n // breadth), starts.size // 3
    memory = scratch[t * v.scratch : (t + 1) * v.scratch]
    panel, packed = memory[: depth * width], memory[depth * width :]
    units = count * blocks * parts
    for u in range(t * units // threads, (t + 1) * units // threads):
        i, first, left = u // (blocks * parts), u // parts % blocks * height, u % parts * breadth
        last, right = min(first + height, m), min(left + breadth, n)
        a_i, b_i, out_i = a[starts[i] :], b[starts[count + i] :], out[starts[2 * count + i] :]
        for s in range(0, k, depth):
            length, begins = min(depth, k - s), s == 0
            least = floor if s + depth >= k else -np.inf
            rows, step = a_i[s * v.a_step :], v.a_step
            if packed.size:
                pack_rows(rows, first, last - first, length, v.a_step, packed, depth + width // 2)
                rows, step = packed, 1
            for j in range(left, right, width):
                pack_panel(b_i, j, n, length, v.b_step, panel, width, b_rows[s:], panel_rows)
                place = a_rows, out_rows, j, first, last, n
                if n - j > width // 2:
                    _macro_kernel(rows, panel, bias, out_i, *place, length, step, width, PRODUCT, begins, least)
                else:
                    _macro_kernel(rows, panel, bias, out_i, *place, length, step, width, ONE, begins, least)


@lru_cache(maxsize=1024)
def layout(shape, strides, itemsize, batch):
    """How matrices lie in memory: where each begins, where its rows do, the step in a row, and how many numbers it is.

    The first `batch` dims are those of matrices, and those between them and the last are all rows. Steps are in
    numbers; what lies between the matrices counts too. None if neither the rows nor the columns are contiguous.
    """
    strides = [1 if n == 1 else stride / itemsize for n, stride in zip(shape, strides)]
    if strides[-1] != 1 and (strides[-2] != 1 or len(shape) > batch + 2):
        return None
    if not all([stride > 0 and stride == int(stride) for stride in strides]):
        return None
    places = [np.arange(n) * int(stride) for n, stride in zip(shape, strides)]
    starts, rows = (reduce(np.add.outer, part, np.int64(0)).ravel() for part in (places[:batch], places[batch:-1]))
    return starts, rows, int(strides[-1]), 1 + sum(int(place[-1]) for place in places)


@lru_cache(maxsize=1024)
def _plan(a, a_strides, b, b_strides, out, out_strides, dtype, threads, batch):
    """The Plan for arrays of these shapes and strides, on up to so many threads.

    A thread has blocks of rows, which its other kernels have written, or of columns, if there are more of them.
    """
    arrays = (a, a_strides), (b, b_strides), (out, out_strides)
    starts, rows, steps, sizes = zip(*[layout(*x, dtype.itemsize, batch) for x in arrays])
    m, k, n, width = len(rows[0]), len(rows[1]), b[-1], 2 * lanes(dtype)
    count, panels = len(starts[0]), -(-n // width)
    threads = threads if count * m * n * k > COST * ENOUGH else 1
    chunks = 1 if n % width else -(-k * width * dtype.itemsize // PANEL)
    depth = -(-k // chunks)
    parts = threads // math.gcd(count, threads) if count < 4 * threads else 1
    breadth = -(-panels // parts) * width if m < n and (panels >= 4 * parts or panels % parts == 0) else n
    blocks = 1 if breadth < n else parts
    packs = k > 128 and n >= COLUMNS and steps[0] * dtype.itemsize >= STRIDE  # rows of a
    if packs:
        blocks *= -(-m * depth * dtype.itemsize // (blocks * BLOCK))
    height = -(-m // (blocks * PRODUCT_ROWS)) * PRODUCT_ROWS
    length = depth + width // 2  # of a packed row: lines at strides of whole pages would evict each other
    a_rows, b_rows, out_rows = map(offset_table, (np.arange(m) % height * length if packs else rows[0], *rows[1:]))
    tables = np.ravel(starts), a_rows, out_rows, b_rows, row_offsets(k, width)
    ends = np.cumsum([len(table) for table in tables[:-1]])
    scratch = depth * width + packs * height * length
    view = np.array([(m, n, k, *steps[:2], height, breadth, depth, width, *ends, scratch)], VIEW)
    return Plan(sizes, threads, threads * scratch, pack_bias(None, 1, n, dtype).ravel(), np.concatenate(tables), view)


def _regular(x, batch):
    """The matrices themselves, or a copy if neither their rows nor their columns are contiguous."""
    return x if x.flags.behaved and layout(x.shape, x.strides, x.itemsize, batch) else contiguous(x)


def flat(x, size):
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
    """max(a b + bias, floor): (…, m, k), (…, k, n), (n,) or None -> (…, m, n), perhaps into `out`.

    Where a has more dims than b, all but its last are rows of one matrix, and so are those of b if it has more.
    """
    alike = a.ndim == b.ndim
    batch = a.ndim - 2 if alike else 0
    a, b = _regular(a, batch), _regular(b, batch)
    if out is None:
        shape = *a.shape[:-1], b.shape[-1]
        out = laid_out_like(b, shape) if alike else empty(shape, b.dtype)
    shapes = a.shape, a.strides, b.shape, b.strides, out.shape, out.strides
    plan = _plan(*shapes, a.dtype, thread_count(ENOUGH + 1), batch)
    if bias is None:
        bias = plan.zeros
    elif len(bias) < plan.zeros.size or not bias.flags.carray:
        bias = pack_bias(bias, 1, len(bias), a.dtype).ravel()
    a, b, memory = [flat(x, size) for x, size in zip((a, b, out), plan.sizes)]
    scratch = _scratch(plan.space, a.dtype)
    _multiply(plan.threads, a, b, bias, memory, scratch, plan.offsets, plan.view, floor)
    return out


_packed = {}  # dtype -> the memory into which products pack: one after the other, as a kernel holds Python's lock


def _scratch(size, dtype):
    found = _packed.get(dtype)
    if found is None or found.size < size:
        found = _packed[dtype] = empty(size, dtype)
    return found


def product(x, y):
    if x.ndim < 2 or y.ndim < 2 or not y.size or x.dtype != y.dtype or x.size * y.shape[-1] < SMALL:
        return NotImplemented
    check_shapes(x.shape[-1] == y.shape[-2], x, y)
    return multiply(x, y) if y.ndim == 2 or x.shape[:-2] == y.shape[:-2] else NotImplemented


def _affine(floor, x, weight, bias):
    if x.size * len(weight) < SMALL:
        return NotImplemented
    check_shapes(x.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1]), x, weight)
    return multiply(x, weight.T, bias, floor)


def affine(x, weight, bias):
    return _affine(-np.inf, x, weight, bias)


def affine_relu(x, weight, bias):
    return _affine(0.0, x, weight, bias)


def affine_to_x(g, weight):
    if g.size * weight.shape[1] < SMALL:
        return NotImplemented
    check_shapes(g.shape[-1] == len(weight), g, weight)
    return multiply(g, weight)


def affine_to_weight(g, x):
    if g.size * x.shape[-1] < SMALL:
        return NotImplemented
    check_shapes(g.shape[:-1] == x.shape[:-1], g, x)
    return multiply(g.reshape(-1, g.shape[-1]).T, x)
