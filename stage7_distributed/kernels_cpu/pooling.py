"""Max and average pooling: a tile keeps the maximum where a convolution accumulates products."""

import math

import numpy as np

from .convolution import ANY_SIZE, BAND, convolve, convolve_to_x, correlate, forward_plan, load_band
from .layout import channels_first, channels_last, check_shapes, pad_channels
from .memory import empty
from .micro_kernel import TAIL
from .registers import LARGEST, NARROW_ROWS, ONE, lanes, lanes_of, load, scatter
from .threads import parallel, thread_count

__all__ = ["avg_pool", "avg_pool_gradient", "max_pool", "max_pool_gradient", "max_pool_relu", "max_pool_relu_gradient"]


@parallel
def _scatter_gradient(t, threads, g, x, best, gradient, scratches, x_offsets, out_offsets, starts, views, floor, add):
    """g goes to the first number under the kernel that is equal to the best of them, if it is above the floor."""
    v, scratch = views[0], scratches[t]
    size, seen, line = v.height * v.width * v.channels, scratch.size // 2, v.seen_width * v.channels
    lane = lanes_of(x)
    for u in range(t * (x.size // size) // threads, (t + 1) * (x.size // size) // threads):
        again = u > t * (x.size // size) // threads
        image, base = load_band(x, u, v, np.nan, scratch[:seen], again)  # nothing is equal to NaN
        target = gradient if v.direct else scratch[seen:]
        if add:
            target[u * size if v.direct else 0 : (u + 1) * size if v.direct else seen] = 0
        for j in range(0, v.channels, lane):
            for p in range(0, x_offsets.size - TAIL, NARROW_ROWS):
                rows = min(NARROW_ROWS, x_offsets.size - TAIL - p)
                rest = load(g, out_offsets, p, u * v.image + j, ONE, LARGEST)
                top = load(best, out_offsets, p, u * v.image + j, ONE, LARGEST)
                for start in starts:
                    rest = scatter(rest, top, floor, image, target, x_offsets, p, rows, base + start + j, add)
        if not v.direct:
            gradient[u * size : (u + 1) * size] = 0
            count = min(v.width, v.seen_width + v.left) * v.channels
            for y in range(min(v.height, v.seen_height + v.top)):
                a, b = u * size + y * v.width * v.channels, (y - v.top) * line - v.left * v.channels
                for i in range(count):
                    gradient[a + i] = target[b + i]


def _pooled(least, x, kernel_size, stride, padding, dilation, ceil_mode):
    """The largest number of each window, or `least` where that is larger."""
    if not x.size:
        return NotImplemented
    x, c = channels_last(x), x.shape[1]
    layout = (1, 1, c, 2 * lanes(x.dtype), LARGEST)
    whole = pad_channels(x)
    size_out, plan = forward_plan(whole.shape[1:], kernel_size, stride, padding, dilation, layout, BAND, ceil_mode)
    out = empty((len(x), *size_out, c), x.dtype)
    begin = np.full((1, -(-c // layout[3]), layout[3]), least, x.dtype)
    correlate(whole, begin, begin, -np.inf, out, plan, LARGEST)
    return channels_first(out)


def max_pool(x, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled(-np.inf, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool_relu(x, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled(0, x, kernel_size, stride, padding, dilation, ceil_mode)


def _pooled_gradient(floor, g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    """The gradient of the numbers above the floor; of all, if that is NaN."""
    if not x.size or g.dtype != x.dtype or np.isnan(out.max(initial=0)):
        return NotImplemented  # NumPy's function decides which of several NaNs gets it
    c = x.shape[1]
    x, width = pad_channels(channels_last(x)), 2 * lanes(x.dtype)
    layout = (1, 1, x.shape[3], width, LARGEST)
    size_out, plan = forward_plan(x.shape[1:], kernel_size, stride, padding, dilation, layout, ANY_SIZE, ceil_mode)
    check_shapes(g.shape == out.shape == (len(x), c, *size_out), g, x, out)
    g, best = pad_channels(channels_last(g)), pad_channels(channels_last(out))
    gradient = empty(x.shape, x.dtype)
    threads = thread_count(x.size)
    tables = empty((threads, 2 * plan.space), x.dtype), plan.x_offsets, plan.out_offsets, plan.starts, plan.view
    covered = tuple(kernel_size) == tuple(stride) and all(n % k == 0 for n, k in zip(x.shape[1:3], kernel_size))
    add = not covered or any(padding) or tuple(dilation) != (1, 1)  # some number is not in exactly one window
    arrays = (array.reshape(-1) for array in (g, x, best, gradient))
    _scatter_gradient(threads, *arrays, *tables, x.dtype.type(floor), int(add))
    return channels_first(gradient[..., :c])


def max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled_gradient(np.nan, g, x, out, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool_relu_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled_gradient(0, g, x, out, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """A convolution of each channel with equal weights."""
    if not x.size or ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    weight = _equal_weights(x, x.shape[1], kernel_size, divisor_override)
    return convolve(x, weight, None, stride, padding, (1, 1), x.shape[1])[0]


def avg_pool_gradient(g, shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    if ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    weight = _equal_weights(g, shape[1], kernel_size, divisor_override)
    return convolve_to_x(g, weight, shape, stride, padding, (1, 1), shape[1])


def _equal_weights(x, channels, kernel_size, divisor):
    """Equal weights for each number under the kernel, for each channel."""
    return np.full((channels, 1, *kernel_size), 1 / (divisor or math.prod(kernel_size)), x.dtype)
