"""The loops that take time, compiled for the CPU: each entry point stands in for the NumPy function of its name.

A file holds one topic, and its entry points are what its `__all__` names. An entry point brings its arrays into the
form that its kernel wants, checks that they fit, allocates the result and says among how many threads to share the
work, of which a kernel does the t-th part. What it can't take it leaves to NumPy's function: `NotImplemented`. So does
`device.py` with a first argument of fewer numbers than THRESHOLDS says, where NumPy's function is faster.

Images lie in memory as (N, H, W, C), channels last, so that a register holds channels; to the caller they are views
with the dims in PyTorch's order.
"""

from importlib import import_module
from pkgutil import iter_modules

THRESHOLDS = {}
for _file in iter_modules(__path__):
    _room = import_module(f"{__name__}.{_file.name}")
    globals().update({name: getattr(_room, name) for name in getattr(_room, "__all__", ())})
    THRESHOLDS |= getattr(_room, "THRESHOLDS", {})
