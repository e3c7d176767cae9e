"""Elementwise functions of arrays, compiled from their own text, as on the CPU, as one kernel.

NumPy's functions in it are replaced by CUDA's. A function that is itself one of these is left to CuPy, whose is one
kernel too.
"""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math
from functools import cache

import numpy as np
from numba import cuda

from ..kernels_cpu.elementary import maximum, minimum, of_dtype, where
from ..kernels_cpu.elementwise import digest
from .launch import ITEMS, SIMULATED, THREADS, contiguous, device, empty, grid_size, same_dtype, specialized

FUNCTIONS = {f.__name__: f for f in (math.copysign, math.erf, math.exp, math.expm1, math.log1p, math.tanh)}
FUNCTIONS |= {f.__name__: f for f in (maximum, minimum, where)}
FUNCTIONS |= {"abs": math.fabs, "absolute": math.fabs, "error_function": math.erf}


def _map(x, y, z, out, n, numbers):
    """out = FORMULA of the first ARRAYS of x, y and z and of the numbers, number by number.

    Grid: a block for 1024 numbers. A thread: 4 numbers, 256 apart, so that the threads of a warp read neighbours.
    Shared memory: none. Bytes: each array once, the minimum.
    """
    xs = cuda.local.array(ITEMS, real)  # in registers, as all loops over them are unrolled
    ys = cuda.local.array(ITEMS, real)
    zs = cuda.local.array(ITEMS, real)
    first = np.int64(cuda.blockIdx.x) * (ITEMS * THREADS) + cuda.threadIdx.x
    for k in range(ITEMS):
        i = first + k * THREADS
        if i < n:
            xs[k], ys[k], zs[k] = x[i], y[i], z[i]
    for k in range(ITEMS):
        i = first + k * THREADS
        if i < n:
            out[i] = FORMULA(*(xs[k], ys[k], zs[k])[:ARRAYS], *numbers)


def mapped(formula, arrays, numbers=(), out=None):
    """A device function of one to three arrays of one shape and dtype, number by number, which may go into `out`."""
    x, *others = map(contiguous, arrays)
    out = empty(x, *x.shape) if out is None else out
    launch = specialized(_map, x.dtype, FORMULA=formula, ARRAYS=len(arrays))
    launch(grid_size(x.size, ITEMS * THREADS), x, *[*others, x, x][:2], out, x.size, numbers)
    return out


@cache
def formula(function, dtype):
    """A function of numbers of the dtype as a device function; the simulator runs its text."""
    if SIMULATED:
        return function
    copy = of_dtype(function, dtype, FUNCTIONS, formula)
    copy.__name__ += "_" + digest(function)  # the key in the cache of kernels
    return device(copy)


def elementwise(function):
    """The function compiled, of one to three arrays of one shape and dtype; NotImplemented of others."""
    if function.__name__ in FUNCTIONS:
        return function

    def run(x, *others):
        arrays = [x, *[y for y in others if isinstance(y, type(x))]]
        if not x.size or len(arrays) > 3 or not same_dtype(*arrays) or any([y.shape != x.shape for y in arrays]):
            return NotImplemented
        numbers = tuple([x.dtype.type(number) for number in others[len(arrays) - 1 :]])
        return mapped(formula(function, x.dtype), arrays, numbers)

    return run
