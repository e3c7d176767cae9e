"""Pooling: a thread for each result, which gathers its inputs, or for each window where they don't overlap."""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

from numba import cuda

from ..kernels_cpu.convolution import output_size
from ..kernels_cpu.layout import check_shapes
from .launch import MOST, contiguous, device, empty, grid_size, same_dtype, specialized, split

__all__ = ["avg_pool", "avg_pool_gradient", "max_pool", "max_pool_gradient"]


def _pool(x, out, n, sizes):
    """The largest, or the mean, of the numbers in each window.

    Grid: a thread for each output pixel. Shared memory: none. Bytes: x is read once for each window that holds it,
    mostly from the cache; the minimum is x and out once each.
    """
    i = cuda.grid(1)
    if i < n:
        height, width, high, wide, top, left, down, over = sizes
        plane, r = split(i, high * wide)
        row, column = split(r, wide)
        row, column = row * STRIDE[0] - top, column * STRIDE[1] - left
        best = real(BEGIN)
        for k in range(KERNEL[0]):
            for m in range(KERNEL[1]):
                y, u = row + k * down, column + m * over
                if 0 <= y < height and 0 <= u < width:
                    best = REDUCE(best, x[(plane * height + y) * width + u])
        out[i] = best / real(DIVISOR)


def _pool_gradient(g, x, best, gradient, n, sizes):
    """For each pixel, the sum of its gradients from all windows that hold it.

    Grid: a thread for each pixel. Shared memory: none. Bytes: g and best are read once for each number under the
    kernel, and x again where a pixel may be the first of the largest; mostly from the cache; the minimum is once each.
    """
    i = cuda.grid(1)
    if i < n:
        height, width, high, wide, top, left, down, over = sizes
        plane, r = split(i, height * width)
        row, column = split(r, width)
        total = real(0)
        for k in range(KERNEL[0]):
            for m in range(KERNEL[1]):
                y, u = row + top - k * down, column + left - m * over  # of the window that holds the pixel there
                if y >= 0 and u >= 0 and y % STRIDE[0] == 0 and u % STRIDE[1] == 0:
                    y, u = y // STRIDE[0], u // STRIDE[1]
                    if y < high and u < wide:
                        w = (plane * high + y) * wide + u
                        if TAKES(i, k, m, x, best[w], row - k * down, column - m * over, KERNEL, sizes):
                            total += g[w]
        gradient[i] = total / real(DIVISOR)


def _scatter_gradient(g, x, best, gradient, n, sizes):
    """The gradient of each window's number at its first maximum or, if that is NaN, the last; 0 at its other pixels.

    Grid: a thread for each window; no two windows overlap. Shared memory: none. Bytes: x, g and best are read and the
    pixels of all windows written, the minimum.
    """
    i = cuda.grid(1)
    if i < n:
        height, width, high, wide, top, left = sizes[:6]
        plane, r = split(i, high * wide)
        row, column = split(r, wide)
        row, column = row * STRIDE[0] - top, column * STRIDE[1] - left
        start, chosen = (plane * height + row) * width + column, -1
        for k in range(KERNEL[0]):
            for m in range(KERNEL[1]):
                if 0 <= row + k < height and 0 <= column + m < width:
                    value = x[start + k * width + m]
                    if value != value or (chosen < 0 and value == best[i]):
                        chosen = k * KERNEL[1] + m
        for k in range(KERNEL[0]):
            for m in range(KERNEL[1]):
                if 0 <= row + k < height and 0 <= column + m < width:
                    gradient[start + k * width + m] = g[i] if chosen == k * KERNEL[1] + m else 0


@device
def _max(best, value):
    return value if value > best or value != value else best


@device
def _add(best, value):
    return best + value


@device
def _always(i, k, m, x, best, row, column, kernel, sizes):
    return True


@device
def _is_maximum(i, k, m, x, best, row, column, kernel, sizes):
    """Whether pixel i, number (k, m) under the kernel, is the first equal to the best or, if that is NaN, the last."""
    height, width = sizes[0], sizes[1]
    down, over = sizes[6], sizes[7]
    nan = best != best
    if (x[i] == x[i]) if nan else (x[i] != best):
        return False
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            y, u = row + a * down, column + b * over
            first = a < k or (a == k and b < m)
            last = a > k or (a == k and b > m)
            if (last if nan else first) and 0 <= y < height and 0 <= u < width:
                other = x[i + (a - k) * down * width + (b - m) * over]
                if other == best or (nan and other != other):
                    return False
    return True


def max_pool(x, kernel_size, stride, padding, dilation, ceil_mode):
    how = {"REDUCE": _max, "BEGIN": -math.inf, "DIVISOR": 1}
    return _pooled(x, kernel_size, stride, padding, dilation, ceil_mode, **how)


def avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    if ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    how = {"REDUCE": _add, "BEGIN": 0, "DIVISOR": divisor_override or math.prod(kernel_size)}
    return _pooled(x, kernel_size, stride, padding, (1, 1), False, **how)


def _pooled(x, kernel_size, stride, padding, dilation, ceil_mode, **how):
    check_shapes(x.ndim == 4, x)
    size_out = output_size(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    out = empty(x, *x.shape[:2], *size_out)
    if not out.size or out.size >= MOST:
        return NotImplemented
    launch = specialized(_pool, x.dtype, KERNEL=tuple(kernel_size), STRIDE=tuple(stride), **how)
    launch(grid_size(out.size), contiguous(x), out, out.size, (*x.shape[2:], *size_out, *padding, *dilation))
    return out


def max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    check_shapes(g.shape == out.shape and g.shape[:2] == x.shape[:2], g, x, out)
    moves = (kernel_size, stride, padding, dilation, ceil_mode)
    disjoint = all([s >= k for s, k in zip(stride, kernel_size)]) and tuple(dilation) == (1, 1)
    takes = None if disjoint else _is_maximum  # None: each window scatters its gradient
    return _pooled_gradient(g, contiguous(x), contiguous(out), x.shape, *moves, 1, takes)


def avg_pool_gradient(g, shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    if ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    g, divisor = contiguous(g), divisor_override or math.prod(kernel_size)
    return _pooled_gradient(g, g, g, shape, kernel_size, stride, padding, (1, 1), False, divisor, _always)


def _pooled_gradient(g, x, best, shape, kernel_size, stride, padding, dilation, ceil_mode, divisor, takes):
    check_shapes(len(shape) == 4, g, x, best)
    size_out = output_size(shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    check_shapes(g.shape == (*shape[:2], *size_out), g, x, best)
    gradient = empty(g, *shape)
    if not gradient.size or gradient.size >= MOST or not same_dtype(g, x, best):
        return NotImplemented
    how = {"KERNEL": tuple(kernel_size), "STRIDE": tuple(stride)}
    if takes:
        kernel, n = specialized(_pool_gradient, g.dtype, **how, DIVISOR=divisor, TAKES=takes), gradient.size
    else:
        kernel, n = specialized(_scatter_gradient, g.dtype, **how), g.size
        if how["KERNEL"] != how["STRIDE"] or any(padding) or any([size % k for size, k in zip(shape[2:], kernel_size)]):
            gradient.fill(0)  # where there is no window
    kernel(grid_size(n), contiguous(g), x, best, gradient, n, (*shape[2:], *size_out, *padding, *dilation))
    return gradient
