"""Softmax with cross-entropy, row by row."""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

import numpy as np
from numba import cuda

from ..kernels_cpu.layout import check_shapes
from .launch import THREADS, contiguous, empty, grid_size, same_dtype, specialized

__all__ = ["nll", "nll_gradient"]


def _nll(x, target, losses, probabilities, rows, columns):
    """−log softmax(x)[target] of each row, and softmax(x).

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. Shared memory: what each thread found,
    the largest or a sum, of which those of a row then take the largest or the sum by halves.
    Bytes: x is read three times, twice of them from the cache, and the probabilities written; once each is needed.
    """
    found = cuda.shared.array(THREADS, real)
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    begin, end = (row * columns, (row + 1) * columns) if row < rows else (0, 0)
    top = real(-math.inf)
    for i in range(begin + t % LANES, end, LANES):
        top = max(top, x[i])
    found[t] = top
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            found[t] = max(found[t], found[t + half])
        cuda.syncthreads()
        half //= 2
    top = found[t - t % LANES]
    cuda.syncthreads()
    total = real(0)
    for i in range(begin + t % LANES, end, LANES):
        total += math.exp(x[i] - top)
    found[t] = total
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            found[t] += found[t + half]
        cuda.syncthreads()
        half //= 2
    total = found[t - t % LANES]
    for i in range(begin + t % LANES, end, LANES):
        probabilities[i] = math.exp(x[i] - top) / total
    if row < rows and t % LANES == 0:
        there = 0 <= target[row] < columns
        losses[row] = math.log(total) - (x[begin + target[row]] - top) if there else real(math.nan)


def _nll_gradient(g, probabilities, target, gradient, rows, columns):
    """g·(probabilities − 1 at the target) of each row.

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. Shared memory: none.
    Bytes: the probabilities and the gradient once each, as must be.
    """
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    if row < rows:
        factor, chosen = g[row], row * columns + target[row]
        for i in range(row * columns + t % LANES, (row + 1) * columns, LANES):
            out = factor * probabilities[i]
            gradient[i] = out - factor if i == chosen else out


def _by_rows(kernel, x, *arguments):
    """Launch a kernel whose threads share rows of x: about one for eight numbers, and a power of two of them."""
    rows, columns = x.shape
    lanes = min(THREADS, 1 << ((columns - 1) // 8).bit_length())
    specialized(kernel, x.dtype, LANES=lanes)(grid_size(rows, THREADS // lanes), *arguments, rows, columns)


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
