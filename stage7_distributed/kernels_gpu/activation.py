"""Elementwise activations."""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import numpy as np
from numba import cuda

from ..kernels_cpu.layout import check_shapes
from .launch import ITEMS, THREADS, contiguous, device, empty, grid_size, same_dtype, specialized

__all__ = ["rectify", "rectify_gradient"]


def _map(x, y, out, n):
    """out = FORMULA(x, y), number by number.

    Grid: a block for 1024 numbers. A thread: 4 numbers, 256 apart, so that the threads of a warp read neighbours.
    Shared memory: none. Bytes: each array once, the minimum.
    """
    xs = cuda.local.array(ITEMS, real)  # in registers, as all loops over them are unrolled
    ys = cuda.local.array(ITEMS, real)
    first = np.int64(cuda.blockIdx.x) * (ITEMS * THREADS) + cuda.threadIdx.x
    for k in range(ITEMS):
        i = first + k * THREADS
        if i < n:
            xs[k], ys[k] = x[i], y[i]
    for k in range(ITEMS):
        i = first + k * THREADS
        if i < n:
            out[i] = FORMULA(xs[k], ys[k])


@device
def identity(x, y):
    return x


@device
def relu(x, y):
    return 0 if x < 0 else x


@device
def _relu_gradient(g, out):
    return g if out != 0 else out


def _elementwise(formula, x, y):
    if not x.size:
        return NotImplemented
    x, y = contiguous(x), contiguous(y)
    out = empty(x, *x.shape)
    specialized(_map, x.dtype, FORMULA=formula)(grid_size(x.size, ITEMS * THREADS), x, y, out, x.size)
    return out


def rectify(x):
    return _elementwise(relu, x, x)


def rectify_gradient(g, out):
    check_shapes(g.shape == out.shape, g, out)
    return NotImplemented if not same_dtype(g, out) else _elementwise(_relu_gradient, g, out)
