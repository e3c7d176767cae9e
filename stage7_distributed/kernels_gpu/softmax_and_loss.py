"""Softmax and its logarithm over any dim, and with cross-entropy, row by row.

An array is treated as (blocks, n, columns), with the softmax over n; a row is all n of one block and one column.
"""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

import numpy as np
from numba import cuda

from ..kernels_cpu.layout import check_shapes
from .launch import THREADS, contiguous, empty, grid_size, same_dtype, specialized

__all__ = ["log_softmax_gradient", "log_softmax_values", "nll", "nll_gradient", "softmax_gradient", "softmax_values"]
KEPT = 8  # numbers of a row that a thread keeps in registers


def _softmax(x, target, out, losses, rows, n, columns):
    """softmax(x) of each row, with LOGARITHM its logarithm; with LOSS also −log softmax(x)[target] of each row.

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row, the first KEPT of them in registers.
    With LANES = 1 neighbouring threads have neighbouring columns. Shared memory: each thread's maximum or sum, of which
    a row's are reduced as a tree. Bytes: x is read and the result written, the minimum; what has no place in registers
    is read twice more, from the cache.
    """
    partial = cuda.shared.array(THREADS, real)
    kept = cuda.local.array(KEPT, real)
    t = cuda.threadIdx.x & 255
    row, lane = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES, t % LANES
    start, step = (row * n, 1) if TOGETHER else (row // columns * n * columns + row % columns, columns)
    count = n if row < rows else 0
    top, total = (real(-math.inf), real(0)) if count else (real(0), real(1))  # of no row, which is not to be NaN
    for k in range(KEPT):
        i = lane + k * LANES
        kept[k] = x[start + i * step] if i < count else real(-math.inf)
        top = max(top, kept[k])
    for i in range(lane + KEPT * LANES, count, LANES):
        top = max(top, x[start + i * step])
    partial[t] = top
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if lane < half:
            partial[t] = max(partial[t], partial[t + half])
        cuda.syncthreads()
        half //= 2
    top = partial[t - lane]
    cuda.syncthreads()
    for k in range(KEPT):
        weight = math.exp(kept[k] - top)
        total += weight
        kept[k] = kept[k] - top if LOGARITHM else weight
    for i in range(lane + KEPT * LANES, count, LANES):
        total += math.exp(x[start + i * step] - top)
    partial[t] = total
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if lane < half:
            partial[t] += partial[t + half]
        cuda.syncthreads()
        half //= 2
    total = partial[t - lane]
    shift, share = math.log(total), real(1) / total
    for k in range(KEPT):
        i = lane + k * LANES
        if i < count:
            out[start + i * step] = kept[k] - shift if LOGARITHM else kept[k] * share
    for i in range(lane + KEPT * LANES, count, LANES):
        last = x[start + i * step] - top
        out[start + i * step] = last - shift if LOGARITHM else math.exp(last) * share
    if LOSS and count and lane == 0:
        in_range = 0 <= target[row] < n
        losses[row] = shift - (x[start + target[row]] - top) if in_range else real(math.nan)


def _softmax_gradient(g, out, gradient, rows, n, columns):
    """out·(g − Σg·out) of each row or, with LOGARITHM, g − eᵒᵘᵗ·Σg.

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row, the first KEPT of them in registers.
    Shared memory: the sum of each thread. Bytes: g and out are read and the gradient written, the minimum; what has no
    place in registers is read once more, from the cache.
    """
    partial = cuda.shared.array(THREADS, real)
    incoming, kept = cuda.local.array(KEPT, real), cuda.local.array(KEPT, real)
    t = cuda.threadIdx.x & 255
    row, lane = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES, t % LANES
    start, step = (row * n, 1) if TOGETHER else (row // columns * n * columns + row % columns, columns)
    count = n if row < rows else 0
    total = real(0)
    for k in range(KEPT):
        i = lane + k * LANES
        incoming[k], kept[k] = (g[start + i * step], out[start + i * step]) if i < count else (real(0), real(0))
        total += incoming[k] if LOGARITHM else incoming[k] * kept[k]
    for i in range(start + (lane + KEPT * LANES) * step, start + count * step, LANES * step):
        total += g[i] if LOGARITHM else g[i] * out[i]
    partial[t] = total
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if lane < half:
            partial[t] += partial[t + half]
        cuda.syncthreads()
        half //= 2
    total = partial[t - lane]
    for k in range(KEPT):
        i = lane + k * LANES
        if i < count:
            back = incoming[k] - math.exp(kept[k]) * total if LOGARITHM else kept[k] * (incoming[k] - total)
            gradient[start + i * step] = back
    for i in range(start + (lane + KEPT * LANES) * step, start + count * step, LANES * step):
        gradient[i] = g[i] - math.exp(out[i]) * total if LOGARITHM else out[i] * (g[i] - total)


def _nll_gradient(g, probabilities, target, gradient, rows, columns):
    """g·(probabilities − 1 at the target) of each row.

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. Shared memory: none.
    Bytes: the probabilities and the gradient once each, the minimum.
    """
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    if row < rows:
        factor, chosen = g[row], row * columns + target[row]
        for i in range(row * columns + t % LANES, (row + 1) * columns, LANES):
            out = factor * probabilities[i]
            gradient[i] = out - factor if i == chosen else out


def _lanes(n):
    """How many threads of a block process a row of n numbers: a power of two, at least one for KEPT."""
    return min(THREADS, 1 << ((n - 1) // KEPT).bit_length())


def _launch(kernel, arrays, rows, n, columns=1, **constants):
    """Launch a kernel for rows of n numbers, which lie `columns` apart."""
    lanes = 1 if columns > 16 else _lanes(n)
    run = specialized(kernel, arrays[0].dtype, LANES=lanes, TOGETHER=columns == 1, **constants)
    run(grid_size(rows, THREADS // lanes), *arrays, rows, n, columns)


def _over(dim, *arrays):
    """The rows, their size and the distance of their numbers, of arrays of one shape; None if they aren't supported."""
    first, shape = arrays[0], arrays[0].shape
    if not first.size or not -len(shape) <= dim < len(shape) or not same_dtype(*arrays):
        return None
    check_shapes(all([x.shape == shape for x in arrays]), *arrays)
    n, columns = shape[dim], math.prod(shape[dim % len(shape) + 1 :])
    return first.size // n, n, columns


def _values(x, dim, logarithm):
    if not (sizes := _over(dim, x)):
        return NotImplemented
    x, out = contiguous(x), empty(x, *x.shape)
    _launch(_softmax, (x, x, out, x), *sizes, LOGARITHM=logarithm, LOSS=False)
    return out


def _gradient(g, out, dim, logarithm):
    if not (sizes := _over(dim, g, out)):
        return NotImplemented
    gradient = empty(g, *g.shape)
    _launch(_softmax_gradient, (contiguous(g), contiguous(out), gradient), *sizes, LOGARITHM=logarithm)
    return gradient


def softmax_values(x, dim):
    return _values(x, dim, False)


def log_softmax_values(x, dim):
    return _values(x, dim, True)


def softmax_gradient(g, out, dim):
    return _gradient(g, out, dim, False)


def log_softmax_gradient(g, out, dim):
    return _gradient(g, out, dim, True)


def nll(x, target):
    check_shapes(x.ndim == 2 and target.shape == x.shape[:1] and x.shape[1], x, target)
    if not x.size:
        return NotImplemented
    losses, probabilities = empty(x, len(x)), empty(x, *x.shape)
    target = contiguous(target.astype(np.int64, copy=False))
    _launch(_softmax, (contiguous(x), target, probabilities, losses), *x.shape, LOGARITHM=False, LOSS=True)
    return losses, probabilities


def nll_gradient(g, probabilities, target):
    check_shapes(
        probabilities.ndim == 2 and g.shape == target.shape == probabilities.shape[:1], g, probabilities, target
    )
    if not (probabilities.size and same_dtype(g, probabilities)):
        return NotImplemented
    gradient, target = empty(g, *probabilities.shape), contiguous(target.astype(np.int64, copy=False))
    lanes, arrays = _lanes(probabilities.shape[1]), (contiguous(g), contiguous(probabilities), target, gradient)
    run = specialized(_nll_gradient, g.dtype, LANES=lanes)
    run(grid_size(len(g), THREADS // lanes), *arrays, *probabilities.shape)
    return gradient
