"""Elementwise functions of NumPy arrays, compiled from their own text as one loop; so no formula is written twice.

NumPy's functions in it are replaced by those of `elementary.FUNCTIONS`. Besides, it may use numbers and elementwise
functions of its file; anything else is an error when Numba compiles it, at the first large array.
"""

import hashlib
from functools import cache
from types import FunctionType

import numpy as np

from .elementary import FUNCTIONS, constants_of, specialized
from .layout import channels_first, channels_last, contiguous
from .memory import empty
from .threads import parallel, thread_count

LEAST = 512  # numbers; below that most of NumPy's functions are as fast
LEAST_CAPTURED = 2048  # and below that, in a captured step, loops of its own
COST = 8  # additions that take as long as such a function of one number


def _of_one(t, threads, out, x, numbers):
    first, last = t * out.size // threads, (t + 1) * out.size // threads
    out, x = out[first:last], x[first:last]
    for i in range(out.size):
        out[i] = FORMULA(x[i], *numbers)  # noqa: F821 - as in jit.py


def _of_two(t, threads, out, x, y, numbers):
    first, last = t * out.size // threads, (t + 1) * out.size // threads
    out, x, y = out[first:last], x[first:last], y[first:last]
    for i in range(out.size):
        out[i] = FORMULA(x[i], y[i], *numbers)  # noqa: F821


def _of_three(t, threads, out, x, y, z, numbers):
    first, last = t * out.size // threads, (t + 1) * out.size // threads
    out, x, y, z = out[first:last], x[first:last], y[first:last], z[first:last]
    for i in range(out.size):
        out[i] = FORMULA(x[i], y[i], z[i], *numbers)  # noqa: F821


def _two_of_one(t, threads, out, second, x, numbers):
    first, last = t * out.size // threads, (t + 1) * out.size // threads
    out, second, x = out[first:last], second[first:last], x[first:last]
    for i in range(out.size):
        out[i], second[i] = FORMULA(x[i], *numbers)  # noqa: F821


LOOPS = {(1, 1): _of_one, (2, 1): _of_two, (3, 1): _of_three, (1, 2): _two_of_one}


@cache
def _loop(function, dtype, arrays, results):
    """The kernel of a function of so many arrays of the dtype, followed by numbers, with so many results."""
    loop = LOOPS[arrays, results]
    names = {"__name__": __name__, "FORMULA": specialized(function, dtype)}
    copy = FunctionType(loop.__code__, names, function.__name__.strip("_"))
    copy.__qualname__ = f"{function.__qualname__}_{dtype}_{digest(function)}"  # the key in Numba's cache
    return parallel(copy)


def digest(function):
    """Of the code and the constants that a compiled function depends on, as far as they are outside of this package."""
    return hashlib.sha256(_text(function).encode()).hexdigest()[:16]


def _text(function):
    code, nested = function.__code__, []
    for value in constants_of(function).values():
        name, value = getattr(value, "__name__", None), getattr(value, "numpy", value)
        elementary = name in FUNCTIONS or not isinstance(value, FunctionType)
        nested.append(name or repr(value) if elementary else _text(value))
    return repr((code.co_code, code.co_consts, code.co_names, nested))


def elementwise(function, results=1):
    """The function compiled, of one to three arrays of one shape and dtype; NotImplemented of others."""
    function = FUNCTIONS.get(function.__name__, function)

    def run(x, *others):
        arrays = [x, *[y for y in others if isinstance(y, np.ndarray)]]
        if len(arrays) > 3 or any([y.dtype != x.dtype or y.shape != x.shape for y in arrays[1:]]):
            return NotImplemented
        numbers = tuple([x.dtype.type(number) for number in others[len(arrays) - 1 :]])
        images = x.ndim == 4 and not x.flags.c_contiguous
        arrays = [(channels_last if images else contiguous)(x) for x in arrays]
        outs = [empty(arrays[0].shape, x.dtype) for _ in range(results)]
        kernel = _loop(function, x.dtype, len(arrays), results)
        kernel(thread_count(COST * x.size), *[x.reshape(-1) for x in (*outs, *arrays)], numbers)
        outs = tuple(map(channels_first, outs)) if images else tuple(outs)
        return outs if results > 1 else outs[0]

    return run
