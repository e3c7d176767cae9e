"""Pooling: the maximum or the mean of each window that slides over an image."""

import itertools
import math

import numpy as np

from .conv import as_images, blank, check_images, cropped, named, padded, pair, seen
from .device import kernel
from .engine import apply, array_of, constant
from .nn.module import Module
from .ops import add_at, average, rectify, rectify_gradient

# Functions on arrays


@kernel
def max_pool(x, kernel_size, stride, padding, dilation, ceil_mode):
    """The maximum of each window: (N, C, H, W) -> (N, C, H', W')."""
    more = overhang(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    first, *others = seen(padded(x, padding, least, more), kernel_size, stride, dilation)
    out = first.copy()
    for view in others:
        np.maximum(out, view, out=out)
    return out.transpose(3, 0, 1, 2)


@kernel
def max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    """The gradient of max_pool, which goes to the maximum of each window."""
    more = overhang(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    gradient = blank(x.shape, padding, x, more)
    targets = seen(gradient, kernel_size, stride, dilation)
    g, finite = g.transpose(1, 2, 3, 0), np.isfinite(g).all()
    for k, chosen in _chosen(x, out, kernel_size, stride, padding, dilation, more):
        targets[k] += g * chosen if finite else np.where(chosen, g, 0)  # a product is faster, but ∞·0 isn't 0
    return cropped(gradient, padding, x.shape[2:])


@kernel
def max_pool_relu(x, kernel_size, stride, padding, dilation, ceil_mode):
    """max(max_pool(x), 0)."""
    return rectify(max_pool(x, kernel_size, stride, padding, dilation, ceil_mode))


@kernel
def max_pool_relu_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    """The gradient of max_pool_relu."""
    return max_pool_gradient(rectify_gradient(g, out), x, out, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool_indices(x, out, kernel_size, stride, padding, dilation, ceil_mode):
    """The index of each maximum in its flattened image: (N, C, H', W')."""
    h, w = x.shape[2:]
    more = overhang((h, w), kernel_size, stride, padding, dilation, ceil_mode)
    pixels = np.arange(h * w, like=x).reshape(1, 1, h, w)
    pixels = seen(padded(pixels, padding, 0, more), kernel_size, stride, dilation)
    indices = np.zeros_like(x, pixels[0].dtype, shape=(x.shape[1], *out.shape[2:], x.shape[0]))
    for k, chosen in _chosen(x, out, kernel_size, stride, padding, dilation, more):
        indices = np.where(chosen, pixels[k], indices)
    return indices.transpose(3, 0, 1, 2)


def _chosen(x, out, kernel_size, stride, padding, dilation, more):
    """For each position in the window, where it holds the first maximum or, as in PyTorch, the last NaN."""
    out = out.transpose(1, 2, 3, 0)
    free = np.ones_like(out, bool)
    for k, view in enumerate(seen(padded(x, padding, np.nan, more), kernel_size, stride, dilation)):
        chosen = view == out  # NaN is equal to nothing
        chosen &= free
        free ^= chosen
        yield k, chosen
    if free.any():
        views = seen(padded(np.isnan(x), padding, False, more), kernel_size, stride, dilation)
        for k in reversed(range(len(views))):
            chosen = views[k] & free
            free ^= chosen
            yield k, chosen


@kernel
def avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """The mean of each window: (N, C, H, W) -> (N, C, H', W')."""
    more = overhang(x.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
    total = sum(seen(padded(x, padding, 0, more), kernel_size, stride, (1, 1)))
    count = divisor_override or _numbers_under(x, x.shape[2:], kernel_size, stride, padding, more, count_include_pad)
    return (total / count).transpose(3, 0, 1, 2)


@kernel
def avg_pool_gradient(g, shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """The gradient of avg_pool: each number in a window gets an equal part."""
    more = overhang(shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
    count = divisor_override or _numbers_under(g, shape[2:], kernel_size, stride, padding, more, count_include_pad)
    share = g.transpose(1, 2, 3, 0) / count
    gradient = blank(shape, padding, g, more)
    for view in seen(gradient, kernel_size, stride, (1, 1)):
        view += share
    return cropped(gradient, padding, shape[2:])


def _numbers_under(like, size, kernel_size, stride, padding, more, count_include_pad):
    """How many numbers are under the kernel: one number if always the same, else (H', W', 1). The overhang has none."""
    if not any(more) and (count_include_pad or not any(padding)):
        return math.prod(kernel_size)
    if count_include_pad:
        size, padding = [n + 2 * p for n, p in zip(size, padding)], (0, 0)
    ones = padded(np.ones_like(like, shape=(1, 1, *size)), padding, 0, more)
    return sum(seen(ones, kernel_size, stride, (1, 1)))[0]


def overhang(size, kernel_size, stride, padding, dilation, ceil_mode):
    """How many rows and columns the last window reaches beyond the padding: 0, except in ceil mode.

    There the rows or columns that remain get one more window, if it begins before the padding at the end.
    """
    more = []
    for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation):
        steps = n + 2 * p - d * (k - 1) - 1
        begin = -(-steps // s) * s
        more.append(begin - steps if ceil_mode and begin < n + p else 0)
    return tuple(more)


# Rules


def max_pooling(x, kernel_size, stride, padding, dilation, ceil_mode):
    """The maximum of each window;  the gradient goes to the first one."""
    out = max_pool(x, kernel_size, stride, padding, dilation, ceil_mode)
    return out, lambda g: (max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode),)


def max_pooling_relu(x, kernel_size, stride, padding, dilation, ceil_mode):
    """max_pooling with relu after it, as one rule."""
    out = max_pool_relu(x, kernel_size, stride, padding, dilation, ceil_mode)
    return out, lambda g: (max_pool_relu_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode),)


def avg_pooling(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """The mean of each window;  each number gets an equal part of the gradient."""
    how = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return avg_pool(x, *how), lambda g: (avg_pool_gradient(g, x.shape, *how),)


def adaptive_averaging(x, size):
    """The means of `size` windows of the last dims;  each number gets its part from all windows it is in."""
    dims = tuple(range(-len(size), 0))
    out = np.empty_like(x, order="C", shape=(*x.shape[: -len(size)], *size))
    for place, part in _parts(x.shape, size):
        out[place] = average(x[part], dims, keepdim=False)

    def backward(g):
        gradient = np.zeros_like(x)
        for place, part in _parts(x.shape, size):
            target = gradient[part]
            target += np.expand_dims(g[place], dims) / math.prod(target.shape[-len(size) :])
        return (gradient,)

    return out, backward


def picked(x, indices):
    """The numbers of each flattened image at the indices;  the gradients of a number taken more than once add up."""
    images = x.reshape(math.prod(x.shape[:-2]), math.prod(x.shape[-2:]))
    rows = np.arange(len(images), like=x)[:, None], indices.reshape(len(images), math.prod(indices.shape[-2:]))

    def backward(g):
        gradient = np.zeros_like(images)
        add_at(gradient, rows, g.reshape(rows[1].shape))
        return (gradient.reshape(x.shape),)

    return images[rows].reshape(indices.shape), backward


def _parts(shape, size):
    """(place in the output, part of the input) for parts of the last dims, which overlap if the sizes don't divide."""
    sizes = list(zip(shape[-len(size) :], size))
    for place in itertools.product(*map(range, size)):
        part = (slice(i * n // m, -(-(i + 1) * n // m)) for i, (n, m) in zip(place, sizes))
        yield (..., *place), (..., *part)


# Functions, under PyTorch's names


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """(N, C, L) -> (N, C, L'): see max_pool2d."""
    return _max_pooled("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window of kernel_size; the stride is kernel_size by default.

    With return_indices also the index of each maximum in its flattened image.
    """
    return _max_pooled("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """(N, C, L) -> (N, C, L'): see avg_pool2d."""
    return _averaged("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of each window of kernel_size; the stride is kernel_size by default."""
    how = (ceil_mode, count_include_pad, divisor_override)
    return _averaged("avg_pool2d", 2, input, kernel_size, stride, padding, *how)


def adaptive_avg_pool1d(input, output_size):
    """(N, C, L) -> (N, C, output_size): the means of equal parts, which overlap if the sizes don't divide."""
    return _averaged_parts("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input, output_size):
    """(N, C, H, W) -> (N, C, *output_size), where None keeps a size: see adaptive_avg_pool1d."""
    return _averaged_parts("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """(N, C, L) -> (N, C, output_size): the maxima of equal parts."""
    return _largest_of_parts("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """(N, C, H, W) -> (N, C, *output_size), where None keeps a size: see adaptive_max_pool1d."""
    return _largest_of_parts("adaptive_max_pool2d", 2, input, output_size, return_indices)


def _max_pooled(op, dims, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    images, undone = as_images(op, dims, input)
    how = (*_moves(op, dims, kernel_size, stride, padding, dilation), bool(ceil_mode))
    out = apply(max_pooling, (images,), *how)
    if not return_indices:
        return undone(out)
    return undone(out), undone(constant(max_pool_indices(array_of(images), array_of(out), *how)))


def _averaged(op, dims, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    images, undone = as_images(op, dims, input)
    _check_floats(op, input)
    if divisor_override == 0:
        raise ValueError(f"{op}: divisor_override: wanted a number other than 0, or None")
    moves = _moves(op, dims, kernel_size, stride, padding)[:3]
    how = (*moves, bool(ceil_mode), bool(count_include_pad), divisor_override)
    return undone(apply(avg_pooling, (images,), *how))


def _averaged_parts(op, dims, input, output_size):
    size = _parts_wanted(op, dims, input, output_size)
    _check_floats(op, input)
    if all(m == 1 for m in size):
        return input.mean(tuple(range(-dims, 0)), keepdim=True)
    if all(m and n % m == 0 for n, m in zip(input.shape[-dims:], size)):
        parts = [n // m for n, m in zip(input.shape[-dims:], size)]
        return _averaged(op, dims, input, parts, None, 0, False, True, None)
    return apply(adaptive_averaging, (input,), size)


def _largest_of_parts(op, dims, input, output_size, return_indices):
    size = _parts_wanted(op, dims, input, output_size)
    images, undone = as_images(op, dims, input)
    size = (1,) * (2 - dims) + size
    x = array_of(images)
    indices = np.zeros_like(x, np.int64, order="C", shape=(*x.shape[:2], *size))
    pixels = np.arange(math.prod(x.shape[2:]), like=x).reshape(x.shape[2:])
    for place, part in _parts(x.shape, size):
        indices[place] = pixels[part].ravel()[_first_largest(x[part])]
    out = undone(apply(picked, (images,), indices))
    return (out, undone(constant(indices))) if return_indices else out


def _first_largest(x):
    """The index in each flattened image of the first maximum or, as in PyTorch, of the last NaN."""
    x = x.reshape(*x.shape[:-2], math.prod(x.shape[-2:]))
    nan = np.isnan(x[..., ::-1])
    return np.where(nan.any(axis=-1), x.shape[-1] - 1 - nan.argmax(axis=-1), x.argmax(axis=-1))


def _parts_wanted(op, dims, input, output_size):
    """The number of parts in each dim; None stands for the size of the input."""
    check_images(op, dims, input)
    if 0 in input.shape[-dims:]:
        raise ValueError(f"{op}: wanted images that are not of size 0, got {tuple(input.shape)}")
    numbers = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,) * dims
    if len(numbers) != dims or not all([m is None or isinstance(m, int | np.integer) and m >= 0 for m in numbers]):
        raise ValueError(f"{op}: output_size: wanted {dims} whole numbers or None, got {output_size}")
    return tuple([n if m is None else m for n, m in zip(input.shape[-dims:], numbers)])


def _moves(op, dims, kernel_size, stride, padding, dilation=1):
    """The size, stride, padding and dilation of a kernel, as pairs."""
    size, padding = pair(op, dims, "kernel_size", kernel_size), pair(op, dims, "padding", padding, 0)
    if any(2 * p > k for p, k in zip(padding, size)):
        raise ValueError(f"{op}: padding: wanted at most half the kernel {size[-dims:]}, got {padding[-dims:]}")
    stride = kernel_size if stride is None or np.size(stride) == 0 else stride
    return size, pair(op, dims, "stride", stride), padding, pair(op, dims, "dilation", dilation)


def _check_floats(op, input):
    if input.dtype.kind != "f":
        raise TypeError(f"{op}: wanted floating-point numbers, got {input.dtype}")


# Modules


class _MaxPool(Module):
    """The maximum of each window over `dims` dims."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, input):
        moves = self.kernel_size, self.stride, self.padding, self.dilation
        return _max_pooled(type(self).__name__, self.dims, input, *moves, self.ceil_mode, self.return_indices)

    def extra_repr(self):
        return named(self, "kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool1d(_MaxPool):
    """The maximum of each window: (N, C, L) -> (N, C, L')."""

    dims = 1


class MaxPool2d(_MaxPool):
    """The maximum of each window: (N, C, H, W) -> (N, C, H', W')."""

    dims = 2

    def after_relu(self, input):
        """The largest of max(x, 0) is max(the largest of x, 0), of which there are fewer."""
        moves = _moves("MaxPool2d", 2, self.kernel_size, self.stride, self.padding, self.dilation)
        in_padding = any(moves[2]) and max(moves[3]) > 1  # there may be a place all of which is, whose largest is −∞
        if self.return_indices or in_padding:
            return self(input.relu())
        images, undone = as_images("MaxPool2d", 2, input)
        return undone(apply(max_pooling_relu, (images,), *moves, bool(self.ceil_mode)))

    alone = _MaxPool.forward  # which that stands for, with ReLU's


class AvgPool1d(Module):
    """The mean of each window: (N, C, L) -> (N, C, L')."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        size, stride, padding, _ = _moves("AvgPool1d", 1, kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding = size[1:], stride[1:], padding[1:]
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input):
        moves = self.kernel_size, self.stride, self.padding
        return avg_pool1d(input, *moves, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return named(self, "kernel_size", "stride", "padding")


class AvgPool2d(Module):
    """The mean of each window: (N, C, H, W) -> (N, C, H', W')."""

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input):
        moves = self.kernel_size, self.stride, self.padding
        return avg_pool2d(input, *moves, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self):
        return named(self, "kernel_size", "stride", "padding")


class _AdaptiveAvgPool(Module):
    """The means of equal windows over `dims` dims."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input):
        return _averaged_parts(type(self).__name__, self.dims, input, self.output_size)

    def extra_repr(self):
        return named(self, "output_size")


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """(N, C, L) -> (N, C, output_size), the means of equal parts."""

    dims = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """(N, C, H, W) -> (N, C, *output_size), the means of equal parts."""

    dims = 2


class _AdaptiveMaxPool(Module):
    """The maxima of equal windows over `dims` dims."""

    def __init__(self, output_size, return_indices=False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input):
        return _largest_of_parts(type(self).__name__, self.dims, input, self.output_size, self.return_indices)

    def extra_repr(self):
        return named(self, "output_size")


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """(N, C, L) -> (N, C, output_size), the maxima of equal parts."""

    dims = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """(N, C, H, W) -> (N, C, *output_size), the maxima of equal parts."""

    dims = 2
