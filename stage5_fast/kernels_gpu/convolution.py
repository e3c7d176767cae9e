"""Convolution and both its gradients: the matrix product, of rows, columns and steps that lie in images."""

import math

from ..kernels_cpu.convolution import _places
from ..kernels_cpu.layout import _fit
from .launch import MOST, _uniform, device, split
from .matrix_product import Positions, _multiply, line

__all__ = ["convolve", "convolve_to_weight", "convolve_to_x"]


@device
def channel(i, step, window, view):
    """A number of the kernels, counted as filters · places of the kernel, where filters lie `step` apart."""
    f, r = split(i, window[0] * window[1])
    return f * step + r, 0, 0


@device
def spot(i, step, window, view):
    """The i-th place in a batch of planes that lie `step` apart."""
    n, r = split(i, view[2] * view[3])
    return n * step + r, 0, 0


@device
def place(i, step, window, view):
    """What the kernel sees first at its i-th place in a batch of images that lie `step` apart."""
    n, r = split(i, view[2] * view[3])
    y, x = split(r, view[3])
    return n * step, y * view[4] + view[6], x * view[5] + view[7]


@device
def tap(i, step, window, view):
    """The i-th number under the kernel, counted as channels · places of the kernel; channels lie `step` apart."""
    c, r = split(i, window[0] * window[1])
    y, x = split(r, window[1])
    return c * step, y * view[8], x * view[9]


@device
def inside(start, y, x, gap, view):
    """The position of pixel (y, x)/gap in the plane that begins at start, and whether it is there."""
    there = y >= 0 and x >= 0 and y % gap[0] == 0 and x % gap[1] == 0
    y, x = y // gap[0], x // gap[1]
    return start + y * view[1] + x, there and y < view[0] and x < view[1]


FORWARD = Positions(line, line, place, tap, spot, inside)
TO_X = Positions(line, channel, place, tap, spot, inside)
TO_WEIGHT = Positions(line, spot, tap, place, line, inside)


def convolve(x, weight, bias, stride, padding, dilation, groups):
    """NumPy's columns are what the gradient of the weights needs; here it needs x itself."""
    f, c, *kernel = weight.shape
    _fit(x.ndim == 4 and x.shape[1] == c * groups and f % groups == 0, x, weight)
    _fit(bias is None or bias.shape == (f,), x, weight)
    n, _, *size = x.shape
    places = _places(size, kernel, stride, padding, dilation)
    if not (x.size and weight.size and _uniform(x, weight, bias)) or _too_many(n, size, places, groups):
        return NotImplemented
    pixels, spots, taps = math.prod(size), math.prod(places), c * math.prod(kernel)
    sizes, steps = (f // groups, n * spots, taps, groups), (taps, 1, x.shape[1] * pixels, pixels, spots, f * spots)
    starts, view = (f // groups * taps, c * pixels, f // groups * spots), _view(size, places, stride, padding, dilation)
    out = _multiply(FORWARD, weight, x, bias, (n, f, *places), sizes, steps, starts, view, tuple(kernel), (1, 1))
    return out, (x, stride, padding, dilation)


def convolve_to_x(g, weight, shape, stride, padding, dilation, groups):
    """A product for each pixel, with those of the kernel's places at which it was seen."""
    n, c, *size = shape
    f, k, *kernel = weight.shape
    places = _places(size, kernel, stride, padding, dilation)
    _fit(c == k * groups and f % groups == 0 and g.shape == (n, f, *places), g, weight)
    if not (g.size and weight.size and _uniform(g, weight)) or _too_many(n, size, places, groups):
        return NotImplemented
    pixels, spots, area = math.prod(size), math.prod(places), math.prod(kernel)
    sizes, steps = (k, n * pixels, f // groups * area, groups), (area, k * area, f * spots, spots, pixels, c * pixels)
    starts, view = (f // groups * k * area, f // groups * spots, k * pixels), (*places, *size, 1, 1, *padding)
    view = (*view, *(-d for d in dilation))
    return _multiply(TO_X, weight, g, None, shape, sizes, steps, starts, view, tuple(kernel), tuple(stride))


def convolve_to_weight(g, columns, shape, groups):
    """The steps are places."""
    if not isinstance(columns, tuple):
        return NotImplemented  # NumPy's function has made them
    x, stride, padding, dilation = columns
    f, c, *kernel = shape
    n, _, *size = x.shape
    places = _places(size, kernel, stride, padding, dilation)
    _fit(x.shape[1] == c * groups and f % groups == 0 and g.shape == (n, f, *places), g, x)
    if not (g.size and _uniform(g, x)):
        return NotImplemented
    pixels, spots, taps = math.prod(size), math.prod(places), c * math.prod(kernel)
    sizes, steps = (f // groups, taps, n * spots, groups), (spots, f * spots, pixels, x.shape[1] * pixels, taps, 1)
    starts, view = (f // groups * spots, c * pixels, f // groups * taps), _view(size, places, stride, padding, dilation)
    how = view, tuple(kernel), (1, 1), (True, True)
    return _multiply(TO_WEIGHT, g, x, None, shape, sizes, steps, starts, *how)


def _too_many(n, size, places, groups):
    """Whether there are more places, pixels or groups than a product counts."""
    return n * max(math.prod(size), math.prod(places)) >= MOST or groups >= 1 << 16


def _view(size, places, stride, padding, dilation):
    """How a kernel sees images, as `place`, `tap` and `inside` want it."""
    return (*size, *places, *stride, *(-p for p in padding), *dilation)
