"""PyTorch's functions that do more than call a rule; `aliases.py` exports them, also as methods.

Indices, masks and other inputs without a gradient are passed to a rule as arrays. Functions that return several tensors
call rules that return one: `sort` finds the indices and gathers at them, `split` takes slice after slice.
"""

from collections import namedtuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from . import ops, pointwise, selection
from .engine import Tensor, _failed, _unwrapped, apply, array_of, constant

Ranked = namedtuple("Ranked", "values indices")
Extremes = namedtuple("Extremes", "min max")


def _of_two(rule):
    """The function of two tensors, or of a tensor and a number, that applies a rule."""

    def function(input, other):
        return apply(rule, (input, other))

    function.__name__, function.__doc__ = rule.__name__, rule.__doc__
    return function


def _asking(function, name=None):
    """The function that returns the result of a NumPy function as a constant."""

    def asked(input):
        return constant(function(_unwrapped(input)))

    asked.__name__ = name or function.__name__
    return asked


def _combining(function):
    """The function that returns the result of a NumPy function of two arrays as a constant."""

    def combined(input, other):
        return constant(function(_unwrapped(input), _unwrapped(other)))

    combined.__name__ = function.__name__
    return combined


def _row(x):
    """A 0-d tensor as a 1-D tensor of one element."""
    return x if x.ndim else x.reshape(1)


def _size(x, dim):
    return _row(x).shape[selection.one_dim(dim, x.ndim)]


# Order


def _found(op, input, find):
    """`find` of the array of input; its errors name the op and the input."""
    try:
        return find(input._data)
    except (ValueError, IndexError, TypeError) as error:
        raise _failed(op, (input,), error) from None


def _ranked(op, input, dim, keepdim, find):
    """(values, indices), where `find` returns the indices for the array of input."""
    places, dim = _found(op, _row(input), find), selection.one_dim(dim, input.ndim)
    values = apply(selection.gather, (_row(input),), dim, places)
    shape = () if not input.ndim else values.shape if keepdim else (*values.shape[:dim], *values.shape[dim + 1 :])
    return Ranked(values.reshape(shape), constant(places.reshape(shape)))


def max(input, dim=None, keepdim=False):
    """The largest number; with dim (values, indices) along it; with a Tensor the larger of both, as `torch.max`."""
    if isinstance(dim, Tensor):
        return input.maximum(dim)
    if dim is None:
        return apply(selection.largest, (input,))
    return _ranked("max", input, dim, keepdim, lambda x: selection.argmax(x, dim, True))


def min(input, dim=None, keepdim=False):
    """The smallest number; with dim (values, indices) along it; with a Tensor the smaller of both, as `torch.min`."""
    if isinstance(dim, Tensor):
        return input.minimum(dim)
    if dim is None:
        return apply(selection.smallest, (input,))
    return _ranked("min", input, dim, keepdim, lambda x: selection.argmin(x, dim, True))


def aminmax(input, *, dim=None, keepdim=False):
    """The smallest and the largest number."""
    return Extremes(input.amin(dim, keepdim), input.amax(dim, keepdim))


def argmax(input, dim=None, keepdim=False):
    """The index of the largest number along dim, or of all."""
    return constant(_found("argmax", input, lambda x: selection.argmax(x, dim, keepdim)))


def argmin(input, dim=None, keepdim=False):
    """The index of the smallest number along dim, or of all."""
    return constant(_found("argmin", input, lambda x: selection.argmin(x, dim, keepdim)))


def argsort(input, dim=-1, descending=False, *, stable=False):
    """The indices that sort the numbers along dim; the sort is always stable."""
    return sort(input.detach(), dim, descending).indices


def sort(input, dim=-1, descending=False, *, stable=False):
    """(values, indices) of the numbers sorted along dim; the sort is always stable."""
    return _ranked("sort", input, dim, True, lambda x: selection.order(x, dim, descending))


def msort(input):
    """The numbers sorted along the first dim."""
    return sort(input, 0).values


def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest along dim, or smallest; always sorted."""
    if not 0 <= k <= _size(input, dim):
        raise ValueError(f"topk: wanted k from 0 to {_size(input, dim)}, got {k}")
    return _ranked("topk", input, dim, True, lambda x: selection.part(selection.order(x, dim, largest), dim, 0, k))


def kthvalue(input, k, dim=-1, keepdim=False):
    """(values, indices) of the k-th smallest along dim, counted from 1."""
    if not 1 <= k <= _size(input, dim):
        raise ValueError(f"kthvalue: wanted k from 1 to {_size(input, dim)}, got {k}")
    return _ranked("kthvalue", input, dim, keepdim, lambda x: selection.part(selection.order(x, dim), dim, k - 1, 1))


def median(input, dim=None, keepdim=False):
    """The median of all, of two the smaller; with dim (values, indices) along it; NaN if any is NaN."""
    if dim is None:
        return apply(selection.median, (input,))
    return _ranked("median", input, dim, keepdim, lambda x: selection.middle(x, dim))


# Taking and putting


def where(condition, input=None, other=None):
    """input where the condition is true, else other; given only the condition, the indices at which it is true."""
    if input is None:
        return nonzero(condition, as_tuple=True)
    return apply(ops.where, (input, other), array_of(condition))


def gather(input, dim, index, *, sparse_grad=False):
    """out[i, j] = input[index[i, j], j] for dim 0, input[i, index[i, j]] for dim 1, as `torch.gather`."""
    index = array_of(index)
    if not index.size:
        return input.reshape(-1)[:0].reshape(index.shape)
    if not input.ndim or not index.ndim:
        return gather(_row(input), dim, index.reshape(-1)).reshape(index.shape)
    return apply(selection.gather, (input,), dim, index)


def take_along_dim(input, indices, dim=None):
    """`gather`, where input and indices broadcast in the other dims; without dim, from input as one row."""
    indices = array_of(indices)
    if dim is None:
        return gather(input.reshape(-1), 0, selection.counted(indices.reshape(-1), input._data.size))
    if input.ndim != indices.ndim:
        raise ValueError(f"take_along_dim: wanted as many dims, got {tuple(input.shape)} and {indices.shape}")
    dim = selection.one_dim(dim, input.ndim)
    shape = np.broadcast_shapes(*[(*x.shape[:dim], 1, *x.shape[dim + 1 :]) for x in (input, indices)])

    def wide(x):
        return *shape[:dim], x.shape[dim], *shape[dim + 1 :]

    places = np.broadcast_to(selection.counted(indices, input.shape[dim]), wide(indices))
    return gather(input.expand(wide(input)), dim, places)


def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """input with out[index[i, j], j] = src[i, j] for dim 0, and so on; of equal indices, the last one counts."""
    source = value if src is None else src
    if reduce not in (None, "add"):
        raise NotImplementedError(f"scatter: wanted reduce=None or 'add', got {reduce!r}")
    return _put(selection.scatter if reduce is None else selection.scatter_add, input, source, dim, index)


def scatter_add(input, dim, index, src):
    """input with src[i, j] added to out[index[i, j], j] for dim 0, and so on."""
    return _put(selection.scatter_add, input, src, dim, index)


def index_select(input, dim, index):
    """The parts of input at the indices along dim."""
    out = apply(selection.index_select, (_row(input),), dim, array_of(index))
    return out if input.ndim else out.reshape(())


def index_add(input, dim, index, source, *, alpha=1):
    """input with α·source[i] added at index[i] along dim."""
    return _put(selection.index_add, input, source, dim, index, alpha)


def index_copy(input, dim, index, source):
    """input with source[i] at index[i] along dim."""
    return _put(selection.index_copy, input, source, dim, index)


def index_fill(input, dim, index, value):
    """input with one number at the indices along dim."""
    mask, dim = np.zeros_like(input._data, bool, shape=_size(input, dim)), selection.one_dim(dim, input.ndim)
    mask[array_of(index)] = True
    return masked_fill(input, mask.reshape([-1 if i == dim else 1 for i in range(input.ndim)]), value)


def _put(rule, input, source, dim, index, *options):
    """A rule applied to input and source; a 0-d tensor is treated as a 1-D tensor of one element."""
    index = array_of(index)
    if not index.size:
        return input.clone()
    if not input.ndim or not index.ndim:
        source = source.reshape(-1) if isinstance(source, Tensor) and not input.ndim else source
        return _put(rule, _row(input), source, dim, index.reshape(-1), *options).reshape(input.shape)
    return apply(rule, (input, source), dim, index, *options)


def take(input, index):
    """The numbers at the indices in the flattened input."""
    return apply(selection.take, (input,), selection.counted(array_of(index), input._data.size))


def masked_select(input, mask):
    """The numbers where the mask is true, as a 1-D tensor."""
    return apply(selection.masked_select, (input,), array_of(mask))


def masked_fill(input, mask, value):
    """input with one number where the mask is true."""
    return apply(pointwise.masked_fill, (input, value), array_of(mask))


def narrow(input, dim, start, length):
    """`length` parts of input along dim, from start on; start may be a Tensor of one integer."""
    n, start = _size(input, dim), int(start)
    start = start + n if start < 0 else start
    if not 0 <= start <= start + length <= n:
        raise IndexError(f"narrow: wanted a part of 0 to {n} of dim {dim}, got {start} to {start + length}")
    return input[selection.places_of(input.ndim, dim, slice(start, start + length))]


def select(input, dim, index):
    """The part of input at an index along dim, without that dim."""
    return input[selection.places_of(input.ndim, dim, int(index))]


def unbind(input, dim=0):
    """The parts along dim, without that dim, as a tuple."""
    return tuple([select(input, dim, i) for i in range(input.shape[dim])])


def split(tensor, split_size_or_sections, dim=0):
    """Parts along dim of a size, of which the last may be smaller, or of the given sizes, as a tuple."""
    n, sizes = _size(tensor, dim), split_size_or_sections
    if isinstance(sizes, int):
        sizes = [size for i in range(0, n, sizes or 1) if (size := sizes if i + sizes < n else n - i)] or [0]
    if sum(sizes) != n:
        raise ValueError(f"split: wanted sizes that add up to {n}, got {tuple(sizes)}")
    return tuple([narrow(tensor, dim, sum(sizes[:i]), size) for i, size in enumerate(sizes)])


def chunk(input, chunks, dim=0):
    """At most that many parts along dim, all of one size except the last, as a tuple."""
    if chunks < 1:
        raise ValueError(f"chunk: wanted at least 1 part, got {chunks}")
    n = _size(input, dim)
    return split(input, -(-n // chunks), dim) if n else (input,) * chunks


def tensor_split(input, indices_or_sections, dim=0):
    """Parts along dim, so many of about one size, or cut at the indices, as a tuple."""
    n, cuts = _size(input, dim), array_of(indices_or_sections).tolist()
    if isinstance(cuts, int):
        small, larger = divmod(n, cuts)
        cuts = [small * i + (i if i < larger else larger) for i in range(1, cuts)]
    cuts = [0, *(cut if cut < n else n for cut in (cut + n if cut < 0 else cut for cut in cuts)), n]
    pairs = [(first, last if last > first else first) for first, last in zip(cuts, cuts[1:])]
    return tuple([narrow(input, dim, first, last - first) for first, last in pairs])


# Shapes


def _counts(repeats):
    """How often, as a number or a list of them, which is what other arrays than NumPy's take."""
    return repeats if isinstance(repeats, int) else array_of(repeats).tolist()


def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each slice along dim repeated, or each element of the flattened input; given only counts, their indices."""
    if repeats is None:
        return constant(np.repeat(np.arange(len(input), like=input._data), _counts(input)))
    if dim is None:
        input, dim = input.reshape(-1), 0
    places = np.arange(_size(input, dim), like=input._data)
    return apply(selection.index_select, (input,), dim, np.repeat(places, _counts(repeats)))


def tile(input, *each, dims=None):
    """input repeated along each dim; missing repeats, of the first dims, are 1."""
    dims = ops._sizes(each) if dims is None else dims
    return input.repeat(*(1,) * (input.ndim - len(dims)), *dims)


def flip(input, *each, dims=None):
    """input reversed along the dims."""
    return apply(selection.flip, (input,), ops._sizes(each) if dims is None else dims)


def movedim(input, source, destination):
    """input with the dims at source moved to destination, the others in their order."""
    source, destination = (normalize_axis_tuple(dims, input.ndim, "movedim") for dims in (source, destination))
    order = [dim for dim in range(input.ndim) if dim not in source]
    for to, dim in sorted(zip(destination, source)):
        order.insert(to, dim)
    return input.permute(order)


def unfold(input, dimension, size, step):
    """All windows of a size along a dim, a step apart: the dim has their number, a new last dim their elements."""
    windows = apply(selection.unfold, (_row(input),), dimension, size, step)
    return windows if input.ndim else windows[0]


def fliplr(input):
    """input reversed along dim 1."""
    return input.flip(1)


def flipud(input):
    """input reversed along dim 0."""
    return input.flip(0)


def diag(input, diagonal=0):
    """A matrix with input on a diagonal or, of a matrix, a diagonal."""
    if input.ndim not in (1, 2):
        raise ValueError(f"diag: wanted one dim or two, got {tuple(input.shape)}")
    return apply(selection.diag_embed if input.ndim == 1 else selection.diagonal, (input,), diagonal)


def trace(input):
    """Σ of the diagonal of a matrix."""
    _wanted("trace", input, 2)
    return input.diagonal().sum()


def meshgrid(*tensors, indexing="ij"):
    """A grid for each 1-D tensor, varying along its dim; with "xy" the first two dims are swapped."""
    tensors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], tuple | list) else tensors
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: wanted indexing 'ij' or 'xy', got {indexing!r}")
    sizes = [x.shape[0] if x.ndim else 1 for x in tensors]
    grids = [x.reshape([-1 if i == j else 1 for j in range(len(sizes))]).expand(*sizes) for i, x in enumerate(tensors)]
    return tuple([x.transpose(0, 1) if indexing == "xy" and len(sizes) > 1 else x for x in grids])


def hstack(tensors):
    """Tensors concatenated along dim 1, or along the only dim."""
    tensors = [x if x.ndim else x.reshape(1) for x in tensors]
    return apply(ops.cat, tensors, dim=0 if tensors[0].ndim == 1 else 1)


def vstack(tensors):
    """Tensors concatenated along dim 0; 1-D tensors are rows."""
    return apply(ops.cat, [x if x.ndim > 1 else x.reshape(1, -1) for x in tensors], dim=0)


# Arithmetic


def div(input, other, *, rounding_mode=None):
    """input/other, rounded towards 0 ("trunc"), down ("floor") or not at all."""
    rules = {None: ops.div, "trunc": pointwise.trunc_divide, "floor": pointwise.floor_divide}
    if rounding_mode not in rules:
        raise ValueError(f"div: wanted rounding_mode None, 'trunc' or 'floor', got {rounding_mode!r}")
    return apply(rules[rounding_mode], (input, other))


atan2, hypot = _of_two(pointwise.atan2), _of_two(pointwise.hypot)
logaddexp, xlogy = _of_two(pointwise.logaddexp), _of_two(pointwise.xlogy)
fmod, remainder, floor_divide = map(_of_two, (pointwise.fmod, pointwise.remainder, pointwise.floor_divide))


def lerp(input, end, weight):
    """input + weight·(end − input)."""
    return apply(pointwise.lerp, (input, end, weight))


def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value·tensor1·tensor2."""
    return apply(pointwise.addcmul, (input, tensor1, tensor2), value=value)


def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value·tensor1/tensor2."""
    return apply(pointwise.addcdiv, (input, tensor1, tensor2), value=value)


def clamp_min(input, min):
    """input, but at least min."""
    return apply(pointwise.clamp_min, (input, min))


def clamp_max(input, max):
    """input, but at most max."""
    return apply(pointwise.clamp_max, (input, max))


def clamp(input, min=None, max=None):
    """input, but at least min and then at most max, which may be Tensors."""
    if min is None and max is None:
        raise ValueError("clamp: wanted min, max or both, got neither")
    if max is None:
        return clamp_min(input, min)
    return clamp_max(input, max) if min is None else apply(pointwise.clamp, (input, min, max))


def prod(input, dim=None, keepdim=False):
    """The product along dim, or of all."""
    return apply(selection.prod, (input,), dim, keepdim)


def cumsum(input, dim):
    """out[i] = input[0] + … + input[i] along dim."""
    return _along(selection.cumsum, input, dim)


def cumprod(input, dim):
    """out[i] = input[0]·…·input[i] along dim."""
    return _along(selection.cumprod, input, dim)


def _along(rule, input, dim):
    out = apply(rule, (_row(input),), dim)
    return out if input.ndim else out.reshape(())


def norm(input, p="fro", dim=None, keepdim=False):
    """(Σ|x|ᵖ)^(1/p) over dim; "fro" is p = 2."""
    if isinstance(p, str) and p != "fro":
        raise NotImplementedError(f"norm: wanted a number or 'fro' as p, got {p!r}")
    return apply(selection.norm, (input,), 2 if p in ("fro", None) else p, dim, keepdim)


def dist(input, other, p=2):
    """The norm of input − other."""
    return norm(input - other, p)


def cdist(x1, x2, p=2.0, compute_mode=None):
    """The norm of each row of x1 minus each of x2: (…, n, k), (…, m, k) -> (…, n, m); all compute modes are one."""
    return norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The variance and the mean over dim."""
    return _with_mean(input.var, input, dim, unbiased, keepdim, correction)


def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The standard deviation and the mean over dim."""
    return _with_mean(input.std, input, dim, unbiased, keepdim, correction)


def _with_mean(spread, input, dim, unbiased, keepdim, correction):
    if isinstance(dim, bool):  # the overload without a dim
        dim, unbiased = None, dim
    correction = 1 if correction is None else correction
    correction = correction if unbiased is None else int(unbiased)
    return spread(dim, correction=correction, keepdim=keepdim), input.mean(dim, keepdim)


# Products


def _wanted(op, x, ndim):
    if x.ndim != ndim:
        raise ValueError(f"{op}: wanted {ndim} dims, got {tuple(x.shape)}")
    return x


def dot(input, tensor):
    """Σ input·tensor of two 1-D tensors."""
    return _wanted("dot", input, 1) @ _wanted("dot", tensor, 1)


def mv(input, vec):
    """A matrix times a column."""
    return _wanted("mv", input, 2) @ _wanted("mv", vec, 1)


def mm(input, mat2):
    """The product of two matrices."""
    return _wanted("mm", input, 2) @ _wanted("mm", mat2, 2)


def bmm(input, mat2):
    """The products of the matrices of two batches of one size."""
    if input.shape[:1] != mat2.shape[:1]:
        raise ValueError(f"bmm: wanted batches of one size, got {tuple(input.shape)} and {tuple(mat2.shape)}")
    return _wanted("bmm", input, 3) @ _wanted("bmm", mat2, 3)


def outer(input, vec2):
    """out[i, j] = input[i]·vec2[j]."""
    return apply(selection.outer, (_wanted("outer", input, 1), _wanted("outer", vec2, 1)))


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """β·input + α·mat1 mat2."""
    return apply(selection.addmm, (input, _wanted("addmm", mat1, 2), _wanted("addmm", mat2, 2)), beta=beta, alpha=alpha)


def addmv(input, mat, vec, *, beta=1, alpha=1):
    """β·input + α·mat vec."""
    return apply(selection.addmm, (input, _wanted("addmv", mat, 2), _wanted("addmv", vec, 1)), beta=beta, alpha=alpha)


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """β·input + α·batch1 batch2, matrix by matrix."""
    batches = _wanted("baddbmm", batch1, 3), _wanted("baddbmm", batch2, 3)
    return apply(selection.addmm, (input, *batches), beta=beta, alpha=alpha)


def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """β·input + α·Σ batch1 batch2, the sum of the products of the matrices."""
    product = bmm(batch1, batch2).sum(0) * alpha
    return product if beta == 0 else input * beta + product


def einsum(equation, *operands):
    """Products summed over the labels that the result hasn't: "ij,jk->ik", or operands each with a list of numbers."""
    if isinstance(equation, Tensor):
        equation, operands = _equation((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    return apply(selection.einsum, operands, equation=equation)


def _equation(arguments):
    """The equation in letters, and its operands, of operands each with its labels as numbers, and the result's last."""

    def labels(numbers):
        return "".join(["..." if n is ... else chr(ord("A" if n < 26 else "a") + n % 26) for n in numbers])

    operands, terms = arguments[0 : len(arguments) // 2 * 2 : 2], arguments[1::2]
    equation = ",".join(map(labels, terms))
    return (f"{equation}->{labels(arguments[-1])}" if len(arguments) % 2 else equation), operands


# Constants


def nonzero(input, *, as_tuple=False):
    """The indices of nonzero elements, one in each row, or a tuple with a tensor for each dim."""
    x = array_of(input)
    if not as_tuple:
        return constant(np.argwhere(x))
    return tuple(map(constant, np.nonzero(x if x.ndim else x.reshape(-1))))


def all(input, dim=None, keepdim=False):
    """Whether all elements over dim are nonzero."""
    return constant(np.all(input._data, axis=ops.dims_of(input, dim), keepdims=keepdim))


def any(input, dim=None, keepdim=False):
    """Whether any element over dim is nonzero."""
    return constant(np.any(input._data, axis=ops.dims_of(input, dim), keepdims=keepdim))


def count_nonzero(input, dim=None):
    """The number of nonzero elements over dim."""
    return constant((input._data != 0).sum(axis=ops.dims_of(input, dim)))


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The sorted unique numbers, or slices along dim; if asked, also the inverse indices and the counts."""
    found = np.unique(array_of(input), return_inverse=return_inverse, return_counts=return_counts, axis=dim)
    if not isinstance(found, tuple):
        return constant(found)
    if return_inverse and dim is not None:
        found = (found[0], found[1].reshape(-1), *found[2:])
    return tuple(map(constant, found))


def bincount(input, weights=None, minlength=0):
    """The count of each integer from 0 on, or the sum of its weights."""
    if weights is None:
        return constant(np.bincount(input._data, minlength=minlength))
    weights = array_of(weights)
    sums = np.bincount(input._data, weights, minlength)
    return constant(sums.astype(weights.dtype) if weights.dtype.kind == "f" else sums)


def histc(input, bins=100, min=0, max=0):
    """The number of elements in each of `bins` equal bins from min to max; if these are equal, of the input's range."""
    x = input._data
    low, high = (min, max) if min != max else (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
    low, high = (low - 1, high + 1) if low == high else (low, high)
    return constant(np.histogram(x, bins, (low, high))[0].astype(x.dtype))


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """The index at which to insert each number of input into a sorted sequence: before equal ones, or after them.

    Of several sequences, along the last dim, each has its own row of numbers.
    """
    rows, numbers, side = array_of(sorted_sequence), array_of(input), side or ("right" if right else "left")
    rows = rows if sorter is None else np.take_along_axis(rows, array_of(sorter), -1)
    if rows.ndim == 1:
        places = np.asarray(np.searchsorted(rows, numbers, side))
    elif rows.shape[:-1] == numbers.shape[:-1]:
        places = np.zeros_like(numbers, np.int64)
        for at in np.ndindex(rows.shape[:-1]):
            places[at] = np.searchsorted(rows[at], numbers[at], side)
    else:
        raise RuntimeError(f"searchsorted: wanted one row, or one for each of input, got {rows.shape}, {numbers.shape}")
    return constant(places.astype(np.int32 if out_int32 else np.int64))


def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each element is one of test_elements."""
    return constant(np.isin(array_of(elements), array_of(test_elements), assume_unique, invert))


def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The index of the interval between sorted boundaries that contains each number."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


isnan, isinf, isfinite, isposinf, isneginf = map(_asking, (np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf))
logical_and, logical_or, logical_xor = map(_combining, (np.logical_and, np.logical_or, np.logical_xor))
bitwise_and, bitwise_or, bitwise_xor = map(_combining, (np.bitwise_and, np.bitwise_or, np.bitwise_xor))
logical_not, bitwise_not = _asking(np.logical_not), _asking(np.invert, "bitwise_not")


def heaviside(input, values):
    """0 where input is below 0, 1 above it, and `values` at 0."""
    return constant(pointwise.heaviside(_unwrapped(input), _unwrapped(values)))


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether |input − other| ≤ atol + rtol·|other|, for each number."""
    return constant(pointwise.isclose(_unwrapped(input), _unwrapped(other), rtol, atol, equal_nan))


def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all numbers are close, as a bool."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._data.all())


def equal(input, other):
    """Whether two tensors have one shape and the same numbers, as a bool."""
    return input.shape == other.shape and bool((input._data == other._data).all())
