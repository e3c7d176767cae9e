"""Which code runs the loops: NumPy's, as it stands in the rules' files, or compiled kernels of the same names."""

import os
from functools import wraps

import numpy as np

_COMPILED = (np.dtype(np.float32), np.dtype(np.float64))


def kernel(function):
    """The function on arrays, with the kernel of its name in its place for all float32 and float64 that this takes.

    With GRADUAL_KERNELS=numpy in the environment it is the function itself, through which a debugger steps.
    """
    choice = os.environ.get("GRADUAL_KERNELS", "compiled")
    if choice not in ("compiled", "numpy"):
        raise ValueError(f"GRADUAL_KERNELS: wanted 'compiled' or 'numpy', got {choice!r}")
    if choice == "numpy":
        return function
    from . import kernels_cpu

    compiled = getattr(kernels_cpu, function.__name__)
    least = kernels_cpu.LEAST.get(function.__name__, 0)

    @wraps(function)
    def choose(x, *arguments):
        if x.size < least or x.dtype not in _COMPILED or not x.ndim:
            return function(x, *arguments)
        out = compiled(x, *arguments)
        return function(x, *arguments) if out is NotImplemented else out

    choose.numpy = function
    return choose
