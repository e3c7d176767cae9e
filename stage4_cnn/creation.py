"""Functions that make tensors, under PyTorch's names. By default the tensors require no grad."""

import operator
from functools import wraps

import numpy as np

from .device import module_of, moved, on_host
from .engine import Size, Tensor, array_of, constant


def _made(array, dtype=None, device=None, requires_grad=False, like=None):
    """A Tensor that holds the array, with the given dtype and device, by default those of `like`."""
    if like is not None:
        dtype, device = like.dtype if dtype is None else dtype, like.device if device is None else device
    if dtype is not None:
        array = array.astype(np.dtype(dtype), copy=False)
    tensor = constant(array if device is None else moved(array, device))
    tensor.requires_grad = requires_grad
    return tensor


def size_of(size):
    """A size given as numbers or as one sequence of them, as a tuple."""
    if len(size) == 1 and not hasattr(size[0], "__index__"):
        size = size[0]
    size = tuple([operator.index(n) for n in size])
    if any([n < 0 for n in size]):
        raise RuntimeError(f"wanted sizes of at least 0, got {size}")
    return size


def sized(make):
    """The function, whose numbers for a size may be given as `size=` too, and whose result may go into `out`."""

    @wraps(make)
    def made(*numbers, size=None, out=None, **options):
        found = make(*(numbers if size is None else (size,)), **options)
        return found if out is None else out.copy_(found)

    return made


def _float(dtype):
    return np.float32 if dtype is None else dtype


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A Tensor of a copy of the data: numbers, lists of them, arrays. Python floats become float32."""
    if isinstance(data, list | tuple):
        dtypes = set()
        data = _numbers(data, dtypes)
        if np.dtype(np.float64) in dtypes:  # which stays, while Python's floats become float32
            data = np.array(data)
    return _made(array_of(Tensor(data, requires_grad=False)), dtype, device, requires_grad)


def _numbers(data, dtypes):
    """Lists with numbers in the place of tensors of one number; the dtypes of what has one are added to `dtypes`."""
    if isinstance(data, list | tuple):
        return [_numbers(part, dtypes) for part in data]
    if hasattr(data, "dtype"):
        dtypes.add(data.dtype)
    if not isinstance(data, Tensor):
        return data
    if data.numel() != 1:
        raise ValueError(f"tensor: wanted numbers, got a tensor of shape {tuple(data.shape)} in a list: use stack()")
    return data.item()


def as_tensor(data, dtype=None, device=None):
    """The data as a Tensor, which shares its memory if they are a Tensor or an array of that dtype."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    if hasattr(data, "dtype"):
        return _made(np.asarray(data) if on_host(data) else data, dtype, device)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray):
    """A Tensor that shares the memory of an array."""
    if not isinstance(ndarray, np.ndarray) or ndarray.dtype.kind not in "fiub":
        raise TypeError(f"from_numpy: wanted a NumPy array of numbers, got {type(ndarray).__name__}")
    return constant(ndarray)


@sized
def zeros(*size, dtype=None, device=None, requires_grad=False):
    """Zeros."""
    return _made(module_of(device).zeros(size_of(size), _float(dtype)), None, device, requires_grad)


@sized
def ones(*size, dtype=None, device=None, requires_grad=False):
    """Ones."""
    return _made(module_of(device).ones(size_of(size), _float(dtype)), None, device, requires_grad)


@sized
def empty(*size, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A tensor to be filled, here with zeros."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """The same number everywhere; without a dtype, of that of the number."""
    value = array_of(tensor(fill_value))
    return _made(module_of(device).full(size_of((size,)), value.item(), value.dtype), dtype, device, requires_grad)


def zeros_like(input, *, dtype=None, device=None, requires_grad=False):
    """Zeros in the shape of a tensor, of its dtype and on its device."""
    return _made(np.zeros_like(input._data, shape=input.shape), dtype, device, requires_grad, input)


def ones_like(input, *, dtype=None, device=None, requires_grad=False):
    """Ones in the shape of a tensor, of its dtype and on its device."""
    return _made(np.ones_like(input._data, shape=input.shape), dtype, device, requires_grad, input)


def full_like(input, fill_value, *, dtype=None, device=None, requires_grad=False):
    """The same number everywhere in the shape of a tensor, of its dtype and on its device."""
    return _made(np.full_like(input._data, fill_value, dtype, shape=input.shape), dtype, device, requires_grad, input)


empty_like = zeros_like


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """start, start + step, … below end; with one argument 0, 1, … below it. Integers, if all three are."""
    if end is None:
        start, end = 0, start
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    if dtype is not None and np.dtype(dtype) == np.int64:
        start, end, step = int(start), int(end), int(step)
    if step == 0 or (end - start) / step < 0:
        raise RuntimeError(f"arange: there is no way from {start} to {end} in steps of {step}")
    if dtype is None and not all([isinstance(x, int | np.integer) for x in (start, end, step)]):
        dtype = np.float32
    return _made(module_of(device).arange(start, end, step), dtype, device, requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """So many numbers at equal distances from start to end, both included."""
    return _made(module_of(device).linspace(*_ends(start, end, dtype), steps), _float(dtype), device, requires_grad)


def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, requires_grad=False):
    """base to the power of so many numbers at equal distances from start to end."""
    powers = module_of(device).logspace(*_ends(start, end, dtype), steps, base=base)
    return _made(powers, _float(dtype), device, requires_grad)


def _ends(start, end, dtype):
    whole = np.dtype(_float(dtype)).kind != "f"
    return (int(start), int(end)) if whole else (float(start), float(end))


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """Ones on the diagonal of (n, m), or (n, n), zeros elsewhere."""
    return _made(module_of(device).eye(n, m), _float(dtype), device, requires_grad)


def _new(make):
    """The method that makes a tensor of the dtype and on the device of another: x.new_zeros(2, 3)."""

    def method(self, *args, dtype=None, device=None, requires_grad=False):
        dtype, device = self.dtype if dtype is None else dtype, self.device if device is None else device
        return make(*args, dtype=dtype, device=device, requires_grad=requires_grad)

    return method


def legacy(*data, dtype, device=None, requires_grad=False):
    """Given sizes an uninitialized tensor, given a sequence one of that: what `FloatTensor` and `x.new` make."""
    sizes = all([isinstance(x, int | np.integer | Size) for x in data])
    made = empty(*(data or [0]), dtype=dtype, device=device) if sizes else tensor(*data, dtype=dtype, device=device)
    return made.requires_grad_(requires_grad)


Tensor.new_zeros, Tensor.new_ones, Tensor.new_empty = _new(zeros), _new(ones), _new(empty)
Tensor.new_full, Tensor.new_tensor, Tensor.new = _new(full), _new(tensor), _new(legacy)

__all__ = ["arange", "as_tensor", "empty", "empty_like", "eye", "from_numpy", "full", "full_like", "linspace"]
__all__ += ["logspace", "ones", "ones_like", "tensor", "zeros", "zeros_like"]
