"""Convolution and both its gradients as implicit GEMM: the tiled product, of columns that are patches of images."""

import math

import numpy as np

from ..kernels_cpu.convolution import output_size
from ..kernels_cpu.layout import check_shapes
from .launch import MOST, device, same_dtype, split
from .matrix_product import Positions, gemm, line

__all__ = ["convolve", "convolve_to_weight", "convolve_to_x"]


@device
def channel(i, step, window, view):
    """A number of the kernels, counted as filters · taps of a plane, where filters lie `step` apart."""
    f, r = split(i, window[0] * window[1])
    return f * step + r, 0, 0


@device
def pixel(i, step, window, view):
    """The i-th output pixel of a batch of planes that lie `step` apart."""
    n, r = split(i, view[2] * view[3])
    return n * step + r, 0, 0


@device
def patch(i, step, window, view):
    """The first input pixel of the i-th patch, in a batch of images that lie `step` apart."""
    n, r = split(i, view[2] * view[3])
    y, x = split(r, view[3])
    return n * step, y * view[4] + view[6], x * view[5] + view[7]


@device
def tap(i, step, window, view):
    """The i-th number under the kernel, counted as channels · taps of a plane; channels lie `step` apart."""
    c, r = split(i, window[0] * window[1])
    y, x = split(r, window[1])
    return c * step, y * view[8], x * view[9]


@device
def inside(start, y, x, gap, view):
    """The position of pixel (y, x)/gap in the plane that begins at start, and whether it is there."""
    there = y % gap[0] == 0 and x % gap[1] == 0
    y, x = np.int32(y // gap[0]), np.int32(x // gap[1])  # which are compared in half the time
    return start + y * view[1] + x, there and 0 <= y < np.int32(view[0]) and 0 <= x < np.int32(view[1])


FORWARD = Positions(line, line, patch, tap, pixel, inside)
TO_X = Positions(line, channel, patch, tap, pixel, inside)
TO_WEIGHT = Positions(line, pixel, tap, patch, line, inside)


def convolve(x, weight, bias, stride, padding, dilation, groups):
    """NumPy's columns are what the gradient of the weights needs; here it needs x itself."""
    f, c, *kernel = weight.shape
    check_shapes(x.ndim == 4 and x.shape[1] == c * groups and f % groups == 0, x, weight)
    check_shapes(bias is None or bias.shape == (f,), x, weight)
    n, _, *size = x.shape
    size_out = output_size(size, kernel, stride, padding, dilation)
    if not (x.size and weight.size and same_dtype(x, weight, bias)) or _too_many(n, size, size_out, groups):
        return NotImplemented
    pixels, pixels_out, taps = math.prod(size), math.prod(size_out), c * math.prod(kernel)
    sizes = f // groups, n * pixels_out, taps, groups
    steps = taps, 1, x.shape[1] * pixels, pixels, pixels_out, f * pixels_out
    starts = f // groups * taps, c * pixels, f // groups * pixels_out
    view = _view(size, size_out, stride, padding, dilation)
    out = gemm(FORWARD, weight, x, bias, (n, f, *size_out), sizes, steps, starts, view, tuple(kernel), (1, 1))
    return out, (x, stride, padding, dilation)


def convolve_to_x(g, weight, shape, stride, padding, dilation, groups):
    """A product for each pixel of x, with those taps of the kernel that reach it."""
    n, c, *size = shape
    f, k, *kernel = weight.shape
    size_out = output_size(size, kernel, stride, padding, dilation)
    check_shapes(c == k * groups and f % groups == 0 and g.shape == (n, f, *size_out), g, weight)
    if not (g.size and weight.size and same_dtype(g, weight)) or _too_many(n, size, size_out, groups):
        return NotImplemented
    pixels, pixels_out, area = math.prod(size), math.prod(size_out), math.prod(kernel)
    sizes = k, n * pixels, f // groups * area, groups
    steps = area, k * area, f * pixels_out, pixels_out, pixels, c * pixels
    starts = f // groups * k * area, f // groups * pixels_out, k * pixels
    view = (*size_out, *size, 1, 1, *padding, *(-d for d in dilation))
    return gemm(TO_X, weight, g, None, shape, sizes, steps, starts, view, tuple(kernel), tuple(stride))


def convolve_to_weight(g, columns, shape, groups):
    """The steps of the product are output pixels."""
    if not isinstance(columns, tuple):
        return NotImplemented  # NumPy's function has made them
    x, stride, padding, dilation = columns
    f, c, *kernel = shape
    n, _, *size = x.shape
    size_out = output_size(size, kernel, stride, padding, dilation)
    check_shapes(x.shape[1] == c * groups and f % groups == 0 and g.shape == (n, f, *size_out), g, x)
    if not (g.size and same_dtype(g, x)):
        return NotImplemented
    pixels, pixels_out, taps = math.prod(size), math.prod(size_out), c * math.prod(kernel)
    sizes = f // groups, taps, n * pixels_out, groups
    steps = pixels_out, f * pixels_out, pixels, x.shape[1] * pixels, taps, 1
    starts = f // groups * pixels_out, c * pixels, f // groups * taps
    view = _view(size, size_out, stride, padding, dilation)
    how = view, tuple(kernel), (1, 1), (True, True)
    return gemm(TO_WEIGHT, g, x, None, shape, sizes, steps, starts, *how)


def _too_many(n, size, size_out, groups):
    """Whether there are more pixels or groups than a product counts."""
    return n * max(math.prod(size), math.prod(size_out)) >= MOST or groups >= 1 << 16


def _view(size, size_out, stride, padding, dilation):
    """How a kernel sees images, as `patch`, `tap` and `inside` want it."""
    return (*size, *size_out, *stride, *(-p for p in padding), *dilation)
