"""Kernels compiled for the CPU: each entry point replaces the NumPy function of the same name.

Each file has one topic and lists its entry points in `__all__`. An entry point converts its arrays to the layout of its
kernel, checks their shapes, allocates the result and chooses the number of threads; in each thread t of them the kernel
does a part of the work. It can't make arrays or assign one slice to another, which take Numba's runtime; `allocating`
in `threads.py` is for work that has to. For arguments that it doesn't support an entry point returns `NotImplemented`,
and NumPy's function is called. `device.py` calls that too if the first argument has fewer numbers than THRESHOLDS says,
for which it is faster.

The layout of images is (N, H, W, C), channels last, so that the lanes of a register are channels; the caller sees views
with PyTorch's order of dims.
"""

from importlib import import_module
from pkgutil import iter_modules

THRESHOLDS = {}
for _file in iter_modules(__path__):
    _topic = import_module(f"{__name__}.{_file.name}")
    globals().update({name: getattr(_topic, name) for name in getattr(_topic, "__all__", ())})
    THRESHOLDS |= getattr(_topic, "THRESHOLDS", {})
