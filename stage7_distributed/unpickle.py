"""PyTorch's files, read without PyTorch and without executing any code in them.

`torch.save` writes a zip file with a pickle, `data.pkl`, and the numbers of each storage, `data/0`, `data/1` and so on.
A pickle names what is to be called, and could name anything. Here four names are known, all that a `state_dict` needs,
and those of the storages; every other is refused. What the pickle says of a tensor is checked before it is believed.
"""

import io
import pickle
import pickletools
from collections import OrderedDict
from math import prod
from typing import NamedTuple

import numpy as np

_STORAGES = {"DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "u2"}
_STORAGES |= {"LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1"}
_STORAGES |= {"BoolStorage": "b1"}


class _Strided(NamedTuple):
    """A tensor in the words of the pickle: number i of dim d is strides[d] numbers after number i − 1, from offset on.

    `storage` is ("storage", its kind, its key, its device, its size).
    """

    storage: tuple
    offset: int
    shape: tuple
    strides: tuple


class _Unpickler(pickle.Unpickler):
    """Reads what is made of tensors, numbers, strings, dicts, lists and tuples, and refuses all else by its name."""

    def __init__(self, file):
        super().__init__(file)
        self.known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *parts: _Strided(*parts[:4]),
            ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
        }
        self.known |= {("torch", name): name for name in _STORAGES}

    def find_class(self, module, name):
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(
                f"refused, as it asks for {module}.{name}: it may hold tensors, numbers, strings, dicts, lists and "
                "tuples, such as a state_dict. Nothing of it was run"
            )
        return self.known[module, name]

    def persistent_load(self, storage):
        return storage


def read_torch(archive, folder, tensor, most):
    """What is in the zip file that `torch.save` wrote, under that folder; `tensor` is called with each array.

    None of them may have more bytes than `most`, as a tensor whose strides are 0 can without taking any in the file.
    """
    order = ">" if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") == b"big" else "<"
    storages, made = {}, {}

    def numbers(kind, key):
        if (kind, key) not in storages:
            array = np.frombuffer(bytearray(archive.read(f"{folder}data/{key}")), order + _STORAGES[kind])
            array = float32_of(array) if kind == "BFloat16Storage" else array
            storages[kind, key] = array.astype(array.dtype.newbyteorder("="), copy=False)
        return storages[kind, key]

    def built(x):
        if id(x) not in made:  # what is there in a thousand places is made once
            made[id(x)] = build(x)
        return made[id(x)]

    def build(x):
        if isinstance(x, _Strided):
            _, kind, key, *_ = x.storage
            return tensor(_view(numbers(kind, key), *x[1:], most))
        if isinstance(x, dict):
            return {built(key): built(value) for key, value in x.items()}
        if isinstance(x, (list, tuple)):
            return type(x)(map(built, x))
        if x is None or isinstance(x, (int, float, str)):
            return x
        raise pickle.UnpicklingError(f"refused, as it holds a {type(x).__name__}")

    content = archive.read(f"{folder}data.pkl")
    for op, number, _ in pickletools.genops(content):
        if op.name in ("PUT", "BINPUT", "LONG_BINPUT") and number > len(content):
            # Python would ask for the memory of so many at once.
            raise ValueError(f"it would keep {number} things, in {len(content)} bytes")
    return built(_Unpickler(io.BytesIO(content)).load())


def _view(numbers, offset, shape, strides, most):
    """The part of a storage that is a tensor; storages may be shared. ValueError if it isn't within, or too large."""
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError(f"a tensor of shape {shape} with strides {strides} from {offset} on")
    end = offset + sum((n - 1) * stride for n, stride in zip(shape, strides)) + 1
    if 0 not in shape and end > len(numbers):
        raise ValueError(f"a tensor that ends at {end} in a storage of {len(numbers)} numbers")
    if prod(shape) * numbers.itemsize > most:
        raise ValueError(f"a tensor of {prod(shape) * numbers.itemsize:,} bytes, more than the limit of {most:,}")
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps)


def float32_of(bfloat16):
    """float32 of bfloat16, given as uint16, which is its upper half: exactly the same numbers."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)
