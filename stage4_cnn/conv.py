"""Convolution as one matrix product, and pooling.

Images are (N, C, H, W) to the caller. In here they lie as (C, H, W, N): with the batch last in memory, all copies and
sums run along it. A result is handed out as a view with the dims in the caller's order.
"""

import math

import numpy as np

from .creation import empty
from .engine import apply
from .nn import init
from .nn.module import Module
from .nn.normalization import BatchNorm1d
from .nn.parameter import Parameter

# Loops over pixels: arrays in, arrays out


def padded(x, padding, value=0):
    """(N, C, H, W) -> (C, H + 2P, W + 2Q, N), with `value` around it."""
    if padding == (0, 0):
        return x.transpose(1, 2, 3, 0)
    out = blank(x.shape, padding, x)
    if value:
        out.fill(value)
    p, q = padding
    out[:, p : p + x.shape[2], q : q + x.shape[3]] = x.transpose(1, 2, 3, 0)
    return out


def blank(shape, padding, like):
    """Zeros (C, H + 2P, W + 2Q, N) for an image of shape (N, C, H, W), of the kind that `like` is."""
    n, c, h, w = shape
    return np.zeros_like(like, order="C", shape=(c, h + 2 * padding[0], w + 2 * padding[1], n))


def cropped(x, padding):
    """(C, H + 2P, W + 2Q, N) -> (N, C, H, W): what `padded` put around is taken off."""
    p, q = padding
    return x[:, p : x.shape[1] - p, q : x.shape[2] - q].transpose(3, 0, 1, 2)


def seen(x, kernel_size, stride, dilation):
    """What each of the KH·KW places of a kernel sees as it moves over x: as many views (C, H', W', N) of x."""
    (h, w), (s, t) = output_size(x.shape[1:3], kernel_size, stride, dilation), stride
    corners = [(i * dilation[0], j * dilation[1]) for i in range(kernel_size[0]) for j in range(kernel_size[1])]
    return [x[:, i : i + (h - 1) * s + 1 : s, j : j + (w - 1) * t + 1 : t] for i, j in corners]


def output_size(size, kernel_size, stride, dilation):
    """(H', W') = ⌊((H, W) − dilation·(kernel_size − 1) − 1)/stride⌋ + 1."""
    out = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel_size, stride, dilation))
    if min(out) < 1:
        raise ValueError(f"a kernel of {kernel_size} with dilation {dilation} does not fit {size}, the padded image")
    return out


def im2col(x, kernel_size, stride, padding, dilation):
    """(N, C, H, W) -> (C, KH·KW, H', W', N): the pixels that each place of the kernel meets at each place of it."""
    return np.stack(seen(padded(x, padding), kernel_size, stride, dilation), axis=1)


def col2im(columns, shape, kernel_size, stride, padding, dilation):
    """The transpose of im2col: every pixel of an image (N, C, H, W) gets the sum of what was copied from it."""
    image = blank(shape, padding, columns)
    for view, column in zip(seen(image, kernel_size, stride, dilation), columns.swapaxes(0, 1)):
        view += column
    return cropped(image, padding)


def convolve(x, weight, bias, stride, padding, dilation, groups):
    """W ∗ x + b: (N, C, H, W), (F, C/groups, KH, KW), (F,) or None -> (N, F, H', W'), and the columns.

    The columns are what `convolve_to_weight` needs.
    """
    columns = im2col(x, weight.shape[2:], stride, padding, dilation)
    out = weight.reshape(groups, weight.shape[0] // groups, -1) @ _matrix(columns, groups)
    out = out.reshape(weight.shape[0], *columns.shape[2:])
    if bias is not None:
        out += bias[:, None, None, None]
    return out.transpose(3, 0, 1, 2), columns


def convolve_to_x(g, weight, shape, stride, padding, dilation, groups):
    """The gradient with respect to x, of the given shape: col2im(Wᵀ g)."""
    kernels = weight.reshape(groups, weight.shape[0] // groups, -1)
    columns = kernels.swapaxes(1, 2) @ _matrix(g.transpose(1, 2, 3, 0), groups)
    columns = columns.reshape(shape[1], math.prod(weight.shape[2:]), *g.shape[2:], shape[0])
    return col2im(columns, shape, weight.shape[2:], stride, padding, dilation)


def convolve_to_weight(g, columns, shape, groups):
    """The gradient with respect to W, of the given shape: g · columnsᵀ."""
    return (_matrix(g.transpose(1, 2, 3, 0), groups) @ _matrix(columns, groups).swapaxes(1, 2)).reshape(shape)


def convolve_to_bias(g):
    """The gradient with respect to b: Σg over all images and places."""
    return g.sum(axis=(0, 2, 3))


def _matrix(x, groups):
    """(channels, …, H', W', N) -> (groups, rows, H'·W'·N)."""
    return x.reshape(groups, math.prod(x.shape[:-3]) // groups, math.prod(x.shape[-3:]))


def max_pool(x, kernel_size, stride, padding, dilation):
    """The largest number under each place of the kernel: (N, C, H, W) -> (N, C, H', W')."""
    first, *others = seen(padded(x, padding, -np.inf), kernel_size, stride, dilation)
    out = first.copy()
    for view in others:
        np.maximum(out, view, out=out)
    return out.transpose(3, 0, 1, 2)


def max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation):
    """The gradient of max_pool: to the first of the largest under the kernel or, as in PyTorch, to the last NaN."""
    places = (kernel_size, stride, dilation)
    gradient = blank(x.shape, padding, x)
    targets = seen(gradient, *places)
    g, out = g.transpose(1, 2, 3, 0), out.transpose(1, 2, 3, 0)
    free = np.ones_like(out, bool)
    for view, target in zip(seen(padded(x, padding, np.nan), *places), targets):  # NaN is equal to nothing
        chosen = view == out
        chosen &= free
        free ^= chosen
        target += g * chosen
    if free.any():
        for view, target in zip(seen(padded(np.isnan(x), padding), *places)[::-1], targets[::-1]):
            chosen = view & free
            free ^= chosen
            target += g * chosen
    return cropped(gradient, padding)


def avg_pool(x, kernel_size, stride, padding):
    """The mean of the numbers under each place of the kernel, padding included: (N, C, H, W) -> (N, C, H', W')."""
    total = sum(seen(padded(x, padding), kernel_size, stride, (1, 1)))
    return (total / math.prod(kernel_size)).transpose(3, 0, 1, 2)


def avg_pool_gradient(g, shape, kernel_size, stride, padding):
    """The gradient of avg_pool: each number under the kernel gets an equal share."""
    share = g.transpose(1, 2, 3, 0) / math.prod(kernel_size)
    gradient = blank(shape, padding, g)
    for view in seen(gradient, kernel_size, stride, (1, 1)):
        view += share
    return cropped(gradient, padding)


# Rules


def convolution(x, weight, bias=None, *, stride, padding, dilation, groups):
    """out = W ∗ x + b: (N, C, H, W), (F, C/groups, KH, KW), (F,) -> (N, F, H', W').

    Every place of the output is a product of the kernels with the pixels under them, so that all places are one:
    W · im2col(x);  d/dx = col2im(Wᵀ g),  d/dW = g · im2col(x)ᵀ,  d/db = Σg.
    """
    f, c = weight.shape[:2]
    if x.ndim != 4 or x.shape[1] != c * groups or f % groups or x.dtype != weight.dtype:
        raise ValueError(
            f"kernels {weight.shape} of {weight.dtype} in {groups} groups do not fit {x.shape} of {x.dtype}"
        )
    out, columns = convolve(x, weight, bias, stride, padding, dilation, groups)
    return out, lambda g: (
        lambda: convolve_to_x(g, weight, x.shape, stride, padding, dilation, groups),
        lambda: convolve_to_weight(g, columns, weight.shape, groups),
        lambda: convolve_to_bias(g),
    )


def max_pooling(x, kernel_size, stride, padding, dilation):
    """The largest number under each place of the kernel;  the gradient goes to the first of the largest."""
    out = max_pool(x, kernel_size, stride, padding, dilation)
    return out, lambda g: (max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation),)


def avg_pooling(x, kernel_size, stride, padding):
    """The mean of the numbers under each place of the kernel;  each gets an equal share of the gradient."""
    out = avg_pool(x, kernel_size, stride, padding)
    return out, lambda g: (avg_pool_gradient(g, x.shape, kernel_size, stride, padding),)


# Functions


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """W ∗ x + b: (N, C, H, W), (F, C/groups, KH, KW), (F,) -> (N, F, H', W'), as `torch.nn.functional.conv2d`."""
    inputs = (input, weight) if bias is None else (input, weight, bias)
    stride, padding, dilation = _pair("stride", stride), _pair("padding", padding, 0), _pair("dilation", dilation)
    return apply(convolution, inputs, stride=stride, padding=padding, dilation=dilation, groups=groups)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1):
    """The largest number under each place of a kernel that moves by stride, its own size unless told otherwise."""
    return apply(max_pooling, (input,), *_pool_sizes(input, kernel_size, stride, padding), _pair("dilation", dilation))


def avg_pool2d(input, kernel_size, stride=None, padding=0):
    """The mean under each place of a kernel that moves by stride, its own size unless told otherwise."""
    return apply(avg_pooling, (input,), *_pool_sizes(input, kernel_size, stride, padding))


def adaptive_avg_pool2d(input, output_size):
    """(N, C, H, W) -> (N, C, *output_size): the means of as many equal parts, which overlap where they don't divide."""
    _check_images(input)
    sizes = zip(input.shape[2:], _pair("output_size", output_size))
    rows, columns = (_means(n, m, input._data) for n, m in sizes)
    return rows @ input @ columns.T


def _means(n, m, like):
    """The matrix (m, n) that takes the means of m parts of n numbers, an array of the kind that `like` is."""
    i, j = np.arange(m, like=like)[:, None], np.arange(n, like=like)
    part = (i * n // m <= j) & (j < -(-(i + 1) * n // m))
    return (part / part.sum(axis=1, keepdims=True)).astype(like.dtype)


def _pair(name, n, least=1):
    """One number for both dims, or one for each, as two ints."""
    pair = (n, n) if isinstance(n, int | np.integer) else tuple(n)
    if len(pair) != 2 or not all([isinstance(k, int | np.integer) and k >= least for k in pair]):
        raise ValueError(f"{name}: wanted a whole number of at least {least}, or two, got {n}")
    return pair


def _pool_sizes(input, kernel_size, stride, padding):
    _check_images(input)
    kernel_size, padding = _pair("kernel_size", kernel_size), _pair("padding", padding, 0)
    if any(2 * p > k for p, k in zip(padding, kernel_size)):
        raise ValueError(f"pooling: wanted a padding of at most half the kernel {kernel_size}, got {padding}")
    return kernel_size, kernel_size if stride is None else _pair("stride", stride), padding


def _check_images(input):
    if input.ndim != 4:
        raise ValueError(f"pooling: wanted images (N, C, H, W), got {input.shape}")


class Conv2d(Module):
    """W ∗ x + b: (N, in_channels, H, W) -> (N, out_channels, H', W'). Weights begin uniform within ±1/√fan_in."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: {in_channels} and {out_channels} channels don't divide into {groups} groups")
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (out_channels, in_channels // groups, *_pair("kernel_size", kernel_size))
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = init.uniform_(Parameter(empty(shape)), -bound, bound)
        self.register_parameter("bias", init.uniform_(Parameter(empty(out_channels)), -bound, bound) if bias else None)

    def forward(self, x):
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class MaxPool2d(Module):
    """The largest number under each place of the kernel: (N, C, H, W) -> (N, C, H', W')."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1):
        self.sizes = (kernel_size, stride, padding, dilation)

    def forward(self, x):
        return max_pool2d(x, *self.sizes)


class AvgPool2d(Module):
    """The mean under each place of the kernel: (N, C, H, W) -> (N, C, H', W')."""

    def __init__(self, kernel_size, stride=None, padding=0):
        self.sizes = (kernel_size, stride, padding)

    def forward(self, x):
        return avg_pool2d(x, *self.sizes)


class AdaptiveAvgPool2d(Module):
    """(N, C, H, W) -> (N, C, *output_size), the means of equal parts."""

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        return adaptive_avg_pool2d(x, self.output_size)


class BatchNorm2d(BatchNorm1d):
    """Batch norm over (N, C, H, W): the statistics of a channel are those of all its pixels in the batch."""

    dims = (4,)
