"""Convolution as one matrix product.

Images are (N, C, H, W) for the caller. In this file their layout is (C, H, W, N): with the batch last in memory, copies
and sums run along it. Results are views with the caller's order of dims.
"""

import math
from functools import cache

import numpy as np

from .creation import empty
from .device import kernel
from .engine import apply
from .nn import init
from .nn.module import Module
from .nn.normalization import BatchNorm1d
from .nn.parameter import Parameter
from .padding import PLACES, pad

# Functions on arrays


def padded(x, padding, value=0, more=(0, 0)):
    """(N, C, H, W) -> (C, H + 2P, W + 2Q, N), padded with `value`, and with `more` rows and columns at the end."""
    if not any(padding + more):
        return x.transpose(1, 2, 3, 0)
    out = blank(x.shape, padding, x, more)
    if value:
        out.fill(value)
    p, q = padding
    out[:, p : p + x.shape[2], q : q + x.shape[3]] = x.transpose(1, 2, 3, 0)
    return out


def blank(shape, padding, like, more=(0, 0)):
    """Zeros (C, H + 2P, W + 2Q, N) for an image of shape (N, C, H, W), with the dtype and on the device of `like`."""
    n, c, *size = shape
    h, w = (k + 2 * p + m for k, p, m in zip(size, padding, more))
    return np.zeros_like(like, order="C", shape=(c, h, w, n))


def cropped(x, padding, size):
    """(C, H + 2P, W + 2Q, N) -> (N, C, *size): the padding of `padded` is removed."""
    (p, q), (h, w) = padding, size
    return x[:, p : p + h, q : q + w].transpose(3, 0, 1, 2)


def seen(x, kernel_size, stride, dilation):
    """For each of the KH·KW weights of a kernel, the view (C, H', W', N) of the pixels of x it is multiplied by."""
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
    """(N, C, H, W) -> (C, KH·KW, H', W', N): the pixels under the kernel at each output position."""
    return np.stack(seen(padded(x, padding), kernel_size, stride, dilation), axis=1)


def col2im(columns, shape, kernel_size, stride, padding, dilation):
    """The transpose of im2col: for each pixel of an image (N, C, H, W), the sum over its copies."""
    image = blank(shape, padding, columns)
    for view, column in zip(seen(image, kernel_size, stride, dilation), columns.swapaxes(0, 1)):
        view += column
    return cropped(image, padding, shape[2:])


@kernel
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


@kernel
def convolve_to_x(g, weight, shape, stride, padding, dilation, groups):
    """The gradient with respect to x, of the given shape: col2im(Wᵀ g)."""
    kernels = weight.reshape(groups, weight.shape[0] // groups, -1)
    columns = kernels.swapaxes(1, 2) @ _matrix(g.transpose(1, 2, 3, 0), groups)
    columns = columns.reshape(shape[1], math.prod(weight.shape[2:]), *g.shape[2:], shape[0])
    return col2im(columns, shape, weight.shape[2:], stride, padding, dilation)


@kernel
def convolve_to_weight(g, columns, shape, groups):
    """The gradient with respect to W, of the given shape: g · columnsᵀ."""
    return (_matrix(g.transpose(1, 2, 3, 0), groups) @ _matrix(columns, groups).swapaxes(1, 2)).reshape(shape)


@kernel
def convolve_to_bias(g):
    """The gradient with respect to b: Σg over all images and positions."""
    return g.sum(axis=(0, 2, 3))


def _matrix(x, groups):
    """(channels, …, H', W', N) -> (groups, rows, H'·W'·N)."""
    return x.reshape(groups, math.prod(x.shape[:-3]) // groups, math.prod(x.shape[-3:]))


# Rules


def convolution(x, weight, bias=None, *, stride, padding, dilation, groups):
    """out = W ∗ x + b: (N, C, H, W), (F, C/groups, KH, KW), (F,) -> (N, F, H', W').

    Each output position is a product of the kernels with the pixels under them, so all positions are one product:
    W · im2col(x);  d/dx = col2im(Wᵀ g),  d/dW = g · im2col(x)ᵀ,  d/db = Σg.
    """
    _check_channels(x, weight, bias, weight.shape[1] * groups, weight.shape[0], groups)
    out, columns = convolve(x, weight, bias, stride, padding, dilation, groups)
    return out, lambda g: (
        lambda: convolve_to_x(g, weight, x.shape, stride, padding, dilation, groups),
        lambda: convolve_to_weight(g, columns, weight.shape, groups),
        lambda: convolve_to_bias(g),
    )


def transposed_convolution(x, weight, bias=None, *, size, stride, padding, dilation, groups):
    """The gradient of a convolution by W with respect to its input, for g = x, + b.

    (N, C, H, W), (C, F/groups, KH, KW), (F,) -> (N, F, *size). Its gradient is the convolution:
    d/dx = W ∗ g,  d/dW = x · im2col(g)ᵀ,  d/db = Σg.
    """
    shape = (x.shape[0], weight.shape[1] * groups, *size)
    _check_channels(x, weight, bias, weight.shape[0], shape[1], groups)
    out = convolve_to_x(x, weight, shape, stride, padding, dilation, groups)
    if bias is not None:
        out += bias[:, None, None]

    def backward(g):
        convolved = cache(lambda: convolve(g, weight, None, stride, padding, dilation, groups))
        return (
            lambda: convolved()[0],
            lambda: convolve_to_weight(x, convolved()[1], weight.shape, groups),
            lambda: convolve_to_bias(g),
        )

    return out, backward


def _check_channels(x, weight, bias, channels, kernels, groups):
    if x.shape[1] != channels or len(weight) % groups or x.dtype != weight.dtype:
        raise ValueError(
            f"weight {weight.shape} of {weight.dtype} in {groups} groups wants a first dim that divides into them, and "
            f"{channels} channels of {weight.dtype}; got {x.shape} of {x.dtype}"
        )
    if bias is not None and (bias.shape != (kernels,) or bias.dtype != x.dtype):
        raise ValueError(f"bias: wanted {(kernels,)} of {x.dtype}, got {bias.shape} of {bias.dtype}")


def unfolding(x, kernel_size, stride, padding, dilation):
    """im2col: (N, C, H, W) -> (N, C·KH·KW, H'·W');  d/dx = col2im(g)."""
    columns = im2col(x, kernel_size, stride, padding, dilation)
    return _unfolded(columns), lambda g: (
        col2im(g.transpose(1, 2, 0).reshape(columns.shape), x.shape, kernel_size, stride, padding, dilation),
    )


def folding(x, size, kernel_size, stride, padding, dilation):
    """col2im: (N, C·KH·KW, H'·W') -> (N, C, *size);  d/dx = im2col(g)."""
    area = math.prod(kernel_size)
    places = output_size([n + 2 * p for n, p in zip(size, padding)], kernel_size, stride, dilation)
    if x.shape[1] % area or x.shape[2] != math.prod(places):
        raise ValueError(
            f"wanted a multiple of {area} rows, and {math.prod(places)} columns for {places}, got {x.shape}"
        )
    c, n = x.shape[1] // area, x.shape[0]
    columns = x.transpose(1, 2, 0).reshape(c, area, *places, n)
    return col2im(columns, (n, c, *size), kernel_size, stride, padding, dilation), lambda g: (
        _unfolded(im2col(g, kernel_size, stride, padding, dilation)),
    )


def _unfolded(columns):
    """(C, KH·KW, H', W', N) -> (N, C·KH·KW, H'·W')."""
    c, area, h, w, n = columns.shape
    return columns.reshape(c * area, h * w, n).transpose(2, 0, 1)


# Functions, under PyTorch's names. (N, C, L) is treated as images of height 1, and a single image as a batch of one


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """W ∗ x + b: (N, C, L), (F, C/groups, K), (F,) -> (N, F, L')."""
    return _convolved("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """W ∗ x + b: (N, C, H, W), (F, C/groups, KH, KW), (F,) -> (N, F, H', W')."""
    return _convolved("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """(N, C, L), (C, F/groups, K), (F,) -> (N, F, L'): the gradient of conv1d with respect to its input."""
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """(N, C, H, W), (C, F/groups, KH, KW), (F,) -> (N, F, H', W'): the gradient of conv2d with respect to its input."""
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolved(op, dims, input, weight, bias, stride, padding, dilation, groups):
    images, undone = as_images(op, dims, input)
    weight, groups = _kernels(op, dims, weight), _whole(op, "groups", groups)
    stride, dilation = pair(op, dims, "stride", stride), pair(op, dims, "dilation", dilation)
    (top, bottom), (left, right) = _borders(op, dims, padding, weight.shape[2:], stride, dilation)
    if (top, left) != (bottom, right):
        images = pad(images, (0, right - left, 0, bottom - top))
    sizes = {"stride": stride, "padding": (top, left), "dilation": dilation, "groups": groups}
    return undone(apply(convolution, _present(images, weight, bias), **sizes))


def _transposed(op, dims, input, weight, bias, stride, padding, output_padding, groups, dilation):
    images, undone = as_images(op, dims, input)
    weight, groups = _kernels(op, dims, weight), _whole(op, "groups", groups)
    stride, dilation = pair(op, dims, "stride", stride), pair(op, dims, "dilation", dilation)
    padding, more = pair(op, dims, "padding", padding, 0), pair(op, dims, "output_padding", output_padding, 0)
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation)):
        raise ValueError(f"{op}: output_padding: wanted less than stride or dilation, got {output_padding}")
    if any(m >= s for m, s in zip(more, stride)):  # as with so many more zeros at the end of the image
        images = pad(images, (0, more[1] // stride[1], 0, more[0] // stride[0]))
        more = [m % s for m, s in zip(more, stride)]
    geometry = zip(images.shape[2:], weight.shape[2:], stride, padding, dilation, more)
    size = tuple([(n - 1) * s - 2 * p + d * (k - 1) + 1 + m for n, k, s, p, d, m in geometry])
    if min(size) < 1:
        raise ValueError(f"{op}: padding {padding} leaves nothing of the output: {size}")
    sizes = {"size": size, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return undone(apply(transposed_convolution, _present(images, weight, bias), **sizes))


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """(N, C, H, W) -> (N, C·KH·KW, H'·W'): the pixels under the kernel at each output position, as a column."""
    images, _ = as_images("unfold", 2, input)
    columns = apply(unfolding, (images,), *_moves("unfold", kernel_size, stride, padding, dilation))
    return columns if images is input else columns[0]


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """(N, C·KH·KW, H'·W') -> (N, C, *output_size): the sum of what unfold copied from each pixel."""
    if input.ndim not in (2, 3):
        raise ValueError(f"fold: wanted (N, C·KH·KW, H'·W') or (C·KH·KW, H'·W'), got {tuple(input.shape)}")
    columns = input if input.ndim == 3 else input.reshape(1, *input.shape)
    size = pair("fold", 2, "output_size", output_size)
    images = apply(folding, (columns,), size, *_moves("fold", kernel_size, stride, padding, dilation))
    return images if columns is input else images[0]


def as_images(op, dims, input):
    """The input as images (N, C, H, W), and the function that converts the result back to the input's dims."""
    check_images(op, dims, input)
    shape = input.shape
    if len(shape) == 4:
        return input, lambda out: out
    single, rows = len(shape) == dims + 1, dims == 1
    images = input.reshape((1,) * single + shape[:-dims] + (1,) * rows + shape[-dims:])
    return images, lambda out: out.reshape(out.shape[single:2] + out.shape[2 + rows :])


def check_images(op, dims, input):
    if input.ndim not in (dims + 1, dims + 2):
        wanted = "(N, C, H, W) or (C, H, W)" if dims == 2 else "(N, C, L) or (C, L)"
        raise ValueError(f"{op}: wanted {wanted}, got {tuple(input.shape)}")


def pair(op, dims, name, value, least=1):
    """One number for all dims, or one for each, as two ints: of a row, the first stands for its height of 1."""
    numbers = tuple(value) if isinstance(value, tuple | list) else (value,)
    numbers = tuple([int(n) if isinstance(n, np.integer) else n for n in numbers])
    numbers = numbers * dims if len(numbers) == 1 else numbers
    if len(numbers) != dims or not all([type(n) is int and n >= least for n in numbers]):
        raise ValueError(
            f"{op}: {name}: wanted a whole number of at least {least}{', or two' * (dims == 2)}, got {value}"
        )
    return numbers if dims == 2 else (least, *numbers)


def _moves(op, kernel_size, stride, padding, dilation):
    """The size, stride, padding and dilation of a kernel, as pairs."""
    kernel_size, stride = pair(op, 2, "kernel_size", kernel_size), pair(op, 2, "stride", stride)
    return kernel_size, stride, pair(op, 2, "padding", padding, 0), pair(op, 2, "dilation", dilation)


def _borders(op, dims, padding, kernel_size, stride, dilation):
    """(before, after) for both dims of images: "same" gives the output the size of the input, "valid" is no padding."""
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(
                f"{op}: padding='same' is not supported for strided convolutions, got a stride of {stride}"
            )
        reach = [d * (k - 1) for k, d in zip(kernel_size, dilation)]
        return [(n // 2, n - n // 2) for n in reach]
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(f"{op}: padding: wanted numbers, 'same' or 'valid', got {padding!r}")
    return [(n, n) for n in pair(op, dims, "padding", 0 if padding == "valid" else padding, 0)]


def _kernels(op, dims, weight):
    """The weight for images: (F, C, KH, KW)."""
    if weight.ndim != dims + 2 or 0 in weight.shape:
        raise ValueError(f"{op}: weight: wanted {dims + 2} dims, none of size 0, got {tuple(weight.shape)}")
    return weight if dims == 2 else weight.reshape(*weight.shape[:2], 1, weight.shape[2])


def _whole(op, name, n):
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"{op}: {name}: wanted a whole number of at least 1, got {n}")
    return n


def _present(*inputs):
    """The inputs, without a bias of None."""
    return inputs if inputs[-1] is not None else inputs[:-1]


# Modules


def named(module, *names):
    """The attributes of these names, for `repr`."""
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in names)


class _Convolution(Module):
    """W ∗ x + b over `dims` dims. Weights are initialized uniformly within ±1/√fan_in."""

    transposed = False

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        super().__init__()
        op, dims = type(self).__name__, self.dims
        _whole(op, "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{op}: {in_channels} and {out_channels} channels don't divide into {groups} groups")
        if padding_mode != "zeros" and padding_mode not in PLACES:
            raise ValueError(f"{op}: padding_mode: wanted 'zeros' or one of {', '.join(PLACES)}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(op, dims, "kernel_size", kernel_size)[-dims:]
        self.stride = pair(op, dims, "stride", stride)[-dims:]
        self.dilation = pair(op, dims, "dilation", dilation)[-dims:]
        _borders(op, dims, padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding if isinstance(padding, str) else pair(op, dims, "padding", padding, 0)[-dims:]
        self.output_padding, self.padding_mode = (0,) * dims, padding_mode
        ends = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(empty(ends[0], ends[1] // groups, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]) or 1)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        op, dims, padding = type(self).__name__, self.dims, self.padding
        if self.padding_mode != "zeros":
            borders = _borders(op, dims, padding, self.kernel_size, self.stride, self.dilation)
            input = pad(input, [n for border in borders[: -dims - 1 : -1] for n in border], self.padding_mode)
            padding = 0
        return _convolved(op, dims, input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self):
        usual = {"padding": (0,) * self.dims, "dilation": (1,) * self.dims, "output_padding": (0,) * self.dims}
        usual |= {"groups": 1, "bias": True, "padding_mode": "zeros"}
        own = {**vars(self), "bias": self.bias is not None}
        unusual = "".join(f", {name}={own[name]}" for name, value in usual.items() if own[name] != value)
        return f"{self.in_channels}, {self.out_channels}, {named(self, 'kernel_size', 'stride')}{unusual}"


class Conv1d(_Convolution):
    """W ∗ x + b: (N, in_channels, L) -> (N, out_channels, L')."""

    dims = 1


class Conv2d(_Convolution):
    """W ∗ x + b: (N, in_channels, H, W) -> (N, out_channels, H', W')."""

    dims = 2


class _Transposed(_Convolution):
    """A transposed convolution: each number of the input, times the kernel, is added to a window of the output."""

    transposed = True

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        if padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__}: padding_mode: wanted 'zeros', got {padding_mode!r}")
        sizes = (kernel_size, stride, padding, dilation, groups)
        super().__init__(in_channels, out_channels, *sizes, bias, device=device, dtype=dtype)
        self.output_padding = pair(type(self).__name__, self.dims, "output_padding", output_padding, 0)[-self.dims :]

    def forward(self, input, output_size=None):
        more = self.output_padding if output_size is None else self._up_to(output_size, input.shape)
        sizes = self.stride, self.padding, more, self.groups, self.dilation
        return _transposed(type(self).__name__, self.dims, input, self.weight, self.bias, *sizes)

    def _up_to(self, output_size, shape):
        """The output padding that gives the output that size."""
        dims = self.dims
        geometry = zip(shape[-dims:], self.kernel_size, self.stride, self.padding, self.dilation)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in geometry]
        more = [n - m for n, m in zip(output_size[-dims:], least)]
        if len(output_size) not in (dims, len(shape)) or not all(0 <= m < s for m, s in zip(more, self.stride)):
            most = [n + s - 1 for n, s in zip(least, self.stride)]
            raise ValueError(f"{type(self).__name__}: output_size: wanted {least} to {most}, got {tuple(output_size)}")
        return more


class ConvTranspose1d(_Transposed):
    """The transpose of Conv1d: (N, in_channels, L) -> (N, out_channels, L')."""

    dims = 1


class ConvTranspose2d(_Transposed):
    """The transpose of Conv2d: (N, in_channels, H, W) -> (N, out_channels, H', W')."""

    dims = 2


class Unfold(Module):
    """(N, C, H, W) -> (N, C·KH·KW, H'·W'): the pixels under the kernel at each output position, as a column."""

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input):
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return named(self, "kernel_size", "dilation", "padding", "stride")


class Fold(Module):
    """(N, C·KH·KW, H'·W') -> (N, C, *output_size): the sum of what Unfold copied from each pixel."""

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input):
        return fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return named(self, "output_size", "kernel_size", "dilation", "padding", "stride")


class BatchNorm2d(BatchNorm1d):
    """Batch norm over (N, C, H, W): the statistics of a channel are those of all its pixels in the batch."""

    dims = (4,)
