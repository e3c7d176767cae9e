"""Sums over all dims except channels. Arrays are treated as (images, channels, pixels)."""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

import numpy as np
from numba import cuda

from ..kernels_cpu.layout import check_shapes
from .launch import MOST, THREADS, contiguous, device, empty, grid_size, specialized, split

__all__ = ["affine_to_bias", "convolve_to_bias"]


def _reduce(x, g, mean, var, sums, one, two, images, channels, pixels, parts, eps):
    """For each channel, FINISH of the sums of the two TERMS of its numbers, in float64.

    Grid: a block for LANES channels, or for a part of their numbers. With LANES = 32 (for single pixels) the threads of
    a warp read numbers of neighbouring channels, else with LANES = 1 those of neighbouring pixels.
    A thread: numbers of its channel at a fixed stride. Shared memory: the sums of all threads, reduced as a tree.
    Bytes: each array once, the minimum.
    """
    first = cuda.shared.array(THREADS, np.float64)
    second = cuda.shared.array(THREADS, np.float64)
    t = cuda.threadIdx.x & 255
    c = np.int64(cuda.blockIdx.x) * LANES + t % LANES
    a, b = 0.0, 0.0
    if c < channels:
        n, p = split(cuda.blockIdx.y * (THREADS // LANES) + t // LANES, pixels)
        image_step, pixel_step = split(parts * (THREADS // LANES), pixels)
        while n < images:
            i = (n * channels + c) * pixels + p
            term_a, term_b = TERMS(x, g, mean, i, c, c * pixels)
            a += term_a
            b += term_b
            n += image_step
            p += pixel_step
            if p >= pixels:
                p -= pixels
                n += 1
    first[t], second[t] = a, b
    cuda.syncthreads()
    half = THREADS // 2
    while half >= LANES:
        if t < half:
            first[t] += first[t + half]
            second[t] += second[t + half]
        cuda.syncthreads()
        half //= 2
    if t < LANES and c < channels:
        if parts == 1:
            one[c], two[c] = FINISH(first[t], second[t], x, var, c, c * pixels, images * pixels, eps)
        else:
            sums[(cuda.blockIdx.y * channels + c) * 2] = first[t]
            sums[(cuda.blockIdx.y * channels + c) * 2 + 1] = second[t]


def _reduce_parts(x, var, sums, one, two, images, channels, pixels, parts, eps):
    """FINISH of the sums over all parts, always in the same order.

    Grid: a thread for each channel. Shared memory: none. Bytes: the sums once, the minimum.
    """
    c = cuda.grid(1)
    if c < channels:
        a, b = 0.0, 0.0
        for part in range(parts):
            a += sums[(part * channels + c) * 2]
            b += sums[(part * channels + c) * 2 + 1]
        one[c], two[c] = FINISH(a, b, x, var, c, c * pixels, images * pixels, eps)


@device
def _value_term(x, g, mean, i, c, start):
    return np.float64(x[i]), 0.0


@device
def _unscaled(a, b, x, var, c, start, n, eps):
    return a, b


def two_sums(x, g, mean, var, eps, terms, finish):
    """`finish` of the sums of both terms over dims 0 and 2 of x: (N, C, P) -> two of (C,)."""
    images, channels, pixels = x.shape
    lanes = 32 if pixels == 1 else 1
    parts = max(1, min(images * pixels * lanes // (16 * THREADS), 64))  # a thread adds about 16 numbers
    sums = empty(x, parts * channels * 2 if parts > 1 else 1, dtype=np.float64)
    one, two = out = empty(x, 2, channels)
    size = images, channels, pixels, parts, eps
    add_up = specialized(_reduce, x.dtype, LANES=lanes, TERMS=terms, FINISH=finish)
    add_up((-(-channels // lanes), parts), x, g, mean, var, sums, one, two, *size)
    if parts > 1:
        specialized(_reduce_parts, x.dtype, FINISH=finish)(grid_size(channels), x, var, sums, one, two, *size)
    return out


def channel_sums(x):
    """(N, C, P) -> (C,)."""
    return two_sums(x, x, x, x, 0.0, _value_term, _unscaled)[0]


def affine_to_bias(g):
    if not g.size:
        return NotImplemented
    return channel_sums(contiguous(g).reshape(-1, g.shape[-1], 1))


def convolve_to_bias(g):
    check_shapes(g.ndim == 4, g)
    if not g.size or math.prod(g.shape[2:]) >= MOST:
        return NotImplemented
    return channel_sums(contiguous(g).reshape(*g.shape[:2], -1))
