"""Checks of what a loaded state contains."""

from numbers import Real

import numpy as np

from .device import moved
from .engine import array_of
from .files import shown


def numbers(name, value, kinds="fiub"):
    """The array, in the host's memory, of the Tensor, array or number under a name. ValueError if it isn't numeric."""
    if not hasattr(value, "__array__") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"{shown(name)} holds {type(value).__name__}, no numbers")
    try:
        array = np.asarray(moved(array_of(value.detach() if hasattr(value, "detach") else value), "cpu"))
    except Exception as error:  # of another library
        raise ValueError(f"{shown(name)}: {shown(error)}") from None
    if array.dtype.kind not in kinds:
        raise ValueError(f"{shown(name)} holds {array.dtype}, no numbers")
    return array


def cast(name, array, dtype):
    """The array with another dtype. ValueError if that would make others of its numbers, as infinity of 1e300."""
    with np.errstate(all="ignore"):
        out = array.astype(dtype, copy=False)
    same = np.isfinite(out) == np.isfinite(array) if out.dtype.kind == "f" else out == array
    if not same.all():
        raise ValueError(f"{shown(name)} holds numbers that {dtype} has not")
    return out


def alike(name, mine, value):
    """ValueError unless a loaded setting can take the place of mine: a number other than NaN that of a number, etc."""
    if isinstance(mine, bool):
        fits, wanted = value is None or isinstance(value, (bool, np.bool_)), "True or False"
    elif isinstance(mine, (list, tuple)):
        fits, wanted = isinstance(value, (list, tuple)) and len(value) == len(mine), f"{len(mine)} values"
        for i in range(len(mine) if fits else 0):
            alike(f"{name}[{i}]", mine[i], value[i])
    elif isinstance(mine, Real) or hasattr(mine, "__array__"):
        fits, wanted = _number(name, value), "a number"
    else:
        kind = dict if isinstance(mine, dict) else str if isinstance(mine, str) else object
        fits, wanted = isinstance(value, kind), kind.__name__
    if not fits:
        raise ValueError(f"{shown(name)}: wanted {wanted}, got {shown(repr(value), 60)}")


def _number(name, value):
    if hasattr(value, "__array__"):
        value = numbers(name, value, "fiu")
        return value.size == 1 and not np.isnan(value).any()
    return isinstance(value, Real) and not isinstance(value, bool) and value == value
