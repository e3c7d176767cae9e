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


def _softmax(x, out, rows, n, columns):
    """softmax(x) of each row or, with LOGARITHM, its logarithm.

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. With LANES = 1 neighbouring threads have
    neighbouring columns. Shared memory: each thread's maximum or sum, of which a row's are reduced as a tree.
    Bytes: x is read three times, twice of them from the cache, and the result written; once each is needed.
    """
    partial = cuda.shared.array(THREADS, real)
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    start, count = row // columns * n * columns + row % columns, n if row < rows else 0
    top = real(-math.inf)
    for k in range(t % LANES, count, LANES):
        top = max(top, x[start + k * columns])
    partial[t] = top
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            partial[t] = max(partial[t], partial[t + half])
        cuda.syncthreads()
        half //= 2
    top = partial[t - t % LANES]
    cuda.syncthreads()
    total = real(0)
    for k in range(t % LANES, count, LANES):
        total += math.exp(x[start + k * columns] - top)
    partial[t] = total
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            partial[t] += partial[t + half]
        cuda.syncthreads()
        half //= 2
    total = partial[t - t % LANES]
    for k in range(t % LANES, count, LANES):
        i = start + k * columns
        out[i] = x[i] - top - math.log(total) if LOGARITHM else math.exp(x[i] - top) / total


def _softmax_gradient(g, out, gradient, rows, n, columns):
    """out·(g − Σg·out) of each row or, with LOGARITHM, g − eᵒᵘᵗ·Σg.

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. Shared memory: the sum of each thread.
    Bytes: g and out are read twice, once of them from the cache, and the gradient written; once each is needed.
    """
    partial = cuda.shared.array(THREADS, real)
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    start, count = row // columns * n * columns + row % columns, n if row < rows else 0
    total = real(0)
    for k in range(t % LANES, count, LANES):
        i = start + k * columns
        total += g[i] if LOGARITHM else g[i] * out[i]
    partial[t] = total
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            partial[t] += partial[t + half]
        cuda.syncthreads()
        half //= 2
    total = partial[t - t % LANES]
    for k in range(t % LANES, count, LANES):
        i = start + k * columns
        gradient[i] = g[i] - math.exp(out[i]) * total if LOGARITHM else out[i] * (g[i] - total)


def _nll(x, target, losses, probabilities, rows, columns):
    """−log softmax(x)[target] of each row, and softmax(x).

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. Shared memory: each thread's maximum
    or sum, of which a row's are reduced as a tree.
    Bytes: x is read three times, twice of them from the cache, and the probabilities written; once each is needed.
    """
    partial = cuda.shared.array(THREADS, real)
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    begin, end = (row * columns, (row + 1) * columns) if row < rows else (0, 0)
    top = real(-math.inf)
    for i in range(begin + t % LANES, end, LANES):
        top = max(top, x[i])
    partial[t] = top
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            partial[t] = max(partial[t], partial[t + half])
        cuda.syncthreads()
        half //= 2
    top = partial[t - t % LANES]
    cuda.syncthreads()
    total = real(0)
    for i in range(begin + t % LANES, end, LANES):
        total += math.exp(x[i] - top)
    partial[t] = total
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            partial[t] += partial[t + half]
        cuda.syncthreads()
        half //= 2
    total = partial[t - t % LANES]
    for i in range(begin + t % LANES, end, LANES):
        probabilities[i] = math.exp(x[i] - top) / total
    if row < rows and t % LANES == 0:
        in_range = 0 <= target[row] < columns
        losses[row] = math.log(total) - (x[begin + target[row]] - top) if in_range else real(math.nan)


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


def _by_rows(kernel, x, *arguments):
    """Launch a kernel in which several threads process a row of x: about one for eight numbers, a power of two."""
    rows, columns = x.shape
    lanes = min(THREADS, 1 << ((columns - 1) // 8).bit_length())
    specialized(kernel, x.dtype, LANES=lanes)(grid_size(rows, THREADS // lanes), *arguments, rows, columns)


def _over(dim, kernel, logarithm, *arrays):
    """The result of a kernel over a dim of arrays of one shape."""
    first, shape = arrays[0], arrays[0].shape
    if not first.size or not -len(shape) <= dim < len(shape) or not same_dtype(*arrays):
        return NotImplemented
    check_shapes(all([x.shape == shape for x in arrays]), *arrays)
    n, columns = shape[dim], math.prod(shape[dim % len(shape) + 1 :])
    lanes = 1 if columns > 16 else min(THREADS, 1 << ((n - 1) // 8).bit_length())
    out, rows = empty(first, *shape), first.size // n
    run = specialized(kernel, first.dtype, LANES=lanes, LOGARITHM=logarithm)
    run(grid_size(rows, THREADS // lanes), *[contiguous(x) for x in arrays], out, rows, n, columns)
    return out


def softmax_values(x, dim):
    return _over(dim, _softmax, False, x)


def log_softmax_values(x, dim):
    return _over(dim, _softmax, True, x)


def softmax_gradient(g, out, dim):
    return _over(dim, _softmax_gradient, False, g, out)


def log_softmax_gradient(g, out, dim):
    return _over(dim, _softmax_gradient, True, g, out)


def nll(x, target):
    check_shapes(x.ndim == 2 and target.shape == x.shape[:1] and x.shape[1], x, target)
    if not x.size:
        return NotImplemented
    losses, probabilities = empty(x, len(x)), empty(x, *x.shape)
    target = contiguous(target.astype(np.int64, copy=False))
    _by_rows(_nll, x, contiguous(x), target, losses, probabilities)
    return losses, probabilities


def nll_gradient(g, probabilities, target):
    check_shapes(
        probabilities.ndim == 2 and g.shape == target.shape == probabilities.shape[:1], g, probabilities, target
    )
    if not (probabilities.size and same_dtype(g, probabilities)):
        return NotImplemented
    gradient, target = empty(g, *probabilities.shape), contiguous(target.astype(np.int64, copy=False))
    _by_rows(_nll_gradient, probabilities, contiguous(g), contiguous(probabilities), target, gradient)
    return gradient
