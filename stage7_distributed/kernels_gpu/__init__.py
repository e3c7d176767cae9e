"""CUDA kernels: each entry point replaces the NumPy function of the same name.

Each file has one topic, as on the CPU, and lists its entry points in `__all__`. A kernel runs in every thread of a grid
of blocks; the threads of a block have shared memory and can synchronize. The docstring of a kernel says what the grid
is, what one thread computes, what is in shared memory, and how many bytes are moved, compared with the minimum. Kernels
take arrays as flat, C-contiguous memory, images as (N, C, H, W). For arguments that it doesn't support an entry point
returns `NotImplemented`, and NumPy's function is called, which CuPy runs.
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):
    _topic = import_module(f"{__name__}.{_file.name}")
    globals().update({name: getattr(_topic, name) for name in getattr(_topic, "__all__", ())})
