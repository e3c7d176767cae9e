"""Devices of arrays, and the choice between NumPy's functions and compiled kernels of the same name.

An array on "cpu" is NumPy's, in the host's memory; one on "cuda" is CuPy's, in the GPU's. The rules call NumPy's
functions, which dispatch to CuPy's for CuPy's arrays (NEP 13 and 18). Nothing of CUDA is imported before an array is
moved to the GPU.
"""

import os
import re
import warnings
from functools import cache, lru_cache, wraps
from importlib import import_module
from importlib.util import find_spec
from weakref import WeakSet

import numpy as np

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

for _name, _pattern, _wanted in (
    ("GRADUAL_KERNELS", "compiled|numpy", "'compiled' or 'numpy'"),
    ("NUMBA_NUM_THREADS", "0*[1-9][0-9]{0,2}", "a number from 1 to 999"),
):
    _value = os.environ.get(_name)
    if _value is not None and not re.fullmatch(_pattern, _value):
        warnings.warn(f"{_name}: wanted {_wanted}, got {_value!r}, which is ignored", stacklevel=2)
        del os.environ[_name]

_DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
COMPILED = os.environ.get("GRADUAL_KERNELS", "numpy" if _DISABLED else "compiled") == "compiled"


def kernel(function):
    """Replace a function of arrays by the kernels of its name, for float32 and float64 arguments that they support.

    The type of the first array decides: `kernels_cpu` for NumPy's arrays, `kernels_gpu` for CuPy's. With
    GRADUAL_KERNELS=numpy or NUMBA_DISABLE_JIT=1 in the environment the function isn't replaced, so that a debugger can
    step through it.
    """
    if not COMPILED:
        return function
    from . import kernels_cpu

    name = function.__name__
    compiled, least = getattr(kernels_cpu, name), kernels_cpu.THRESHOLDS.get(name, 0)

    @wraps(function)
    def choose(x, *arguments):
        try:
            out = NotImplemented
            if x.dtype in _FLOATS and x.ndim:
                if isinstance(x, np.ndarray):
                    out = compiled(x, *arguments) if x.size >= least else out
                elif isinstance(x, Recorded):
                    return x.called(choose, function, least, arguments)
                elif x.size:
                    if np.ndarray in map(type, arguments):
                        check_same_device(name, x, *arguments)
                    out = gpu_kernel(function)(x, *arguments)
            return function(x, *arguments) if out is NotImplemented else out
        except Exception:
            check_same_device(name, x, *arguments)
            raise

    choose.numpy = function
    return choose


def elementwise(function, results=1):
    """Replace an elementwise function by its own text, compiled as one loop, for float32 and float64 arrays.

    On the GPU a function of two results isn't compiled: its own text runs.
    """
    if not COMPILED:
        return function
    from .kernels_cpu.elementwise import LEAST, LEAST_CAPTURED, elementwise

    compiled = elementwise(function, results)

    @wraps(function)
    def choose(x, *others):
        out = NotImplemented
        if x.dtype in _FLOATS:
            if isinstance(x, np.ndarray):
                out = compiled(x, *others) if x.size >= LEAST else out
            elif isinstance(x, Recorded):
                out = x.record.call(choose, x, *others) if x.size >= LEAST_CAPTURED else out
            elif not on_host(x) and results == 1:
                out = gpu_elementwise(function)(x, *others)
        return function(x, *others) if out is NotImplemented else out

    choose.numpy = function
    return choose


@cache
def gpu_kernel(function):
    """The kernel of the function's name for the GPU or, where there is none, the function itself."""
    from . import kernels_gpu

    return getattr(kernels_gpu, function.__name__, function)


@cache
def gpu_elementwise(function):
    """The elementwise function compiled for the GPU."""
    from .kernels_gpu.elementwise import elementwise

    return elementwise(function)


# Devices


class Recorded:
    """An array of the host while `capture` records what is done to it (recording.py): its numbers can't be read."""


def on_host(array):
    """Whether an array is in the host's memory. Before it reads numbers of the GPU, the host has to wait for them."""
    return isinstance(array, np.ndarray) or not hasattr(array, "__array_function__")


class device(str):
    """The name of a device, as `torch.device`: "cpu" or "cuda", with its `type` and its `index`."""

    def __new__(cls, type, index=None):
        kind, _, number = str(type).partition(":")
        if kind not in ("cpu", "cuda") or not (number or "0").isdecimal():
            raise RuntimeError(f"device: wanted 'cpu' or 'cuda', got {type!r}")
        name = super().__new__(cls, kind)
        name.type, name.index = kind, int(number) if number else index
        return name


CPU, CUDA = device("cpu"), device("cuda")


def device_of(array):
    """The device of an array, "cpu" or "cuda"; a number's is "cpu"."""
    return CPU if on_host(array) or isinstance(array, Recorded) else CUDA


def moved(array, to):
    """The array in the memory of "cpu" or "cuda": itself if it is there, else a copy."""
    to = device(to)
    if to == device_of(array):
        return array
    return gpu().asarray(array) if to == "cuda" else array.get()


def module_of(to):
    """The module whose functions make arrays on a device, NumPy or CuPy; None is the host."""
    return gpu() if to is not None and device(to) == "cuda" else np


def check_same_device(op, *arrays):
    """TypeError unless all arrays among the arguments are on one device."""
    devices = {device_of(x) for x in arrays if hasattr(x, "__array_function__")}
    if len(devices) > 1:
        raise TypeError(f"{op}: wanted arrays on one device, got some on cpu and some on cuda; .to() moves them")


@cache
def gpu():
    """The module CuPy. If it isn't installed or finds no GPU, ImportError or RuntimeError say what to do."""
    install = f'pip install "./{__package__}[cuda13]", or [cuda12] with a driver for CUDA 12'
    try:
        import cupy
    except ImportError as error:
        raise ImportError(f"cuda: arrays on the GPU need CuPy: {install} ({error})") from None
    if not find_spec("numba_cuda"):
        raise ImportError(f"cuda: kernels on the GPU need numba-cuda: {install}")
    runtime = cupy.cuda.runtime
    driver, wanted = runtime.driverGetVersion() // 1000, runtime.runtimeGetVersion() // 1000
    if not driver:
        raise RuntimeError("cuda: found no NVIDIA driver; without a GPU everything runs on 'cpu'")
    if driver < wanted:
        raise RuntimeError(
            f"cuda: the driver is for CUDA {driver}, CuPy for CUDA {wanted}: update the driver or install CuPy for "
            f'CUDA {driver}: pip install "./{__package__}[cuda{driver}]"'
        )
    try:
        runtime.getDeviceCount()
    except RuntimeError as error:
        raise RuntimeError(f"cuda: found no GPU, is it hidden by CUDA_VISIBLE_DEVICES? ({error})") from None
    cupy.cuda.set_allocator(from_pool(cupy, cupy.get_default_memory_pool()))
    return cupy


def from_pool(cupy, pool):
    """A function that allocates from CuPy's pool, with an error that says what was wanted and what is left."""

    def allocate(size):
        try:
            return pool.malloc(size)
        except MemoryError:
            free, total = cupy.cuda.runtime.memGetInfo()
            raise MemoryError(
                f"cuda: wanted {size / 2**20:,.1f} MiB, but of the GPU's {total / 2**20:,.0f} MiB only "
                f"{free / 2**20:,.1f} are free: take smaller batches, or drop results that hold their graph"
            ) from None

    return allocate


# Numbers


def number(array):
    """The number of a 0-d array; of one on the GPU, which the host would have to wait for, the array itself."""
    if isinstance(array, Recorded):
        return array.number()
    return array.item() if on_host(array) else array


def within(index, size):
    """Whether all indices lie from 0 to size − 1. Those on the GPU aren't checked: the host would have to wait."""
    if isinstance(index, Recorded):
        return index.record.within(index, size)
    return not on_host(index) or not index.size or 0 <= index.min() <= index.max() < size


class Setting:
    """A setting in a dict, such as a learning rate, as an argument of kernels. On the GPU they read it from memory.

    So a captured step is replayed with its current value.
    """

    def __init__(self, settings, name):
        self._settings, self._name, self._array, self._held = settings, name, None, None

    def held(self):
        return self._settings[self._name]

    def value(self):
        data = getattr(self.held(), "_data", None)
        return float(data.array if isinstance(data, Recorded) else self.held())

    def on_device_of(self, array):
        """The number for a kernel on the array: a float or, on the GPU, a 0-d array, float64."""
        if on_host(array):
            return self.value()
        if isinstance(array, Recorded):
            return array.record.setting(self)
        if self._array is None:
            self._array = np.zeros_like(array, dtype=np.float64, shape=(1,)).reshape(())
            _on_device.add(self)
        self.refresh()
        return self._array

    def refresh(self):
        """Copy the current value to where kernels read it."""
        value = self.value()
        if value != self._held:
            if gpu().cuda.get_current_stream().is_capturing():
                raise RuntimeError(f"{self._name}: set within the step, it would be the same in each replay")
            self._array[...] = self._held = value


_on_device = WeakSet()  # settings that kernels read from the GPU's memory


def refresh():
    for setting in _on_device:
        setting.refresh()


def special_functions(x):
    """`cupyx.scipy.special` for an array on the GPU; None for one on the host."""
    return None if on_host(x) or isinstance(x, Recorded) else import_module("cupyx.scipy.special")


def add_at(x, index, g):
    """`numpy.add.at`, which takes no tuple as an index into CuPy's arrays."""
    if on_host(x) or isinstance(x, Recorded):
        np.add.at(x, index, g)
    else:
        gpu().add.at(x, index, g)


def random(like, generator):
    """Random numbers from 0 to 1 in the shape of an array, and on its device; the GPU's are seeded by NumPy's."""
    if isinstance(like, Recorded):
        return like.record.random(like.shape)
    return (generator if on_host(like) else _on_gpu(generator)).random(like.shape)


@lru_cache(maxsize=1)
def _on_gpu(generator):
    return gpu().random.default_rng(int(generator.integers(2**63)))
