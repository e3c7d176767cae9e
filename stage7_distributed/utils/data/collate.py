"""Collating a list of examples into a batch of Tensors."""

from collections.abc import Mapping, MutableMapping, Sequence
from copy import copy

import numpy as np

from ...device import on_host
from ...engine import Tensor, constant, stack


def default_collate(batch):
    """One batch of a list of examples: Tensors with one dim more, in the structure that each of the examples has.

    Numbers become Tensors, float64 and int64, and arrays and Tensors are stacked; tuples become lists; strings stay as
    they are. Nothing in a batch requires grad.
    """
    first = batch[0]
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, float):
        return constant(np.array(batch, np.float64))
    if isinstance(first, int):
        return Tensor(batch, requires_grad=False)
    if isinstance(first, np.generic):
        return _constant(np.array(batch))
    if hasattr(first, "__array__"):
        return _stacked([_constant(x) for x in batch])
    if isinstance(first, Mapping):
        return _refilled(first, {key: default_collate([example[key] for example in batch]) for key in first})
    if not isinstance(first, Sequence):
        raise _not_collated(type(first).__name__)
    if len({len(example) for example in batch}) > 1:
        raise RuntimeError("default_collate: each element in list of batch should be of equal size")
    parts = map(default_collate, zip(*batch))
    return type(first)(*parts) if hasattr(first, "_fields") else list(parts)


def default_convert(data):
    """The same structure with Tensors in the place of arrays; its numbers and strings stay, tuples become lists."""
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Tensor) or hasattr(data, "__array__"):
        return _constant(data)
    if isinstance(data, Mapping):
        return _refilled(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, Sequence):
        parts = map(default_convert, data)
        return type(data)(*parts) if hasattr(data, "_fields") else list(parts)
    return data


def _constant(x):
    """A Tensor that requires no grad, of a Tensor or an array."""
    if isinstance(x, Tensor):
        return x.detach() if x.requires_grad else x
    x = np.asarray(x) if on_host(x) else x
    if x.dtype.kind not in "fiub":
        raise _not_collated(f"an array of {x.dtype}")
    return constant(x)


def _stacked(tensors):
    shapes = list(dict.fromkeys([tuple(x.shape) for x in tensors]))
    if len(shapes) > 1:
        raise RuntimeError(f"default_collate: wanted examples of one shape, got {shapes[0]} and {shapes[1]}")
    return stack(tensors)


def _refilled(mapping, values):
    """A mapping of the same kind with these values, a dict where that kind can't be changed."""
    if not isinstance(mapping, MutableMapping):
        return values
    mapping = copy(mapping)
    mapping.update(values)
    return mapping


def _not_collated(found):
    wanted = "batch must contain tensors, numpy arrays, numbers, dicts or lists"
    return TypeError(f"default_collate: {wanted}; found {found}")
