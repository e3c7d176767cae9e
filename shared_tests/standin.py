"""A stand-in for arrays on a GPU: NumPy's arrays with the behaviour of CuPy's, on the CPU.

It implements NumPy's two protocols for the functions that CuPy 14 implements and is no np.ndarray. Like
CuPy's arrays, it isn't converted to one implicitly, and isn't combined with one in arithmetic. It counts transfers
between host and device. It can't show that a kernel is right or fast, or that CuPy works.
"""

import math
import sys
from collections import Counter
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from weakref import WeakValueDictionary

import numpy as np

OWNERS = WeakValueDictionary()  # id of a NumPy array -> the array that holds it
TRANSFERS = Counter()  # "to host" and "to device" -> how often

COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
REDUCTIONS = {"add", "multiply"}  # ufuncs that CuPy's have `reduce`
INEXACT = {"floor_divide": lambda x, y: np.floor(x / y), "remainder": lambda x, y: x - np.floor(x / y) * y}  # CuPy's
SCATTERS = {"add", "subtract", "maximum", "minimum"}  # and `at`
# Of the functions that go by __array_function__, those that CuPy has and the rules may need.
CREATED = {"arange", "array", "asarray", "empty", "full", "ones", "zeros"}  # with like=
FUNCTIONS = CREATED | {
    "copy",
    "array_equal",
    "empty_like",
    "full_like",
    "ones_like",
    "zeros_like",
    "may_share_memory",
    "ndim",
    "shape",
}
FUNCTIONS |= {
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "moveaxis",
    "pad",
    "split",
    "stack",
    "swapaxes",
    "transpose",
}
FUNCTIONS |= {"argmin", "argwhere", "bincount", "cumprod", "diagonal", "einsum", "flip", "histogram", "nan_to_num"}
FUNCTIONS |= {"nonzero", "repeat", "roll", "rot90", "searchsorted", "sort", "tile", "tril", "triu", "unique"}
FUNCTIONS |= {"all", "any", "argmax", "argsort", "clip", "cumsum", "max", "mean", "min", "sum", "take", "where"}
METHODS = {
    "all",
    "any",
    "argmax",
    "argsort",
    "astype",
    "copy",
    "cumprod",
    "cumsum",
    "dot",
    "max",
    "mean",
    "min",
    "prod",
    "ravel",
}
METHODS |= {"repeat", "reshape", "squeeze", "sum", "swapaxes", "take", "transpose", "view"}


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """An array as CuPy's: a view or an owner of memory that only its own functions reach."""

    def __init__(self, array):
        self._memory = np.asanyarray(array)  # of the same class, so that its base is the array's
        OWNERS.setdefault(id(self._memory), self)

    shape = property(lambda self: self._memory.shape)
    ndim = property(lambda self: self._memory.ndim)
    dtype = property(lambda self: self._memory.dtype)
    size = property(lambda self: self._memory.size)
    nbytes = property(lambda self: self._memory.nbytes)
    itemsize = property(lambda self: self._memory.itemsize)
    strides = property(lambda self: self._memory.strides)
    T = property(lambda self: Array(self._memory.T))

    @property
    def base(self):
        """The array that owns the memory, the same for all its views, as CuPy's."""
        memory = self._memory.base
        if not isinstance(memory, np.ndarray):
            return None
        found = OWNERS.get(id(memory))
        return Array(memory) if found is None else found

    @property
    def flags(self):
        flags = self._memory.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    def get(self):
        """A copy in the host's memory, as NumPy's array."""
        TRANSFERS["to host"] += 1
        return np.array(self._memory, order="C")

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def fill(self, value):
        self._memory.fill(_operand(value))

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        name = ufunc.__name__
        allowed = {"__call__": True, "reduce": name in REDUCTIONS, "at": name in SCATTERS}
        if not allowed.get(method):
            return NotImplemented
        if any([isinstance(x, list | tuple | slice) for x in inputs]):  # as the index of `at`
            return NotImplemented
        if method == "at":
            array, index, *values = inputs
            return ufunc.at(array._memory, _index(index), *map(_operand, values))
        zero_dims_too = name in COMPARISONS
        inputs = [x.item() if zero_dims_too and type(x) is np.ndarray and not x.ndim else _operand(x) for x in inputs]
        if method == "reduce":
            _check_axis(inputs[0], options.get("axis"))
        if out:
            options["out"] = tuple(map(_operand, out))
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            result = INEXACT.get(name, getattr(ufunc, method))(*inputs, **options)
        return out[0] if out else Array(result)

    def __array_function__(self, function, types, args, options):
        name = function.__name__ if function.__module__ == "numpy" else f"{function.__module__[6:]}.{function.__name__}"
        if name not in FUNCTIONS or not all(issubclass(kind, Array | np.ndarray) for kind in types):
            return NotImplemented
        if name in CREATED:
            options = {key: value for key, value in options.items() if key != "like"}
            if name in ("array", "asarray") and not isinstance(args[0], Array):
                TRANSFERS["to device"] += 1
                return Array(function(*args, **options))
        host = 1 if name == "split" else 0  # its places may be NumPy's
        args = [_unwrapped(x, strict=i != host or not host) for i, x in enumerate(args)]
        options = {key: _unwrapped(value) for key, value in options.items()}
        if name == "where" and not isinstance(args[0], np.ndarray):
            raise AttributeError(f"{type(args[0]).__name__!r} object has no attribute 'astype'")
        if name in ("argmax", "argmin") and args[0].dtype.kind == "f":  # of NaNs it is any in CuPy, here the last
            found, axis = np.isnan(args[0]), options.get("axis")
            last = args[0].shape[axis] - 1 - np.flip(found, axis).argmax(axis)
            return Array(np.where(found.any(axis), last, function(*args, **options)))
        if name.endswith("_like") and not options.get("shape"):  # CuPy takes () for no shape
            options.pop("shape", None)
        with np.errstate(all="ignore"):
            return _wrapped(function(*args, **options))

    def __getitem__(self, index):
        return Array(self._memory[_index(index)])

    def __setitem__(self, index, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._memory[_index(index)] = value._memory if isinstance(value, Array) else value

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._memory)

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __repr__(self):
        return repr(self.get())


def _check_axis(array, axis):
    """Of a number, CuPy reduces no axis."""
    if axis is not None and not np.ndim(array):
        raise np.exceptions.AxisError(f"axis {axis} is out of bounds for array of dimension 0")


def _method(name):
    def method(self, *args, **options):
        _check_axis(self._memory, options.get("axis") if name in ("max", "mean", "min", "sum") else None)
        args = [_unwrapped(x, strict=name != "transpose") for x in args]  # which dims, NumPy's array may say
        with np.errstate(all="ignore"):
            return Array(getattr(self._memory, name)(*args, **{key: _unwrapped(x) for key, x in options.items()}))

    return method


for _name in METHODS:
    setattr(Array, _name, _method(_name))


def _var(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    """CuPy's takes no `mean`."""
    return Array(self._memory.var(axis, dtype, out, ddof, keepdims))


Array.var = _var


def _operand(x):
    if isinstance(x, Array):
        return x._memory
    if isinstance(x, np.ndarray) or not isinstance(x, bool | int | float | np.generic):
        raise TypeError(f"Unsupported type {type(x)}")
    return x


def _unwrapped(x, strict=True):
    if isinstance(x, list | tuple):
        return type(x)(_unwrapped(part, strict) for part in x)
    if strict and isinstance(x, np.ndarray) and x.ndim:
        raise TypeError(f"Unsupported type {type(x)}")
    return x._memory if isinstance(x, Array) else x


def _wrapped(x):
    if isinstance(x, list | tuple):
        return type(x)(map(_wrapped, x))
    return Array(x) if isinstance(x, np.ndarray | np.generic) and not isinstance(x, bool) else x


def _index(index):
    """What NumPy takes as an index; one of NumPy's arrays, or a list, would go to the GPU first, as in CuPy."""
    parts = index if isinstance(index, tuple) else (index,)
    TRANSFERS["to device"] += sum(isinstance(part, np.ndarray | list) for part in parts)
    TRANSFERS["to host"] += sum(isinstance(part, Array) and part.dtype == bool for part in parts)  # how many are true?
    parts = tuple(part._memory if isinstance(part, Array) else part for part in parts)
    return parts if isinstance(index, tuple) else parts[0]


# What device.py asks of CuPy


def asarray(array):
    """The array on the device."""
    TRANSFERS["to device"] += 1
    return Array(np.array(array))


def _making(name):
    return lambda *args, **options: Array(getattr(np, name)(*args, **options))


arange, eye, full, linspace, logspace, ones, zeros = map(
    _making, ("arange", "eye", "full", "linspace", "logspace", "ones", "zeros")
)


def default_rng(seed):
    generator = np.random.default_rng(seed)
    return SimpleNamespace(random=lambda shape: Array(generator.random(shape)))


def _add_at(array, index, values):
    np.add.at(array._memory, _index(index), _operand(values))


add = SimpleNamespace(at=_add_at)
random = SimpleNamespace(default_rng=default_rng)
cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(is_capturing=lambda: False))
_erf = np.vectorize(math.erf, otypes=[float])
special = SimpleNamespace(erf=lambda x: Array(_erf(_operand(x)).astype(np.result_type(x.dtype, np.float16))))


def as_kernel(function):
    """The stand-in for a GPU's kernel: NumPy's body on the memory itself, which nothing leaves."""

    @wraps(function)
    def kernel(*arguments):
        out = function(*[_unwrapped(x) for x in arguments])
        return out if out is NotImplemented else _wrapped(out)

    return kernel


@contextmanager
def in_place_of_cupy(device, kernels=as_kernel):
    """Let a rung's `device` module find the stand-in where it looks for CuPy, and `kernels` for those of the GPU."""
    found, modules = (device.gpu, device.gpu_kernel, device.gpu_elementwise), {"cupyx.scipy.special": special}
    kept = {name: sys.modules.get(name) for name in modules}
    device.gpu, device.gpu_kernel, device.gpu_elementwise = (lambda: sys.modules[__name__]), kernels, kernels
    sys.modules.update(modules)
    try:
        yield
    finally:
        device.gpu, device.gpu_kernel, device.gpu_elementwise = found
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
