"""Compiling, caching and launching kernels.

A kernel reads names in capitals, and `real`, the type of the numbers, as globals; `specialized` sets them and compiles
the kernel for each choice. So they are compile-time constants: branches on them are resolved, small loops unrolled.
"""

import hashlib
import os
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FunctionType

import numpy as np
from numba import config, cuda, types

HERE, PACKAGE = Path(__file__).parent, __package__.rpartition(".")[0]
SIMULATED = bool(config.ENABLE_CUDASIM)
THREADS = 256  # in each block, whatever the kernel
ITEMS = 4  # numbers of each array that a thread loads before it uses the first
MOST = 2**31  # the largest count for 32-bit indices, whose division takes a quarter of the time


def device(function):
    """A device function; the simulator runs it as plain Python."""
    return function if SIMULATED else cuda.jit(device=True)(function)


@cache
def specialized(kernel, dtype, **constants):
    """`launch(blocks, *arguments)` of a kernel specialized for these constants. Its arguments' types never change."""
    names = {**kernel.__globals__, "real": dtype.type, **constants}
    source, run = FunctionType(kernel.__code__, names, kernel.__name__), None

    def launch(blocks, *arguments):
        nonlocal run
        if run is None:
            run = _load(source, arguments, constants)
        if type(arguments[-1]) is tuple:
            arguments = (*arguments[:-1], *[n if isinstance(n, np.floating) else int(n) for n in arguments[-1]])
        run(blocks, (THREADS,), arguments)

    def simulate(blocks, *arguments):
        flat = [x.reshape(-1) if isinstance(x, np.ndarray) else x for x in arguments]
        cuda.jit(source)[blocks, THREADS](*flat)

    return simulate if SIMULATED else launch


def _load(source, arguments, constants):
    """The kernel on CuPy's current device: CuPy launches faster than Numba, and on its current stream.

    To a kernel an array is a pointer, an int and a float have 64 bits, a NumPy float has its own, and each is a
    parameter, in order; so is each number of a tuple, which may come last.
    """
    import cupy
    from cuda.core import Linker, LinkerOptions, ObjectCode

    name, arch = source.__name__.strip("_"), cupy.cuda.Device().compute_capability
    signature = types.void(*map(_type, arguments))
    what = f"{_text()} {name} {signature} {arch} " + " ".join(f"{k}={_name(v)}" for k, v in constants.items())
    file = Path(os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache"))  # as CuPy's own
    file /= f"gradual_{name}_{hashlib.sha256(what.encode()).hexdigest()[:32]}.cubin"
    try:
        cubin = file.read_bytes()
    except OSError:
        print(f"{PACKAGE}: compiling a kernel, once: {name.replace('_', ' ')}", file=sys.stderr, flush=True)
        bounds = THREADS, constants.get("RESIDENT", 2)  # with two blocks on a multiprocessor a thread has 128 registers
        options = {"abi": "numba", "cc": (int(arch[:-1]), int(arch[-1])), "launch_bounds": bounds}
        ptx, _ = cuda.compile(source, signature, device=False, **options)
        ptx = ptx.replace(re.search(r"\.entry\s+(\w+)", ptx)[1], name)  # else it contains numbers that change
        linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=LinkerOptions(arch=f"sm_{arch}"))
        cubin = bytes(linker.link("cubin").code)
        _write(file, cubin)
    module = cupy.cuda.Module()
    module.load(cubin)
    return module.get_function(name)


def _type(argument):
    if isinstance(argument, tuple):
        return types.Tuple([_type(n) for n in argument])
    if isinstance(argument, np.floating):
        return getattr(types, argument.dtype.name)
    if isinstance(argument, int | float | np.integer):
        return types.float64 if isinstance(argument, float) else types.int64
    return types.CPointer(getattr(types, argument.dtype.name))


def _name(constant):
    return constant.__name__ if callable(constant) else repr(constant)


@cache
def _text():
    """What a compiled kernel depends on besides its constants."""
    import numba_cuda

    texts = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))
    return f"{numba_cuda.__version__} {hashlib.sha256(texts).hexdigest()}"


def _write(file, content):
    """Write a file atomically or, if that fails, not at all."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, delete=False) as part:
            part.write(content)
        os.replace(part.name, file)


def empty(x, *shape, dtype=None):
    """An uninitialized array on the device of x, as `numpy.empty_like`, but faster."""
    return type(x)(shape, dtype or x.dtype)


def contiguous(x):
    """The array itself if it is contiguous, else a contiguous copy."""
    return x if x.flags.c_contiguous else x.copy()


def same_dtype(first, *others):
    """Whether all arrays that aren't None have one dtype, which kernels assume."""
    return all(x is None or x.dtype == first.dtype for x in others)


def grid_size(n, each=THREADS):
    return (-(-n // each),)


@device
def split(i, n):
    """i // n and i % n, for numbers of 32 bits."""
    q = np.uint32(i) // np.uint32(n)
    return np.int64(q), np.int64(np.uint32(i) - q * np.uint32(n))
