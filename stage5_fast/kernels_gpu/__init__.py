"""The loops that take time, as CUDA kernels: each entry point stands in for the NumPy function of its name.

A file holds one topic, as on the CPU, and its entry points are what its `__all__` names. A kernel runs once for every
thread of a grid of blocks; the threads of a block share a little fast memory and can wait for each other. Its docstring
says what the grid is, what one thread computes, what lies in shared memory, and the bytes moved against those that must
be. Arrays reach a kernel as flat, C-contiguous memory, images as (N, C, H, W). What an entry point can't take it leaves
to NumPy's function, which CuPy runs: `NotImplemented`.
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):
    _room = import_module(f"{__name__}.{_file.name}")
    globals().update({name: getattr(_room, name) for name in getattr(_room, "__all__", ())})
