"""Rules that select, reorder or scatter numbers, or accumulate them along a dim.

Those that find indices, such as `order`, are functions of arrays: an index has no derivative. The numbers at indices
are then taken by a rule, so that sort, topk and median share the derivative of `gather`.
"""

import math
from string import ascii_letters

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .device import within
from .ops import _restored, _sizes, add_at, dims_of, matmul, new_zeros
from .pointwise import signs


def one_dim(dim, ndim):
    """A dim counted from 0; a number has one, as in PyTorch."""
    return normalize_axis_index(dim, ndim or 1)


# Indices


def order(x, dim=-1, descending=False):
    """The indices that sort x along dim, in descending order if asked; the sort is stable."""
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)


def argmax(x, dim=None, keepdim=False):
    """The index of the largest number along dim, or in the flattened x; of equal ones the first."""
    return _extreme_place(x, np.argmax, dim, keepdim)


def argmin(x, dim=None, keepdim=False):
    """The index of the smallest number along dim, or in the flattened x; of equal ones the first."""
    return _extreme_place(x, np.argmin, dim, keepdim)


def _extreme_place(x, find, dim, keepdim):
    if dim is None:
        place = find(x.reshape(-1), axis=0)
        return place.reshape((1,) * x.ndim) if keepdim else place
    if not x.ndim:
        return np.zeros_like(x, np.int64)
    dim = normalize_axis_index(dim, x.ndim)
    place = find(x, axis=dim)
    return np.expand_dims(place, dim) if keepdim else place


def middle(x, dim):
    """The index of the median along dim, of two the smaller, or of the first NaN; dim is kept with size 1."""
    nan = np.isnan(x)
    first = np.expand_dims(nan.argmax(axis=dim), dim)
    return np.where(nan.any(axis=dim, keepdims=True), first, part(order(x, dim), dim, (x.shape[dim] - 1) // 2, 1))


def places_of(ndim, dim, index):
    """The index that is `index` along dim and a full slice of the other dims."""
    return (*(slice(None),) * one_dim(dim, ndim), index)


def part(x, dim, start, length):
    """`length` parts of x along dim from start on."""
    return x[places_of(x.ndim, dim, slice(start, start + length))]


def _index_of(places, dim):
    """The index that selects, along dim, the given places, and in the other dims the place itself."""
    index = [
        np.arange(n, like=places).reshape([-1 if i == j else 1 for j in range(places.ndim)])
        for i, n in enumerate(places.shape)
    ]
    index[dim] = places
    return tuple(index)


def counted(places, size):
    """Indices with those below 0 counted from the end."""
    return np.where(places < 0, places + size, places)


def _checked(places, size):
    """The indices; TypeError unless they are integers, IndexError if one is out of range."""
    if places.dtype.kind not in "iu":
        raise TypeError(f"wanted indices as integers, got {places.dtype}")
    if not within(places, size):
        raise IndexError(f"wanted indices from 0 to {size - 1}, got some from {places.min()} to {places.max()}")
    return places


def _gathering(x, dim, index):
    """The index of NumPy's for `gather`."""
    dim = normalize_axis_index(dim, x.ndim)
    if index.ndim != x.ndim or any(n > m for i, (n, m) in enumerate(zip(index.shape, x.shape)) if i != dim):
        raise ValueError(f"wanted an index of no larger sizes, but at dim {dim}, got one of {index.shape}")
    return _index_of(_checked(index, x.shape[dim]), dim)


# Gathering


def gather(x, dim, index):
    """out[i, j] = x[index[i, j], j] for dim 0, x[i, index[i, j]] for dim 1;  each gets the sum of its gradients."""
    places, shape = _gathering(x, dim, index), x.shape

    def backward(g):
        gradient = np.zeros_like(g, shape=shape)
        add_at(gradient, places, g)
        return (gradient,)

    return x[places], backward


def index_select(x, dim, index):
    """The parts of x at the indices along dim;  each gets the sum of its gradients."""
    dim = normalize_axis_index(dim, x.ndim)
    index, shape = _checked(index.reshape(-1), x.shape[dim]), x.shape

    def backward(g):
        gradient = np.zeros_like(g, shape=shape)
        add_at(gradient, (*(slice(None),) * dim, index), g)
        return (gradient,)

    return np.take(x, index, axis=dim), backward


def take(x, index):
    """out[i] = x.flatten()[index[i]]."""
    (out, backward), shape = index_select(x.reshape(-1), 0, index), x.shape
    return out.reshape(index.shape), lambda g: (backward(g.reshape(-1))[0].reshape(shape),)


def masked_select(x, mask):
    """The numbers of x where the mask is true, as a 1-D array; both broadcast;  the gradient is scattered back."""
    mask = np.broadcast_to(mask, np.broadcast_shapes(x.shape, mask.shape))
    wide = np.broadcast_to(x, mask.shape)

    def backward(g):
        gradient = np.zeros_like(g, shape=mask.shape)
        gradient[mask] = g
        return (gradient,)

    return wide[mask], backward


def median(x):
    """The median of all numbers of x, of two the smaller;  equal numbers share the gradient."""
    if not x.size:
        return new_zeros(x, ()) + x.dtype.type(np.nan), lambda g: (np.zeros_like(x),)
    row = np.sort(x.reshape(-1))  # NaN last
    return _one_of(x, np.where(np.isnan(row[-1]), row[-1], row[(x.size - 1) // 2]))


def largest(x):
    """The largest of all numbers of x, or NaN;  equal numbers share the gradient."""
    return _one_of(x, x.max())


def smallest(x):
    """The smallest of all numbers of x, or NaN;  equal numbers share the gradient."""
    return _one_of(x, x.min())


def _one_of(x, out):
    chosen = (x == out) | ((x != x) & (out != out))
    return out, lambda g: (np.where(chosen, g / chosen.sum(), 0),)


# Scattering


def scatter(x, source, dim, index):
    """x with out[index[i, j], j] = source[i, j] for dim 0, and so on, as `gather` reads;  each gets what it gave."""
    out, places = x.copy(), _gathering(x, dim, index)
    out[places] = _corner(source, index)
    return out, lambda g: (lambda: _without(g, places), lambda: _cornered(g[places], source))


def scatter_add(x, source, dim, index):
    """x with source[i, j] added to out[index[i, j], j] for dim 0, and so on;  d/dx = 1,  d/dsource = 1."""
    out, places = x.copy(), _gathering(x, dim, index)
    add_at(out, places, _corner(source, index))
    return out, lambda g: (g, lambda: _cornered(g[places], source))


def index_copy(x, source, dim, index):
    """x with out[index[i]] = source[i] along dim;  each gets the gradient of what it gave."""
    out, places = x.copy(), places_of(x.ndim, dim, _checked(index, x.shape[dim]))
    out[places] = source
    return out, lambda g: (lambda: _without(g, places), lambda: g[places])


def index_add(x, source, dim, index, alpha=1):
    """x with α·source[i] added to out[index[i]] along dim;  d/dx = 1,  d/dsource = α."""
    out, places = x.copy(), places_of(x.ndim, dim, _checked(index, x.shape[dim]))
    add_at(out, places, alpha * source)
    return out, lambda g: (g, lambda: g[places] * alpha)


def _without(g, places):
    """g with 0 at the indices."""
    gradient = g.copy()
    gradient[places] = 0
    return gradient


def _corner(source, index):
    """The part of the source that an index of its dims, and of no larger sizes, reads; a number is read everywhere."""
    if np.ndim(source) and (source.ndim != index.ndim or any(n > m for n, m in zip(index.shape, source.shape))):
        raise ValueError(f"wanted a source of at least the index's sizes {index.shape}, got {source.shape}")
    return source[tuple(slice(n) for n in index.shape)] if np.ndim(source) else source


def _cornered(g, source):
    """g in the part of the source that was read, 0 beside it."""
    gradient = np.zeros_like(g, shape=source.shape)
    gradient[tuple(slice(n) for n in g.shape)] = g
    return gradient


# Along a dim


def cumsum(x, dim):
    """out[i] = x[0] + … + x[i] along dim;  d/dx[i] = Σg[j] over j ≥ i."""
    dim = normalize_axis_index(dim, x.ndim)
    out = x.cumsum(dim, None if x.dtype.kind == "f" else np.int64)
    return out, lambda g: (np.flip(np.cumsum(np.flip(g, dim), axis=dim), dim),)


def cumprod(x, dim):
    """out[i] = x[0]·…·x[i] along dim;  d/dx[i] = x[0]·…·x[i−1]·s[i], where s[i] = g[i] + x[i+1]·s[i+1]."""
    dim = normalize_axis_index(dim, x.ndim)

    def backward(g):
        sums, numbers = np.moveaxis(g.copy(), dim, 0), np.moveaxis(x, dim, 0)
        for i in range(len(sums) - 2, -1, -1):
            sums[i] += np.where(numbers[i + 1] == 0, 0, numbers[i + 1] * sums[i + 1])
        before = _products_before(x, dim)
        return (np.where(before == 0, 0, before * np.moveaxis(sums, 0, dim)),)

    return x.cumprod(dim, None if x.dtype.kind == "f" else np.int64), backward


def _products_before(x, dim):
    """x[0]·…·x[i−1] along dim for each i."""
    n = x.shape[dim]
    return np.cumprod(np.concatenate([np.ones_like(part(x, dim, 0, 1)), part(x, dim, 0, n - 1)], axis=dim), axis=dim)


def prod(x, dim=None, keepdim=False):
    """The product of x along dim, or of all;  d/dx[i] = the product of all others, in two parts: before i and after."""
    if dim is None or not x.ndim:
        (out, backward), shape = prod(x.reshape(-1), 0), x.shape
        return out, lambda g: (backward(g)[0].reshape(shape),)
    dim = normalize_axis_index(dim, x.ndim)

    def backward(g):
        others = _products_before(x, dim) * np.flip(_products_before(np.flip(x, dim), dim), dim)
        none = (x == 0).sum(axis=dim, keepdims=True) > (x == 0)  # a 0 among the others
        return (np.where(none, 0, _restored(g, dim, keepdim) * others),)

    return np.multiply.reduce(x, dim, None if x.dtype.kind == "f" else np.int64, keepdims=keepdim), backward


def norm(x, p=2, dim=None, keepdim=False):
    """(Σ|x|ᵖ)^(1/p) over dim, the largest |x| for p = ∞, the smallest for −∞, and how many aren't 0 for p = 0.

    d/dx = the sign of x·(|x|/norm)^(p−1), and 0 where the norm is 0; for ±∞ in equal shares to the largest.
    """
    dim, size = dims_of(x, dim), np.abs(x)
    if math.isinf(p):
        kept = (size.max if p > 0 else size.min)(axis=dim, keepdims=True)
        chosen = (size == kept) | (np.isnan(size) & np.isnan(kept))
    elif p == 0:
        kept = (x != 0).sum(axis=dim, keepdims=True).astype(x.dtype)
    elif p == 2:
        kept = np.sqrt(np.add.reduce(x * x, axis=dim, keepdims=True))
    elif p == 1:
        kept = size.sum(axis=dim, keepdims=True)
    else:
        kept = np.add.reduce(size**p, axis=dim, keepdims=True) ** (1 / p)

    def backward(g):
        g = _restored(g, dim, keepdim)
        if math.isinf(p):
            return (np.where(chosen, signs(x) * (g / chosen.sum(axis=dim, keepdims=True)), 0),)
        if p == 0:
            return (np.zeros_like(x),)
        whole = np.where(kept == 0, 1, kept)
        ratio = x / whole if p == 2 else signs(x) * np.where(x == 0, 1, size / whole) ** (p - 1)
        return (g * ratio,)

    return kept if keepdim else kept.squeeze(axis=dim), backward


# Rearranging


def flip(x, dims):
    """x reversed along the dims."""
    dims = normalize_axis_tuple(dims, x.ndim) if x.ndim else ()
    return np.flip(x, dims).copy(), lambda g: (np.flip(g, dims),)


def roll(x, shifts, dims=()):
    """x shifted along the dims, where the end wraps around to the front; without dims, the flattened x."""
    shifts = tuple(shifts) if isinstance(shifts, tuple | list) else (shifts,)
    dims = tuple(dims) if isinstance(dims, tuple | list) else (dims,)
    if len(shifts) != len(dims) and (dims or len(shifts) != 1):
        raise ValueError(f"wanted a shift for each dim, got {shifts} for {dims}")
    back = tuple(-n for n in shifts)
    axis, there, back = (dims, shifts, back) if dims and x.ndim else (None, shifts[0], back[0])
    return np.roll(x, there, axis), lambda g: (np.roll(g, back, axis),)


def rot90(x, k=1, dims=(0, 1)):
    """x rotated by k·90° from the first of two dims towards the second."""
    return np.rot90(x, k, dims).copy(), lambda g: (np.rot90(g, -k, dims),)


def tril(x, diagonal=0):
    """The lower triangle of each matrix, up to a diagonal, and 0 above."""
    return np.tril(_matrices(x), diagonal), lambda g: (np.tril(g, diagonal),)


def triu(x, diagonal=0):
    """The upper triangle of each matrix, from a diagonal on, and 0 below."""
    return np.triu(_matrices(x), diagonal), lambda g: (np.triu(g, diagonal),)


def _matrices(x):
    if x.ndim < 2:
        raise ValueError(f"wanted matrices, got {x.shape}")
    return x


def diagonal(x, offset=0, dim1=0, dim2=1):
    """A diagonal of the matrices in two dims, as the last dim;  the gradient goes back to it."""
    (dim1, dim2), shape = normalize_axis_tuple((dim1, dim2), x.ndim), x.shape

    def backward(g):
        gradient = np.zeros_like(g, shape=shape)
        np.moveaxis(gradient, (dim1, dim2), (-2, -1))[_on_diagonal(g, offset)] = g
        return (gradient,)

    return np.diagonal(x, offset, dim1, dim2), backward


def diag_embed(x, offset=0, dim1=-2, dim2=-1):
    """Matrices in two dims with the last dim of x on a diagonal, and 0 elsewhere."""
    n = x.shape[-1] + abs(offset)
    dims = normalize_axis_tuple((dim1, dim2), x.ndim + 1)
    matrices = np.zeros_like(x, shape=(*x.shape[:-1], n, n))
    matrices[_on_diagonal(x, offset)] = x
    return np.moveaxis(matrices, (-2, -1), dims), lambda g: (np.diagonal(g, offset, *dims),)


def _on_diagonal(x, offset):
    """The index of a diagonal in the last two dims, which holds the last dim of x."""
    steps = np.arange(x.shape[-1], like=x)
    return ..., steps + max(-offset, 0), steps + max(offset, 0)


def repeat(x, *sizes):
    """x repeated along each dim, with new dims in front if there are more sizes;  the gradients add up."""
    sizes = tuple(_sizes(sizes))
    if len(sizes) < x.ndim or any(n < 0 for n in sizes):
        raise ValueError(f"wanted how often for each of {x.ndim} dims or more, got {sizes}")
    shape = x.shape
    pairs = [n for pair in zip(sizes, (1,) * (len(sizes) - x.ndim) + shape) for n in pair]
    return np.tile(x, sizes), lambda g: (g.reshape(pairs).sum(axis=tuple(range(0, len(pairs), 2))).reshape(shape),)


def unfold(x, dimension, size, step):
    """All windows of a size along a dim, a step apart: the dim has their number, a new last dim their elements."""
    dim = normalize_axis_index(dimension, x.ndim)
    if size > x.shape[dim]:
        raise ValueError(f"wanted windows of at most {x.shape[dim]}, got {size}")
    places = np.arange(0, x.shape[dim] - size + 1, step, like=x)[:, None] + np.arange(size, like=x)
    out, backward = index_select(x, dim, places)
    flat, shape = out.shape, (*out.shape[:dim], *places.shape, *out.shape[dim + 1 :])
    windows = np.moveaxis(out.reshape(shape), dim + 1, -1)
    windows = np.broadcast_to(windows, windows.shape)  # read-only: in PyTorch what is written there changes x
    return windows, lambda g: backward(np.moveaxis(g, -1, dim + 1).reshape(flat))


# Products


def outer(x, y):
    """out[i, j] = x[i]·y[j];  d/dx = g y,  d/dy = gᵀ x."""
    return x[:, None] * y, lambda g: (g @ y, x @ g)


def addmm(x, y, z, *, beta=1, alpha=1):
    """β·x + α·y z, where x is left out if β = 0;  d/dx = β, and those of the product times α."""
    product, backward = matmul(y, z)
    product = product * alpha
    to_x = np.broadcast_to(x, product.shape)
    out = product if beta == 0 else to_x * beta + product
    return out, lambda g: (g * beta if beta else np.zeros_like(g), *backward(g * alpha))


def einsum(*operands, equation):
    """Products of the operands, with the labels of the equation (`ij,jk->ik`), summed over those not in its result.

    The gradient of an operand is such a sum too: of g and the other operands, with the operand's labels as result.
    """
    terms, result = subscripts(equation, [x.ndim for x in operands])
    pairs = [(label, n) for term, x in zip(terms, operands) for label, n in zip(term, x.shape)]
    sizes = dict(sorted(pairs, key=lambda pair: pair[1] != 1))  # the 1 of a dim that is repeated first

    def gradient(g, i):
        labels = "".join(dict.fromkeys(terms[i]))  # each once
        sources, arrays = [result, *terms[:i], *terms[i + 1 :]], [g, *operands[:i], *operands[i + 1 :]]
        known = [label for label in labels if label in "".join(sources)]
        out = _einsum(sources, "".join(known), arrays)
        out = out[tuple(slice(None) if label in known else None for label in labels)]  # others were summed
        return _spread(np.broadcast_to(out, [sizes[label] for label in labels]), labels, terms[i])

    return _einsum(terms, result, operands), lambda g: tuple([lambda i=i: gradient(g, i) for i in range(len(operands))])


def _einsum(terms, result, arrays):
    return np.einsum(f"{','.join(terms)}->{result}", *arrays, optimize=len(arrays) > 1)


def _spread(x, labels, term):
    """x, whose dims have these labels, with a dim for each label of the term: on diagonals, where one stands twice."""
    if labels == term:
        return x
    sizes = dict(zip(labels, x.shape))
    steps = dict(zip(labels, np.ix_(*(range(n) for n in x.shape))))
    out = np.zeros_like(x, shape=[sizes[label] for label in term])
    out[tuple(np.asarray(steps[label], like=x) for label in term)] = x
    return out


def subscripts(equation, ndims):
    """The labels of each operand and of the result, one letter a dim, with letters in the place of "..."."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"{equation}: wanted {len(terms)} operands, got {len(ndims)}")
    free = [label for label in ascii_letters if label not in equation]
    hidden = [n - len(term.replace("...", "")) if "..." in term else 0 for term, n in zip(terms, ndims)]
    dots = "".join(free[: max(hidden)])
    if not arrow:
        once = sorted(label for label in set(left) - set(".,") if left.count(label) == 1)
        result = "..." * ("..." in left) + "".join(once)
    terms = [term.replace("...", dots[len(dots) - n :]) for term, n in zip(terms, hidden)]
    for term, n in zip(terms, ndims):
        if len(term) != n:
            raise ValueError(f"{equation}: {len(term)} labels for an operand of {n} dims")
    return terms, result.replace("...", dots)
