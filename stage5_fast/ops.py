"""The rules: each computes its output and a function that computes the gradients of its inputs.

A rule takes plain arrays and returns `out, backward`. `backward(g)` takes g, the gradient of the loss with respect to
out, and returns the gradients with respect to the inputs, in their order. It has no side effects and uses no graph.
A costly gradient is returned as a function of no arguments, which the engine calls only if the gradient is needed.
"""

import math
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy import abs as _abs, log as _log, power as _pow
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .device import add_at as _add_at, device_of, elementwise, kernel, moved
from .pointwise import error_function as _erf, signs

_float32 = np.dtype(np.float32)
_maximum, _minimum, _add_up, _log1p = np.maximum, np.minimum, np.add.reduce, np.log1p
_exp, _tanh = elementwise(np.exp), elementwise(np.tanh)
_ROOT_HALF, _PHI_0 = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


def add(x, y):
    """x + y;  d/dx = 1,  d/dy = 1."""
    return x + y, lambda g: (g, g)


def sub(x, y):
    """x − y;  d/dx = 1,  d/dy = −1."""
    return x - y, lambda g: (g, -g)


def mul(x, y):
    """x·y;  d/dx = y,  d/dy = x."""
    return x * y, lambda g: (g * y, lambda: g * x)


def div(x, y):
    """x/y;  d/dx = 1/y,  d/dy = −x/y²."""
    out = x / y
    return out, lambda g: (g / y, lambda: -g * out / y)


def pow(x, y):
    """xʸ;  d/dx = y·xʸ⁻¹, and 0 where y = 0;  d/dy = xʸ·log x, and 0 where x = 0 ≤ y."""
    out = _pow(x, y)
    return out, lambda g: (
        lambda: _where(y != 0, g * y * _pow(x, y - (y != 0))),
        lambda: g * out * _log(x + ((x == 0) & (y >= 0))),
    )


def _where(condition, g):
    """g where the condition holds, else 0; infinity times 0 would be NaN."""
    if isinstance(condition, bool | np.bool):  # of a number
        return g if condition else np.zeros_like(g)
    return np.where(condition, g, 0)


def neg(x):
    """−x;  d/dx = −1."""
    return -x, lambda g: (-g,)


def exp(x):
    """eˣ;  d/dx = eˣ."""
    out = _exp(x)
    return out, lambda g: (g * out,)


def log(x):
    """log x, the natural logarithm;  d/dx = 1/x."""
    return _log(x), lambda g: (g / x,)


def tanh(x):
    """tanh x;  d/dx = 1 − tanh² x."""
    out = _tanh(x)
    return out, lambda g: (g * (1 - out * out),)


def sigmoid(x):
    """σ(x) = 1/(1 + e⁻ˣ);  d/dx = σ(x)·(1 − σ(x))."""
    out = expit(x)
    return out, lambda g: (g * out * (1 - out),)


@elementwise
def expit(x):
    """1/(1 + e⁻ˣ), computed so that no exponential overflows."""
    return _exp(_minimum(x, 0)) / (1 + _exp(-_abs(x)))


def relu(x):
    """max(x, 0);  d/dx = 1 where the output is not 0, else 0."""
    out = rectify(x)
    return out, lambda g: (rectify_gradient(g, out),)


@kernel
def rectify(x):
    """max(x, 0), as a function on arrays."""
    return _maximum(x, 0)


@kernel
def rectify_gradient(g, out):
    """g where out is not 0, else 0."""
    if g.size > 2048 and np.isfinite(g).all():
        return g * (out != 0)  # faster for large arrays: `where` branches at each number
    return np.where(out, g, out)


# Where arrays broadcast


def unbroadcast(g, shape):
    """The gradient of broadcasting: g summed over every axis along which an array of `shape` was repeated."""
    missing = g.ndim - len(shape)
    repeated = [missing + i for i, n in enumerate(shape) if n == 1]
    out = total(g, (*range(missing), *repeated))
    out = out if out.shape == shape else out.reshape(shape)
    return out if out.dtype is g.dtype else out.astype(g.dtype)


def sqrt(x):
    """√x;  d/dx = 1/(2√x)."""
    out = np.sqrt(x)
    return out, lambda g: (g / (2 * out),)


def abs(x):
    """|x|;  d/dx = the sign of x, 0 at 0."""
    return _abs(x), lambda g: (g * signs(x),)


def maximum(x, y):
    """The larger of x and y, to which the gradient goes, half to each where they are equal."""
    return _maximum(x, y), lambda g: _to_chosen(g, x == y, x < y, y < x)


def minimum(x, y):
    """The smaller of x and y, to which the gradient goes, half to each where they are equal."""
    return _minimum(x, y), lambda g: _to_chosen(g, x == y, x > y, y > x)


def _to_chosen(g, equal, not_x, not_y):
    each = np.where(equal, g / 2, g)  # with NaN, both get all of it, as in PyTorch
    return np.where(not_x, 0, each), np.where(not_y, 0, each)


def where(x, y, condition):
    """x where the condition is true, else y;  the gradient goes to the one chosen."""
    return np.where(condition, x, y), lambda g: (np.where(condition, g, 0), np.where(condition, 0, g))


# Reductions: dim is an int, a tuple or list of ints, or None for all; keepdim keeps reduced dims with size 1


def dims_of(x, dim):
    """The dims to reduce as NumPy's `axis`; an error if one is out of range or repeated."""
    if dim is None or isinstance(dim, tuple | list) and not dim:
        return None
    if x.ndim == 0:
        normalize_axis_tuple(dim, 1)  # a 0-d tensor has dims 0 and -1 in PyTorch
        return None
    return normalize_axis_tuple(dim, x.ndim)


def _restored(g, dim, keepdim):
    """The gradient of a reduction, with the reduced dims restored with size 1, so that it broadcasts against x."""
    return g if keepdim or dim is None else np.expand_dims(g, dim)


def sum(x, dim=None, keepdim=False):
    """Σx over dim;  d/dx = 1."""
    dim, shape = None if dim is None else dims_of(x, dim), x.shape
    out = total(x, dim, keepdim)
    out = out if out.dtype is x.dtype or x.dtype.kind != "f" else out.astype(x.dtype)
    return out, lambda g: (_to_all(g, shape, dim, keepdim),)


def total(x, dim=None, keepdim=False):
    """Σx over dim, as accurate as PyTorch's; for that, the dtype may be wider.

    NumPy sums pairwise only along the last dims; along others it adds one number at a time, and errors accumulate.
    """
    dtype, wider = x.dtype, None
    if dtype is _float32:
        if dim is not None and x.size > 4096:
            in_pairs = x.ndim
            while in_pairs - 1 in dim:
                in_pairs -= 1
            if math.prod([x.shape[i] for i in dim if i < in_pairs]) > 256:
                return float64_total(x, dim, keepdim)
    elif dtype.kind != "f":
        wider = np.int64
    elif dtype.itemsize == 2:
        wider = np.float32
    return _add_up(x, dim, wider, None, keepdim)


@kernel
def float64_total(x, dim, keepdim):
    """Σx over dim, in float64 as the numbers are many."""
    return _add_up(x, dim, np.float64, None, keepdim)


def mean(x, dim=None, keepdim=False):
    """Σx/n over the n numbers of dim;  d/dx = 1/n."""
    dim, shape = None if dim is None else dims_of(x, dim), x.shape
    n = x.size if dim is None else _count(x, dim)
    return average(x, dim, keepdim, n), lambda g: (_to_all(g / n, shape, dim, keepdim),)


def average(x, dim, keepdim=True, n=None):
    """Σx/n over dim, where n is the number of summands by default."""
    if x.dtype.kind != "f":
        raise TypeError(f"wanted floating-point numbers, got {x.dtype}")
    out = total(x, dim, keepdim) / (_count(x, dim) if n is None else n)
    return out if out.dtype is x.dtype else out.astype(x.dtype)


def _to_all(g, shape, dim, keepdim):
    """The gradient of a sum with respect to its summands: g, broadcast to their shape."""
    gradient = np.empty(shape, g.dtype) if isinstance(g, np.generic) else np.empty_like(g, shape=shape)
    gradient[...] = g if keepdim or dim is None else np.expand_dims(g, dim)
    return gradient


def _count(x, dim):
    """The number of elements of x that are reduced to one over dim."""
    return x.size if dim is None else math.prod([x.shape[i] for i in dim])


def amax(x, dim=None, keepdim=False):
    """The largest of x over dim;  the gradient goes to it, shared equally where several are, as in `torch.amax`."""
    dim = dims_of(x, dim)
    return _extreme(x, x.max(axis=dim, keepdims=True), dim, keepdim)


def amin(x, dim=None, keepdim=False):
    """The smallest of x over dim;  the gradient goes to it, shared equally where several are, as in `torch.amin`."""
    dim = dims_of(x, dim)
    return _extreme(x, x.min(axis=dim, keepdims=True), dim, keepdim)


def _extreme(x, kept, dim, keepdim):
    chosen = x == kept

    def backward(g):
        count = chosen.sum(axis=dim, keepdims=True, dtype=x.dtype)
        return (np.where(chosen, _restored(g, dim, keepdim), 0) / count,)

    return kept if keepdim else kept.squeeze(axis=dim), backward


def var(x, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """Σ(x − mean x)²/(n − correction) over dim;  d/dx = 2(x − mean x)/(n − correction).

    Unless it is given, the correction is 1 or, if not unbiased, 0; `var(x, False)` says that about all numbers.
    """
    if isinstance(dim, bool):
        unbiased, dim = dim, None
    dim = dims_of(x, dim)
    centred = x - average(x, dim)
    n = max(0, _count(x, dim) - (int(unbiased) if correction is None else correction))
    out = average(centred * centred, dim, keepdim, n)
    return out, lambda g: (_to_all(g / n, centred.shape, dim, keepdim) * 2 * centred,)


def std(x, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """σ = √var;  dσ/dvar = 1/(2σ), and 0 where σ = 0, as in PyTorch."""
    variance, backward = var(x, dim, unbiased, keepdim, correction=correction)
    out = np.sqrt(variance)
    return out, lambda g: backward(np.where(out == 0, 0, g / (2 * out + (out == 0))))


# Softmax and log-softmax: the maximum is subtracted first, so that no exponential overflows


def softmax(x, dim):
    """sᵢ = eˣⁱ/Σⱼeˣʲ over dim;  d/dxᵢ = sᵢ·(gᵢ − Σⱼgⱼsⱼ)."""
    out = softmax_values(x, dim)
    return out, lambda g: (softmax_gradient(g, out, dim),)


@kernel
def softmax_values(x, dim):
    """softmax(x) over dim, the loops apart from their rule."""
    out = _exp(x - _top(x, dim))
    out /= out.sum(axis=dim, keepdims=True)
    return out


@kernel
def softmax_gradient(g, out, dim):
    """out·(g − Σg·out), where out is the softmax over dim."""
    return out * (g - (g * out).sum(axis=dim, keepdims=True))


def _top(x, dim):
    """The maximum of x over dim, kept with size 1; an empty x itself."""
    return x.max(axis=dim, keepdims=True) if x.size else x


def log_softmax(x, dim):
    """log softmax(x) = x − logsumexp(x) over dim;  d/dxᵢ = gᵢ − softmax(x)ᵢ·Σⱼgⱼ."""
    out = log_softmax_values(x, dim)
    return out, lambda g: (log_softmax_gradient(g, out, dim),)


@kernel
def log_softmax_values(x, dim):
    """log softmax(x) over dim."""
    out = x - _top(x, dim)
    out -= _log(_exp(out).sum(axis=dim, keepdims=True))
    return out


@kernel
def log_softmax_gradient(g, out, dim):
    """g − eᵒᵘᵗ·Σg, where out is the log-softmax over dim."""
    return g - _exp(out) * g.sum(axis=dim, keepdims=True)


def logsumexp(x, dim, keepdim=False):
    """log Σeˣ over dim;  d/dx = softmax(x)."""
    dim = dims_of(x, dim)
    top = x.max(axis=dim, keepdims=True) if x.size else x.sum(axis=dim, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    kept = _log(_exp(x - top).sum(axis=dim, keepdims=True)) + top
    out = kept if keepdim else kept.squeeze(axis=dim)
    return out, lambda g: (_restored(g, dim, keepdim) * _exp(x - kept),)


# Products


def matmul(x, y):
    """x @ y: (…, n, k) @ (…, k, m) -> (…, n, m), a 1-D x is a row and a 1-D y a column;  d/dx = g yᵀ,  d/dy = xᵀ g."""
    if np.ndim(x) == 0 or np.ndim(y) == 0:
        raise ValueError(f"{np.shape(x)} @ {np.shape(y)}: both need at least one dim")
    rows = x[None, :] if x.ndim == 1 else x
    columns = y[:, None] if y.ndim == 1 else y
    if rows.shape[-1] != columns.shape[-2]:
        raise ValueError(f"{x.shape} @ {y.shape}: inner sizes {rows.shape[-1]} and {columns.shape[-2]} differ")

    def to_y(g):
        gradient = product(rows.swapaxes(-1, -2), g)
        return gradient[..., 0] if y.ndim == 1 else gradient

    def backward(g):
        if y.ndim == 1:
            g = g[..., None]
        if x.ndim == 1:
            g = g[..., None, :]
        return lambda: product(g, columns.swapaxes(-1, -2)), lambda: to_y(g)

    return product(x, y), backward


@kernel
def product(x, y):
    """x @ y."""
    return x @ y


# Copies


def clone(x):
    """A copy of x."""
    return x.copy(), lambda g: (g,)


def astype(x, dtype):
    """x in another dtype;  the gradient comes back in that of x."""
    return x.astype(dtype), lambda g: (g,)


def to(x, device):
    """x in the memory of a device;  the gradient goes back to where x is."""
    home = device_of(x)
    return moved(x, device), lambda g: (moved(g, home),)


# Shapes: the gradient gets the inverse change of shape


def reshape(x, *sizes, shape=None):
    """The numbers of x, in order, in another shape; a size of -1 is inferred. A view, if that is possible."""
    before = x.shape
    return reshaped(x, *sizes if shape is None else [shape]), lambda g: (g.reshape(before),)


@kernel
def reshaped(x, *sizes):
    """x in another shape, as a function on arrays."""
    return x.reshape(*sizes)


def flatten(x, start_dim=0, end_dim=-1):
    """x with dims start_dim to end_dim merged into one."""
    first, last = (normalize_axis_index(dim, x.ndim or 1) for dim in (start_dim, end_dim))
    return reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def squeeze(x, dim=None):
    """x without its dims of size 1, or only without those among dim."""
    dims = range(x.ndim) if dim is None else normalize_axis_tuple(dim, x.ndim or 1)
    return reshape(x, [n for i, n in enumerate(x.shape) if n != 1 or i not in dims])


def unsqueeze(x, dim):
    """x with a new dim of size 1 at dim."""
    before = x.shape
    return np.expand_dims(x, dim), lambda g: (g.reshape(before),)


def transpose(x, dim0, dim1):
    """x with two dims exchanged."""
    dims = normalize_axis_tuple((dim0, dim1), x.ndim or 1, allow_duplicate=True)
    if not x.ndim:
        return reshape(x, ())
    return x.swapaxes(*dims), lambda g: (g.swapaxes(*dims),)


def permute(x, *each, dims=None):
    """x with its dims in the given order."""
    dims = normalize_axis_tuple(_sizes(each) if dims is None else dims, x.ndim)
    return x.transpose(dims), lambda g: (g.transpose(np.argsort(dims)),)


def expand(x, *sizes, size=None):
    """x broadcast to a shape, in which -1 keeps a size; new dims are in front."""
    shape = _sizes(sizes) if size is None else size
    new = len(shape) - x.ndim
    shape = [x.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(shape)]
    return np.broadcast_to(x, shape), lambda g: (g,)


def _sizes(args):
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    return args[0] if len(args) == 1 and isinstance(args[0], tuple | list | range) else args


def getitem(x, index):
    """x[index] as in PyTorch;  the gradients of a number that is taken more than once add up."""
    parts, chosen = split_index(index, x.ndim)
    out, shape = x[parts] if chosen is None else x[parts][chosen], x.shape

    def backward(g):
        if chosen is None:
            return (Part(g, parts, shape),)
        gradient = new_zeros(g, shape)
        add_at(gradient[parts], chosen, g)
        return (gradient,)

    return out, backward


def new_zeros(x, shape):
    """Zeros in a shape, with the dtype and in the memory of x."""
    return np.zeros_like(x, shape=(math.prod(shape),)).reshape(shape)  # of other libraries, some take () for no shape


class Part(NamedTuple):
    """A gradient that is 0 except for the values at a place."""

    values: object
    place: tuple
    whole_shape: tuple
    shape = None  # that of no array, so that the engine tells them apart where it compares shapes


def joined(parts):
    """The sum of Parts, as an array. Those that don't overlap are only copied, as those of `split`, which cover it."""
    values, shape = parts[0].values, parts[0].whole_shape
    apart = len(parts) == 1 or _disjoint(parts)
    covered = apart and math.fsum([part.values.size for part in parts]) == math.prod(shape)
    gradient = np.empty_like(values, order="C", shape=shape) if covered else new_zeros(values, shape)
    for values, place, _ in parts:
        if apart:
            gradient[place] = values
        else:
            gradient[place] += values
    return gradient


def _disjoint(parts):
    """Whether the first dim in which the parts differ has ranges that don't overlap, none of them backwards."""
    dims = zip(*[part.place for part in parts])
    items = next((items for items in dims if items.count(items[0]) < len(items)), (None,))
    if not all([isinstance(item, int | slice) for item in items]):
        return False
    items = [slice(item, item + 1) if isinstance(item, int) else item for item in items]
    ranges = sorted([(item.start or 0, math.inf if item.stop is None else item.stop) for item in items])
    bounds = [0, *chain(*ranges)]
    return bounds == sorted(bounds) and all([(item.step or 1) > 0 for item in items])


@kernel
def add_at(x, index, g):
    """x[index] += g, where what is named more than once gets all of it; index is a tuple of arrays and full slices."""
    _add_at(x, index, g)


def setitem(x, value, index):
    """x[index] = value, in place;  the gradient of what is overwritten goes to the value.

    In the place of an output it says whether there was anything to do: not if the value is x[index] itself.
    """
    parts, chosen = split_index(index, x.ndim)
    if chosen is None:
        place = getattr(x[parts], "__array_interface__", None)
        if place is not None and place == getattr(value, "__array_interface__", None):
            return False, None
        chosen = ...
    target, ndim = x[parts], np.ndim(value)
    if ndim > target.ndim:
        value = value.reshape(value.shape[ndim - target.ndim :])
    target[chosen] = value

    def to_value(g):
        part = g[parts][chosen]
        return np.expand_dims(part, tuple(range(ndim - part.ndim)))

    def backward(g):
        kept = np.copy(g)  # an array, where g is a number
        kept[parts][chosen] = 0
        return kept, lambda: to_value(g)

    return True, backward


def split_index(index, ndim):
    """The two parts of an index: the basic one, which makes a view, and the arrays that index this view, or None.

    PyTorch takes integers, slices, None and ... first: to NumPy, an integer beside an array is an array too.
    """
    items = [_index(item) for item in (index if isinstance(index, tuple) else (index,))]
    if not any([item is ... for item in items]):
        items.append(...)
    if not any([hasattr(item, "dtype") for item in items]):
        return tuple(items), None
    taken = 0
    for item in items:
        if hasattr(item, "dtype"):
            taken += item.ndim if item.dtype == bool else 1
        else:
            taken += item is not None and item is not ...
    parts, chosen = [], []
    for item in items:
        if item is ...:
            parts += [slice(None)] * (ndim - taken)
            chosen += [slice(None)] * (ndim - taken)
        elif hasattr(item, "dtype"):
            parts += [slice(None)] * (item.ndim if item.dtype == bool else 1)
            chosen.append(item)
        else:
            parts.append(item)
            chosen += [] if isinstance(item, int) else [slice(None)]
    return (*parts, ...), tuple(chosen)


def _index(item):
    """One part of an index: an int, a slice, None, ... or an array of integers or booleans."""
    if isinstance(item, bool | np.bool_):
        return np.array(item)
    if isinstance(item, list | range):
        item = np.array(item, dtype=None if len(item) else int)
    if isinstance(item, np.integer) or isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype.kind in "iu":
        return int(item)
    return item.astype(bool) if getattr(item, "dtype", None) == np.uint8 else item  # uint8 is a mask in PyTorch


def cat(*arrays, dim=0):
    """Arrays concatenated along dim;  each gets its part of the gradient. Empty 1-D arrays are ignored."""
    shapes = [x.shape for x in arrays]
    full = [x for x in arrays if x.shape != (0,)]
    dim = dim if full else 0
    out = np.concatenate(full or arrays, axis=dim)
    ends = np.cumsum([0 if shape == (0,) else shape[dim] for shape in shapes])
    return out, lambda g: [part.reshape(shape) for part, shape in zip(np.split(g, ends[:-1], axis=dim), shapes)]


def stack(*arrays, dim=0):
    """Arrays of one shape stacked along a new dim;  each gets its slice of the gradient."""
    return np.stack(arrays, axis=dim), lambda g: tuple(np.moveaxis(g, dim, 0))


def pad(x, pad, value=0):
    """x padded with `value`: pad is (before, after) for the last dim, then for the one before it, and so on."""
    if len(pad) % 2 or len(pad) > 2 * x.ndim or any(n < 0 for n in pad):
        raise ValueError(f"wanted (before, after) for up to {x.ndim} dims, each at least 0, got {tuple(pad)}")
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    inside = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))
    out = np.empty_like(x, shape=[n + before + after for n, (before, after) in zip(x.shape, widths)])
    out[...], out[inside] = value, x
    return out, lambda g: (g[inside],)


# Networks


def linear(x, weight, bias=None, forward=None):
    """x Wᵀ + b: (…, in), (out, in), (out,) -> (…, out);  d/dx = g W,  d/dW = gᵀ x,  d/db = Σg.

    `forward` computes it: affine, or what does more at once.
    """
    if x.ndim == 0 or x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        raise ValueError(f"wanted (…, {weight.shape[1]}) of {weight.dtype}, got {x.shape} of {x.dtype}")
    if bias is not None and (bias.dtype != weight.dtype or bias.shape not in (weight.shape[:1], (1,), ())):
        raise ValueError(f"bias: wanted {weight.shape[:1]} of {weight.dtype}, got {bias.shape} of {bias.dtype}")
    return (forward or affine)(x, weight, bias), lambda g: (
        lambda: affine_to_x(g, weight),
        lambda: affine_to_weight(g, x),
        lambda: affine_to_bias(g),
    )


def linear_relu(x, weight, bias=None):
    """linear with relu after it, as one rule: one node of the graph instead of two."""
    out, backward = linear(x, weight, bias, affine_relu)
    return out, lambda g: backward(rectify_gradient(g, out))


@kernel
def affine(x, weight, bias):
    """x Wᵀ + b: (…, in), (out, in), (out,) or None -> (…, out)."""
    out = _rows(x).dot(weight.T)  # as @ here, with less to find out first; of more dims `dot` would leave BLAS
    if bias is not None:
        out += bias
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], len(weight))


@kernel
def affine_relu(x, weight, bias):
    """max(x Wᵀ + b, 0)."""
    return rectify(affine(x, weight, bias))


@kernel
def affine_to_x(g, weight):
    """g W: (…, out), (out, in) -> (…, in)."""
    out = _rows(g).dot(weight)
    return out if g.ndim == 2 else out.reshape(*g.shape[:-1], weight.shape[1])


@kernel
def affine_to_weight(g, x):
    """gᵀ x, summed over all rows: (…, out), (…, in) -> (out, in)."""
    return _rows(g).T.dot(_rows(x))


@kernel
def affine_to_bias(g):
    """Σg, over all rows: (…, out) -> (out,)."""
    rows = _rows(g)
    ones = np.empty_like(rows, shape=(len(rows),))
    ones[...] = 1
    return ones.dot(rows)  # as a product, their sum goes fastest


def _rows(x):
    """x with all dims but the last merged into one; -1 could not be inferred for an empty x."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def gelu(x):
    """x·Φ(x), where Φ is the normal distribution function (Hendrycks and Gimpel 2016);  d/dx = Φ(x) + x·φ(x)."""
    out, below = gelu_values(x)
    return out, lambda g: (gelu_gradient(g, x, below),)


@partial(elementwise, results=2)
def gelu_values(x):
    """x·Φ(x) and Φ(x), in one pass over memory."""
    below = normal_cdf(x)
    return x * below, below


@elementwise
def normal_cdf(x):
    """Φ(x), how much of the normal distribution lies below x."""
    return 0.5 + 0.5 * _erf(x * _ROOT_HALF)


@elementwise
def gelu_gradient(g, x, below):
    """g·(Φ(x) + x·φ(x)), where φ(x) = e^(−x²/2)/√2π."""
    return g * (below + x * _exp(x * x * -0.5) * _PHI_0)


def logsigmoid(x):
    """log σ(x);  d/dx = σ(−x)."""
    return log_expit(x), lambda g: (g * expit(-x),)


@elementwise
def log_expit(x):
    """log 1/(1 + e⁻ˣ), computed so that no exponential overflows."""
    return _minimum(x, 0) - _log1p(_exp(-_abs(x)))


def cross_entropy(x, target):
    """−log softmax(x)[target]: logits (N, C), class indices (N,) -> (N,);  d/dx = g·(softmax(x) − 1 at the target)."""
    losses, probabilities = nll(x, target)
    return losses, lambda g: (nll_gradient(g, probabilities, target),)


@kernel
def nll(x, target):
    """The losses −log softmax(x)[target] of logits (N, C), and the probabilities softmax(x) for their gradient."""
    x = x - x.max(axis=1, keepdims=True)  # so that no exponential overflows
    probabilities = _exp(x)
    total = probabilities.sum(axis=1)
    probabilities /= total[:, None]
    return _log(total) - x[np.arange(len(x), like=x), target], probabilities


@kernel
def nll_gradient(g, probabilities, target):
    """g·(probabilities − 1 at the target): (N,), (N, C), (N,) -> (N, C)."""
    gradient = g[:, None] * probabilities
    gradient[np.arange(len(g), like=g), target] -= g
    return gradient


def normalize(x, weight, bias, mean, var, eps, dim):
    """weight·x̂ + bias, where x̂ = (x − mean)/√(var + ε), with mean and var of x over dim.

    d/dx = (ĝ − mean ĝ − x̂·mean(ĝ·x̂))/√(var + ε), where ĝ = g·weight;  d/dweight = Σg·x̂,  d/dbias = Σg.
    """
    out = normalized(x, weight, bias, mean, var, eps)
    return out, lambda g: normalized_gradient(g, x, weight, mean, var, eps, dim)


@kernel
def moments(x, dim):
    """Mean and variance of the numbers of x over dim, which stays with size 1."""
    mean = average(x, dim)
    return mean, average(np.square(x - mean), dim)


@kernel
def normalized(x, weight, bias, mean, var, eps):
    """weight·(x − mean)/√(var + ε) + bias, where all of them broadcast against x."""
    return (x - mean) * (weight / np.sqrt(var + eps)) + bias


@kernel
def normalized_gradient(g, x, weight, mean, var, eps, dim):
    """The gradients of normalized with respect to x, weight and bias, with mean and var being those of x over dim."""
    scale = 1 / np.sqrt(var + eps)
    unit = (x - mean) * scale
    to_unit = g * weight
    to_x = (to_unit - average(to_unit, dim) - unit * average(to_unit * unit, dim)) * scale
    return to_x, unbroadcast(g * unit, weight.shape), unbroadcast(g, weight.shape)
