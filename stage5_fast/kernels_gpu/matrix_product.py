"""Matrix products, of linear layers and, with other positions, of convolution: tiles in shared memory and registers."""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numba import cuda

from ..kernels_cpu.layout import check_shapes
from .activation import identity, rectify, relu
from .launch import MOST, SIMULATED, THREADS, contiguous, device, empty, grid_size, same_dtype, specialized, split
from .reduction import channel_sums

__all__ = ["affine", "affine_relu", "affine_to_weight", "affine_to_x", "matmul", "product"]

TILED = SIMULATED  # whether the matrix product of this file is used instead of cuBLAS's
DEPTH = 8  # steps of a product that are in shared memory at a time
LANES = THREADS // DEPTH  # threads that load one step
ALIGNMENT = None if SIMULATED else 16  # bytes of shared memory that vector loads need
SIDES = 128, 64, 32  # that a tile may have
BUSY = 512  # blocks that fill a large GPU


def _gemm(a, b, bias, out, rows, columns, depth, numbers):
    """out[r, c] = Σ a[r, k]·b[k, c] over the steps k, + bias; constants locate rows, columns and steps in memory.

    Grid: a block for each tile of ROWS × COLUMNS numbers of out, times groups of channels and parts of the steps.
    A thread: THREAD_ROWS × THREAD_COLUMNS numbers of the tile, kept in registers over all steps, in groups of up to
    four contiguous ones, read by one vector load. It also loads some rows of a and columns of b, at one step of DEPTH;
    where they lie it keeps from round to round, as to compute it again would take as long as the products.
    Shared memory: DEPTH steps of ROWS numbers of a and of COLUMNS of b, double-buffered: while one half is used, the
    other is loaded. Four numbers of padding between two steps avoid bank conflicts of the stores.
    Bytes: a is read once for each tile of columns and b for each tile of rows; the minimum is once each, and out.
    If there are few tiles, several blocks split the steps of one (split-K), and `channel_sums` adds their parts.
    """
    a_row, a_step, b_column, b_step, out_row, out_column = numbers[:6]
    a_group, b_group, out_group, out_part, parts, size = numbers[6:12]
    view = numbers[12:]
    a_tile = cuda.shared.array(A_TILE, real, ALIGNMENT)
    b_tile = cuda.shared.array(B_TILE, real, ALIGNMENT)
    a_next = cuda.local.array(A_FETCHES, real)
    b_next = cuda.local.array(B_FETCHES, real)
    a_at = cuda.local.array(A_FETCHES, INDEX)  # where the numbers are that a thread loads next
    b_at = cuda.local.array(B_FETCHES, INDEX)
    b_pixel = cuda.local.array((B_FETCHES, 2), np.int32)
    left = cuda.local.array(THREAD_ROWS, real)
    top = cuda.local.array(THREAD_COLUMNS, real)
    sums = cuda.local.array((THREAD_ROWS, THREAD_COLUMNS), real)

    t = cuda.threadIdx.x & 255  # so that the compiler knows it isn't negative
    ty, tx = t // 64 * 4 + t % 32 // 8, t // 32 % 2 * 8 + t % 8  # so that a warp's threads read few rows and columns
    tiles = (rows + ROWS - 1) // ROWS
    row = np.int64(cuda.blockIdx.x) % tiles * ROWS
    column = np.int64(cuda.blockIdx.x) // tiles * COLUMNS
    group = cuda.blockIdx.y // parts
    part = cuda.blockIdx.y % parts
    first, last = part * size, min((part + 1) * size, depth)
    a_step_in, a_row_in = fetched(t, A_STEPS_FIRST)
    b_step_in, b_column_in = fetched(t, B_STEPS_FIRST)
    for e in range(A_FETCHES):
        r = min(row + a_row_in + e * LANES, rows - 1)  # rows and columns beyond the end are computed, but not stored
        a_at[e] = INDEX(group * a_group + A_ROW(r, a_row, WINDOW, view)[0])
    for e in range(B_FETCHES):
        c = min(column + b_column_in + e * LANES, columns - 1)
        start, b_pixel[e, 0], b_pixel[e, 1] = B_COLUMN(c, b_column, WINDOW, view)
        b_at[e] = INDEX(group * b_group + start)
    for i in range(THREAD_ROWS):
        for j in range(THREAD_COLUMNS):
            sums[i, j] = 0

    half = np.uint32(1)
    a_start = b_start = INDEX(0)
    for ahead in range(first, last + DEPTH, DEPTH):  # the last time nothing is left to fetch
        k, before = ahead + a_step_in, a_start
        a_start = INDEX(A_STEP(k, a_step, WINDOW, view)[0])
        for e in range(A_FETCHES):
            a_at[e] = INDEX(a_at[e] + a_start - before)
            a_next[e] = 0
            if k < last:
                a_next[e] = a[a_at[e]]
        k, before = ahead + b_step_in, b_start
        start, y, x = B_STEP(k, b_step, WINDOW, view)
        b_start = INDEX(start)
        for e in range(B_FETCHES):
            b_at[e] = INDEX(b_at[e] + b_start - before)
            b_next[e] = 0
            if k < last:
                i, there = LOCATE(b_at[e], b_pixel[e, 0] + y, b_pixel[e, 1] + x, GAP, view)
                if there:
                    b_next[e] = b[INDEX(i)]
        if ahead > first:
            multiply(a_tile[half], b_tile[half], ty, tx, left, top, sums)
        half = np.uint32(half ^ 1)
        for e in range(A_FETCHES):
            a_tile[half, a_step_in, a_row_in + e * LANES] = a_next[e]
        for e in range(B_FETCHES):
            b_tile[half, b_step_in, b_column_in + e * LANES] = b_next[e]
        cuda.syncthreads()

    for j in range(THREAD_COLUMNS):
        c = column + tile_row(j, tx, len(top))
        start = group * out_group + part * out_part + OUT_COLUMN(c, out_column, WINDOW, view)[0]
        for i in range(THREAD_ROWS):
            r = row + tile_row(i, ty, len(left))
            if r < rows and c < columns:
                total = sums[i, j]
                if ROW_BIAS and part == 0:
                    total += bias[group * rows + r]
                if COLUMN_BIAS and part == 0:
                    total += bias[c]
                out[start + r * out_row] = total


def unrolled(step, n):
    """A device function for step(0, …), …, step(n - 1, …): so long a loop the compiler would not unroll."""
    if n == 0:
        return device(lambda *arguments: None)
    before = unrolled(step, n - 1)

    @device
    def steps(*arguments):
        before(*arguments)
        step(n - 1, *arguments)

    return steps


@device
def multiply_step(k, a_tile, b_tile, ty, tx, left, top, sums):
    """Add the products of step k to a thread's sums."""
    for i in range(len(left)):
        left[i] = a_tile[k, tile_row(i, ty, len(left))]
    for j in range(len(top)):
        top[j] = b_tile[k, tile_row(j, tx, len(top))]
    for i in range(len(left)):
        for j in range(len(top)):
            sums[i, j] += left[i] * top[j]


multiply = unrolled(multiply_step, DEPTH)


@device
def fetched(t, steps_first):
    """The step that thread t loads, and its first row (column); contiguous are a tile's steps or else its rows."""
    return (t % DEPTH, t // DEPTH) if steps_first else (t // LANES, t % LANES)


@device
def tile_row(i, t, n):
    """The row (column) of the tile that is the i-th of the n of a thread."""
    vector = min(4, n)
    return i // vector * 16 * vector + t * vector + i % vector


@device
def line(i, step, window, view):
    """The offset of the i-th row or column of a matrix."""
    return i * step, 0, 0


@device
def always_inside(start, y, x, gap, view):
    """The position of a number of a matrix, which is never out of bounds."""
    return start, True


class Positions(NamedTuple):
    """Functions for the offset in memory of a row, a column or a step and, in images, its pixel."""

    A_ROW: object
    A_STEP: object
    B_COLUMN: object
    B_STEP: object
    OUT_COLUMN: object
    LOCATE: object  # the position of a number of b, and whether it is within bounds


MATRICES = Positions(line, line, line, line, line, always_inside)


def _side(n, most):
    """The side of tiles over n rows or columns: large tiles load less, but waste more beyond the end."""
    return min([side for side in SIDES if side <= most], key=lambda side: -(-n // side) * (side + 16))


@lru_cache(maxsize=1024)
def _tiling(rows, columns, depth, count, most):
    """The sides of tiles, their number and, if they are few, in how many parts to split the steps (split-K)."""
    for side in (side for side in SIDES if side <= most):
        sides = _side(rows, side), _side(columns, side)
        tiles = -(-rows // sides[0]) * -(-columns // sides[1])
        if tiles * count * max(1, depth // 1024) >= BUSY // 4:  # smaller tiles are cheaper than short parts
            break
    parts = max(1, min(BUSY // (tiles * count), depth // 128)) if tiles * count < BUSY // 4 else 1
    return sides, tiles, parts


@cache
def _gemm_kernel(dtype, index, kind, rows, columns, a_steps_first, b_steps_first, with_bias, window, gap):
    sides = {"ROWS": rows, "A_TILE": (2, DEPTH, rows + 4), "A_FETCHES": rows * DEPTH // THREADS}
    sides |= {"COLUMNS": columns, "B_TILE": (2, DEPTH, columns + 4), "B_FETCHES": columns * DEPTH // THREADS}
    sides |= {"THREAD_ROWS": rows // 16, "THREAD_COLUMNS": columns // 16}
    biases = {"ROW_BIAS": with_bias and kind is not MATRICES, "COLUMN_BIAS": with_bias and kind is MATRICES}
    how = {"A_STEPS_FIRST": a_steps_first, "B_STEPS_FIRST": b_steps_first, "WINDOW": window, "GAP": gap}
    return specialized(_gemm, dtype, INDEX=index, **kind._asdict(), **sides, **biases, **how)


def gemm(
    kind, a, b, bias, shape, sizes, steps, groups=(0, 0, 0), view=(), window=(), gap=(), steps_first=(True, False)
):
    """A product of `sizes` = rows, columns, depth and groups. With split-K the parts are summed afterwards."""
    rows, columns, depth, count = sizes
    sides, tiles, parts = _tiling(*sizes, SIDES[a.dtype.itemsize > 4])
    size = -(-depth // (parts * DEPTH)) * DEPTH
    out = empty(a, parts, *shape)
    index = np.int32 if max(a.size, b.size) < MOST else np.int64
    launch = _gemm_kernel(a.dtype, index, kind, *sides, *steps_first, bias is not None, window, gap)
    numbers = (*steps, *groups, rows * columns * count, parts, size, *view)
    bias = a if bias is None else bias  # a stands for one that isn't read
    a, b, bias = contiguous(a), contiguous(b), contiguous(bias)
    launch((tiles, count * parts), a, b, bias, out, rows, columns, depth, numbers)
    return out[0] if parts == 1 else channel_sums(out.reshape(parts, -1, 1)).reshape(shape)


def matmul(a, b, bias=None):
    """a b + bias: (m, k), (k, n), (n,) or None -> (m, n), by tiles. Either may be a transposed view."""
    check_shapes(a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and same_dtype(a, b, bias), a, b)
    check_shapes(bias is None or bias.shape == b.shape[1:], a, b)
    (m, k), n = a.shape, b.shape[1]
    if not m * n:
        return empty(a, m, n)
    (a, *a_steps), (b, *b_steps) = _steps(a), _steps(b)
    steps, steps_first = (*a_steps, *b_steps[::-1], n, 1), (a_steps[1] == 1, b_steps[0] == 1)
    return gemm(MATRICES, a, b, bias, (m, n), (m, n, k, 1), steps, steps_first=steps_first)


def _steps(x):
    """Matrices in their contiguous order, and their strides: from row to row and from column to column."""
    flipped = x.swapaxes(-1, -2)
    if flipped.flags.c_contiguous and not x.flags.c_contiguous:
        return flipped, 1, x.shape[-2]
    return contiguous(x), x.shape[-1], 1


def dot(a, b):
    """a b, of matrices."""
    return matmul(a, b) if TILED else a.dot(b)


def product(x, y):
    """x @ y by tiles: (…, m, k), (…, k, n) -> (…, m, n); the leading dims broadcast."""
    if not TILED or min(x.ndim, y.ndim) < 2 or not (x.size and y.size and same_dtype(x, y)):
        return NotImplemented
    (m, k), n = x.shape[-2:], y.shape[-1]
    check_shapes(y.shape[-2] == k, x, y)
    if y.ndim == 2:
        return matmul(x.reshape(-1, k), y).reshape(*x.shape[:-1], n)
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (a if a.shape[:-2] == batch else np.broadcast_to(a, (*batch, *a.shape[-2:])) for a in (x, y))
    if (count := math.prod(batch)) >= 1 << 16:  # a grid has no more blocks in its second dim
        return NotImplemented
    (a, *a_steps), (b, *b_steps) = _steps(x), _steps(y)
    steps, groups = (*a_steps, *b_steps[::-1], n, 1), (m * k, k * n, m * n)
    how = steps, groups, (), (), (), (a_steps[1] == 1, b_steps[0] == 1)
    return gemm(MATRICES, a, b, None, (*batch, m, n), (m, n, k, count), *how)


def _affine(formula, x, weight, bias):
    one = bias is not None and bias.size == 1 and bias.shape != weight.shape[:1]  # for all columns
    check_shapes(x.shape[-1] == weight.shape[1] and (bias is None or one or bias.shape == weight.shape[:1]), x, weight)
    if one or not (x.size and weight.size and same_dtype(x, weight, bias)):
        return NotImplemented
    if x.size // x.shape[-1] * len(weight) >= MOST:
        return NotImplemented
    rows = x.reshape(-1, x.shape[-1])
    out = matmul(rows, weight.T, bias) if TILED else rows.dot(weight.T)
    if not TILED and bias is not None:
        add_bias = specialized(_add_bias, out.dtype, FORMULA=formula)
        add_bias(grid_size(out.size), contiguous(bias), out, out.size, out.shape[1])
    elif formula is relu:
        out = rectify(out)
    return out.reshape(*x.shape[:-1], len(weight))


def affine(x, weight, bias):
    return _affine(identity, x, weight, bias)


def affine_relu(x, weight, bias):
    return _affine(relu, x, weight, bias)


def affine_to_x(g, weight):
    check_shapes(g.shape[-1] == len(weight), g, weight)
    if not (TILED and g.size and weight.size and same_dtype(g, weight)):
        return NotImplemented  # NumPy's function calls cuBLAS
    return matmul(g.reshape(-1, g.shape[-1]), weight).reshape(*g.shape[:-1], weight.shape[1])


def affine_to_weight(g, x):
    check_shapes(g.shape[:-1] == x.shape[:-1], g, x)
    if not (TILED and g.size and x.size and same_dtype(g, x)):
        return NotImplemented
    return matmul(g.reshape(-1, g.shape[-1]).T, x.reshape(-1, x.shape[-1]))


def _add_bias(bias, out, n, columns):
    """out[r, c] = FORMULA(out[r, c] + bias[c]).

    Grid: a thread for each number. Shared memory: none. Bytes: out is read and written, the minimum.
    """
    i = cuda.grid(1)
    if i < n:
        out[i] = FORMULA(out[i] + bias[split(i, columns)[1]], out[i])
