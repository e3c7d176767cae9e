"""Names: PyTorch's other names for what is there, its methods as functions and its methods that work in place.

Nothing here computes anything. Each table says what a name is made from; the functions below the tables take PyTorch's
arguments where a plain other name won't do.
"""

from functools import wraps

import numpy as np

from .engine import Tensor, _operand, cat, in_place
from .ops import in_order

float16, float32, float64 = half, float, double = [np.dtype(f"float{bits}") for bits in (16, 32, 64)]
int8, int16, int32, int64 = [np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)]
short, int, long = int16, int32, int64
uint8, bool = np.dtype("uint8"), np.dtype("bool")

OTHER_NAMES = {
    "absolute": "abs",
    "clamp": "clip",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "nelement": "numel",
    "not_equal": "ne",
    "subtract": "sub",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "true_divide": "div",
    "type_as": "to",
    "view": "reshape",
}
OPERATORS = {"neg": "__neg__", "matmul": "__matmul__"}
OPERATORS |= {name: f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge")}
CASTS = {"half": float16, "float": float32, "double": float64}
CASTS |= {"short": int16, "int": int32, "long": int64, "bool": bool}
IN_PLACE = "abs add clip clamp div exp log mul neg pow relu sigmoid sqrt sub tanh"
FUNCTIONS = """
abs absolute add amax amin bmm clamp clip clone detach div divide dot eq exp flatten ge greater greater_equal gt le less
less_equal log log_softmax logsumexp lt matmul maximum mean minimum mm mul multiply mv narrow ne neg negative not_equal
numel permute pow ravel relu reshape sigmoid softmax sqrt squeeze std sub subtract sum swapaxes swapdims t tanh
transpose true_divide unsqueeze var
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


def div(self, other, *, rounding_mode=None):
    """self/other, as it is or, with "trunc" or "floor", rounded towards 0 or down."""
    if rounding_mode is not None:
        raise NotImplementedError(f"div: rounding_mode={rounding_mode!r} is not supported")
    return self / other


def pow(self, exponent):
    """self to the power of the exponent."""
    return self**exponent


def _product(name, *dims):
    """The product of tensors that have just so many dims."""

    def method(self, other):
        if (self.ndim, other.ndim) != dims:
            raise RuntimeError(f"{name}: wanted {dims[0]} and {dims[1]} dims, got {self.ndim} and {other.ndim}")
        return self @ other

    return method


mm, bmm, mv, dot = [_product(name, *dims) for name, *dims in (("mm", 2, 2), ("bmm", 3, 3), ("mv", 2, 1), ("dot", 1, 1))]


# Shapes


def size(self, dim=None):
    """The shape, or the size of one dim."""
    return self.shape if dim is None else self.shape[dim]


def dim(self):
    """How many dims there are."""
    return self.ndim


def numel(self):
    """How many numbers there are."""
    return self._data.size


def t(self):
    """A matrix with its two dims exchanged; what has fewer dims as it is."""
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


def narrow(self, dim, start, length):
    """The part of a dim that begins at start and has a length."""
    dim, start = range(self.ndim)[dim], start.__index__()
    if not 0 <= start <= start + length <= self.shape[dim]:
        raise RuntimeError(f"narrow: {start} and {length} more do not lie within dim {dim} of size {self.shape[dim]}")
    return self[(slice(None),) * dim + (slice(start, start + length),)]


def contiguous(self):
    """The tensor itself if its numbers lie in memory one after the other, else a copy in which they do."""
    return self if self.is_contiguous() else self.clone()


def is_contiguous(self):
    """Whether the numbers lie in memory one after the other."""
    return in_order(self._data) is self._data


def tolist(self):
    """The numbers as lists of lists."""
    return self._data.tolist()


# Kinds and devices


def _cast(dtype):
    def method(self):
        return self.to(dtype)

    return method


def type(self, dtype=None, non_blocking=False):
    """The numbers in another dtype or, without one, the name of the kind of tensor."""
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
    """Set whether it wants a gradient; gives the tensor back."""
    self.requires_grad = requires_grad
    return self


def retain_grad(self):
    """Nothing: tensors between have their `grad` without being asked."""


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


def set_names():
    """Give the Tensor its methods."""
    methods = add, sub, mul, div, pow, size, dim, numel, t, ravel, view_as, expand_as, narrow, contiguous, is_contiguous
    methods += tolist, type, cpu, cuda, is_floating_point, requires_grad_, retain_grad, detach_, zero_, fill_, copy_
    for method in methods:
        setattr(Tensor, method.__name__, method)
    for name, method in (("mm", mm), ("bmm", bmm), ("mv", mv), ("dot", dot), ("reshape_as", view_as)):
        setattr(Tensor, name, method)
    for name, dtype in CASTS.items():
        setattr(Tensor, name, _cast(dtype))
    for name, operator in OPERATORS.items():
        setattr(Tensor, name, getattr(Tensor, operator))
    for name, same in OTHER_NAMES.items():
        if hasattr(Tensor, same):
            setattr(Tensor, name, getattr(Tensor, same))
    for name in IN_PLACE.split():
        setattr(Tensor, f"{name}_", in_place(getattr(Tensor, name)))
    Tensor.is_leaf = property(lambda self: self.op is None)
    Tensor.grad_fn = property(lambda self: self._backward)
    Tensor.is_cuda = property(lambda self: self.device != "cpu")
    Tensor.mT = property(lambda self: self.transpose(-2, -1))


set_names()


def _function(name):
    """The method of that name as a function, whose first argument may be an array or a number too."""
    method = getattr(Tensor, name)

    @wraps(method)
    def function(input, *args, **options):
        return method(input if isinstance(input, Tensor) else _operand(name, input), *args, **options)

    function.__name__ = name
    return function


globals().update({name: _function(name) for name in FUNCTIONS.split()})
concat = concatenate = cat


def is_tensor(obj):
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)
