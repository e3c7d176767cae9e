"""Aliases: PyTorch's other names, its methods as functions and its in-place methods.

Nothing here computes anything. Each table says what a name is made from; the functions below the tables take PyTorch's
arguments where a plain other name won't do.
"""

import math
from functools import wraps

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from . import functions, pointwise, selection
from .creation import size_of
from .engine import Tensor, _binary, _named, _operand, _unary, cat, in_place

float16, float32, float64 = half, float, double = [np.dtype(f"float{bits}") for bits in (16, 32, 64)]
int8, int16, int32, int64 = [np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)]
short, int, long = int16, int32, int64
uint8, bool = np.dtype("uint8"), np.dtype("bool")

OTHER_NAMES = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "argwhere": "nonzero",
    "broadcast_to": "expand",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "fix": "trunc",
    "ger": "outer",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "moveaxis": "movedim",
    "multiply": "mul",
    "ndimension": "dim",
    "negative": "neg",
    "nelement": "numel",
    "not_equal": "ne",
    "sgn": "sign",
    "split_with_sizes": "split",
    "subtract": "sub",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "true_divide": "div",
    "type_as": "to",
    "vdot": "dot",
    "view": "reshape",
}
OPERATORS = {"neg": "__neg__", "matmul": "__matmul__"}
OPERATORS |= {name: f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge")}
CASTS = {"half": float16, "float": float32, "double": float64}
CASTS |= {"byte": uint8, "char": int8, "short": int16, "int": int32, "long": int64, "bool": bool}
RULES = {  # of one tensor, used directly
    pointwise: """
        acos acosh asin asinh atan atanh ceil cos cosh erf erfc exp2 expm1 floor frac log10 log1p log2 nan_to_num
        reciprocal round rsqrt sign sin sinh square tan trunc
    """,
    selection: "diag_embed diagonal repeat roll rot90 tril triu",
}
OF_FUNCTIONS = """
addbmm addcdiv addcmul addmm addmv all allclose aminmax any argmax argmin argsort atan2 baddbmm bincount bitwise_and
bitwise_not bitwise_or bitwise_xor bmm bucketize chunk clamp clamp_max clamp_min count_nonzero cumprod cumsum diag dist
div dot equal flip fliplr flipud floor_divide fmod gather heaviside histc hypot index_add index_copy index_fill
index_select isclose isfinite isinf isnan isneginf isposinf kthvalue lerp logaddexp logical_and logical_not logical_or
logical_xor masked_fill masked_select max median min mm movedim msort mv narrow nonzero norm outer prod remainder
repeat_interleave scatter scatter_add searchsorted select sort std_mean take take_along_dim tensor_split tile
topk trace unbind unfold unique var_mean xlogy
"""
NO_METHODS = "cdist einsum hstack isin meshgrid split vstack where"
IN_PLACE = """
abs add clip clamp div exp log mul neg pow relu sigmoid sqrt sub tanh
acos acosh addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp_max
clamp_min cos cosh cumprod cumsum erf erfc exp2 expm1 floor floor_divide fmod frac hypot index_add index_copy index_fill
lerp log10 log1p log2 masked_fill nan_to_num reciprocal remainder round rsqrt scatter scatter_add sign sin sinh square
tan tril triu trunc xlogy
"""
FUNCTIONS = """
abs absolute add amax amin clip clone detach divide eq exp flatten ge greater greater_equal gt is_floating_point le less
less_equal log log_softmax logsumexp lt matmul maximum mean minimum mul multiply ne neg negative not_equal
numel permute pow ravel relu reshape sigmoid softmax sqrt squeeze std sub subtract sum swapaxes swapdims t tanh
transpose true_divide unflatten unsqueeze var
arccos arccosh arcsin arcsinh arctan arctan2 arctanh argwhere broadcast_to fix ger moveaxis sgn split_with_sizes vdot
"""


# Arithmetic under its names


def add(self, other, *, alpha=1):
    """self + alpha·other."""
    return self + (other if alpha == 1 else other * alpha)


def sub(self, other, *, alpha=1):
    """self − alpha·other."""
    return self - (other if alpha == 1 else other * alpha)


def mul(self, other):
    """self·other."""
    return self * other


def pow(self, exponent):
    """self to the power of the exponent."""
    return self**exponent


# Shapes


def size(self, dim=None):
    """The shape, or the size of one dim."""
    return self.shape if dim is None else self.shape[dim]


def dim(self):
    """The number of dims."""
    return self.ndim


def numel(self):
    """The number of elements."""
    return self._data.size


def t(self):
    """The transpose of a matrix; a tensor of fewer dims itself."""
    if self.ndim > 2:
        raise RuntimeError(f"t: wanted at most 2 dims, got {self.ndim}")
    return self.T


def ravel(self):
    """All numbers in one dim."""
    return self.flatten()


def view_as(self, other):
    """The numbers in the shape of another tensor."""
    return self.reshape(other.shape)


def expand_as(self, other):
    """Repeated to the shape of another tensor."""
    return self.expand(other.shape)


def unflatten(self, dim, sizes):
    """A dim as several, of which one may be -1 for what is left: the opposite of flatten."""
    dim = normalize_axis_index(dim, self.ndim)
    return self.reshape(*self.shape[:dim], *sizes, *self.shape[dim + 1 :])


def split(self, split_size, dim=0):
    """Parts along dim of a size, of which the last may be smaller, or of the given sizes, as a tuple."""
    return functions.split(self, split_size, dim)


def where(self, condition, other):
    """The numbers where the condition is true, else those of another tensor."""
    return functions.where(condition, self, other)


def contiguous(self):
    """The tensor itself if it is contiguous in memory, else a contiguous copy."""
    return self if self.is_contiguous() else self.clone()


def is_contiguous(self):
    """Whether the tensor is contiguous in memory."""
    return self._data.flags.c_contiguous


def stride(self, dim=None):
    """How many numbers in memory it is from one element to the next, along each dim or along one."""
    strides = tuple([n // self._data.itemsize for n in self._data.strides])
    return strides if dim is None else strides[dim]


def element_size(self):
    """The bytes of a number."""
    return self._data.itemsize


def tolist(self):
    """The numbers as lists of lists."""
    return self._data.tolist()


# Kinds and devices


def _cast(dtype):
    def method(self, memory_format=None):
        return self.to(dtype)

    return method


def type(self, dtype=None, non_blocking=False):
    """The numbers in another dtype or, without one, the name of the tensor's type."""
    if dtype is not None:
        return self.to(TYPES.get(dtype, dtype))
    return {dtype: name for name, dtype in TYPES.items()}[self.dtype]


TYPES = {
    f"torch.{name}Tensor": dtype
    for name, dtype in zip(
        ("Half", "Float", "Double", "Char", "Short", "Int", "Long", "Byte", "Bool"),
        (float16, float32, float64, int8, int16, int32, int64, uint8, bool),
    )
}


def cpu(self):
    """The numbers in the host's memory."""
    return self.to("cpu")


def cuda(self, device=None, non_blocking=False):
    """The numbers in the memory of the GPU."""
    return self.to("cuda")


def is_floating_point(self):
    """Whether it holds floating-point numbers."""
    return self.dtype.kind == "f"


# The graph


def requires_grad_(self, requires_grad=True):
    """Set requires_grad; returns the tensor."""
    self.requires_grad = requires_grad
    return self


def retain_grad(self):
    """Does nothing: intermediate tensors always have their `grad`."""


def _reshaped_in_place(name):
    """The method that changes a tensor's shape in place, without moving its numbers."""

    method = getattr(Tensor, name)

    def update(self, *args):
        if self._requires_grad:
            raise NotImplementedError(f"{name}_: of a tensor that requires grad is not supported; use {name}")
        self._data = method(self, *args)._data
        return self

    return update


def resize_(self, *sizes, memory_format=None):
    """Other sizes, in place: for as many numbers, for the first of them, or for more, of which the last can be any."""
    if self._requires_grad:
        raise RuntimeError("resize_: of a tensor that requires grad is not supported; use reshape")
    sizes, flat = size_of(sizes), self._data.reshape(-1)
    n = math.prod(sizes)
    self._data = flat[:n].reshape(sizes) if n <= flat.size else np.resize(flat, sizes)
    return self


def detach_(self):
    """Cut off from its history, in place."""
    self.op, self.inputs, self._backward, self._requires_grad = None, (), None, False
    return self


def zero_(self):
    """Zeros, in place."""
    self[...] = 0
    return self


def fill_(self, value):
    """The same number everywhere, in place."""
    self[...] = value
    return self


def copy_(self, src, non_blocking=False):
    """The numbers of another tensor, in place."""
    self[...] = src
    return self


def _method(function):
    """The function as a method, which also takes NumPy's names of arguments, and sums take `dtype`."""

    @wraps(function)
    def method(self, *args, **options):
        if options:
            self, options = _named(function.__name__, self, options)
        return function(self, *args, **options)

    return method


class Node:
    """How a tensor was made, for inspection: PyTorch's `grad_fn`."""

    def __init__(self, tensor):
        self._tensor = tensor

    @property
    def variable(self):
        """The leaf whose gradient is accumulated."""
        if self._tensor.op:
            raise AttributeError(f"{self.name()} has no variable: only a leaf's node has one")
        return self._tensor

    def name(self):
        """The name of the op; a leaf's gradient is accumulated."""
        return f"{self._tensor.op.title()}Backward0" if self._tensor.op else "AccumulateGrad"

    @property
    def next_functions(self):
        """(Node, 0) for each input, numbers last as in PyTorch; (None, 0) for one that requires no grad."""
        inputs = sorted(self._tensor.inputs, key=lambda x: not hasattr(x._data, "dtype"))
        return tuple([(Node(x) if x.requires_grad else None, 0) for x in inputs])

    def __repr__(self):
        return f"<{self.name()}>"


def set_names():
    """Give the Tensor its methods."""
    methods = add, sub, mul, pow, size, dim, numel, t, ravel, view_as, expand_as, contiguous, is_contiguous
    methods += unflatten, split, where, stride, element_size, tolist, type, cpu, cuda, is_floating_point
    methods += requires_grad_, retain_grad, resize_, detach_, zero_, fill_, copy_
    for method in methods:
        setattr(Tensor, method.__name__, method)
    for rules, names in RULES.items():
        for name in names.split():
            setattr(Tensor, name, _unary(getattr(rules, name)))
    for name in OF_FUNCTIONS.split():
        setattr(Tensor, name, _method(getattr(functions, name)))
    Tensor.reshape_as = view_as
    for name, dtype in CASTS.items():
        setattr(Tensor, name, _cast(dtype))
    Tensor.__floordiv__, Tensor.__rfloordiv__ = _binary(pointwise.floor_divide)
    Tensor.__mod__, Tensor.__rmod__ = _binary(pointwise.remainder)
    Tensor.__invert__ = Tensor.bitwise_not
    for name in ("and", "or", "xor"):
        setattr(Tensor, f"__{name}__", getattr(Tensor, f"bitwise_{name}"))
        setattr(Tensor, f"__r{name}__", getattr(Tensor, f"bitwise_{name}"))
    for name, operator in OPERATORS.items():
        setattr(Tensor, name, getattr(Tensor, operator))
    for name, same in OTHER_NAMES.items():
        if hasattr(Tensor, same):
            setattr(Tensor, name, getattr(Tensor, same))
    for name in IN_PLACE.split():
        setattr(Tensor, f"{name}_", in_place(getattr(Tensor, name)))
    for name in ("squeeze", "t", "transpose", "unsqueeze"):
        setattr(Tensor, f"{name}_", _reshaped_in_place(name))
    Tensor.is_leaf = property(lambda self: self.op is None)
    Tensor.grad_fn = property(lambda self: Node(self) if self.op else None)
    Tensor.is_cuda = property(lambda self: self.device != "cpu")
    Tensor.is_mps = Tensor.is_xpu = False
    Tensor.mT = property(lambda self: self.transpose(-2, -1))


set_names()


def _function(name):
    """The method of that name as a function, whose first argument may also be an array or a number."""
    method = getattr(Tensor, name)

    @wraps(method)
    def function(input, *args, out=None, **options):
        if not isinstance(input, Tensor):
            input = _operand(name, input)
            if not [x for x in (*args, *options.values()) if isinstance(x, Tensor)]:
                input = Tensor(input, requires_grad=False)  # among tensors, a number takes their dtype
        found = method(input, *args, **options)
        if not isinstance(out, Tensor | None):
            raise TypeError(f"{name}: wanted one Tensor for out, got {out!r}")
        return found if out is None else out.copy_(found)

    function.__name__ = name
    return function


NAMES_OF_FUNCTIONS = f"{FUNCTIONS} {OF_FUNCTIONS} {' '.join(RULES.values())}".split()
NAMES_OF_FUNCTIONS = [name for name in NAMES_OF_FUNCTIONS if name not in ("repeat", "unfold")]  # methods alone
globals().update({name: _function(name) for name in NAMES_OF_FUNCTIONS})
globals().update({name: getattr(functions, name) for name in NO_METHODS.split()})
concat = concatenate = cat


def is_tensor(obj):
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


DTYPES = "bool double float float16 float32 float64 half int int16 int32 int64 int8 long short uint8"
__all__ = [*NAMES_OF_FUNCTIONS, *NO_METHODS.split(), *DTYPES.split(), "concat", "concatenate", "is_tensor"]
