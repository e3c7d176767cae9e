"""Padding: with a constant, a reflection, the nearest number or the opposite side."""

import math

import numpy as np

from . import ops
from .engine import apply

PLACES = {  # which of n numbers stands at place i, from before the first to after the last
    "reflect": lambda i, n: n - 1 - np.abs(n - 1 - np.abs(i)),
    "replicate": lambda i, n: np.clip(i, 0, n - 1),
    "circular": lambda i, n: i % n,
}
SHORT = {"reflect": 1, "replicate": -math.inf, "circular": 0}  # by so much a border is shorter than what it is made of


def pad(input, pad, mode="constant", value=None):
    """`input` with a border: pad is (before, after) for the last dim, then for the one before it, and so on.

    Where it is less than 0, so many numbers fall away. See `torch.nn.functional.pad`.
    """
    if mode != "constant" and mode not in PLACES:
        raise NotImplementedError(f"pad: mode: wanted 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if mode != "constant" and value:
        raise ValueError(f"pad: value: a border in mode {mode!r} has none, got {value}")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(f"pad: wanted (before, after) for up to {input.ndim} dims, got {tuple(pad)}")
    dims = range(input.ndim)[::-1]
    if min(pad, default=0) < 0 and mode in ("constant", "circular"):
        input, pad = _cropped(input, dims, pad), [max(0, n) for n in pad]
    if mode == "constant":
        return apply(ops.pad, (input,), pad, value or 0)
    for dim, before, after in zip(dims, pad[::2], pad[1::2]):
        n = input.shape[dim]
        if n == 0 or n + before + after < 1 or max(before, after) > n - SHORT[mode]:
            raise ValueError(f"pad: dim {dim} of {tuple(input.shape)}: too few for {(before, after)} in mode {mode!r}")
        if before or after:
            input = apply(repeated, (input,), dim, PLACES[mode](np.arange(-before, n + after), n).tolist())
    return input


def _cropped(input, dims, pad):
    """The input, cropped where the padding is negative."""
    kept = [slice(None)] * input.ndim
    for dim, before, after in zip(dims, pad[::2], pad[1::2]):
        first, last = max(0, -before), input.shape[dim] - max(0, -after)
        if first > last:
            raise ValueError(f"pad: dim {dim} of {tuple(input.shape)}: too few to take away {(before, after)}")
        kept[dim] = slice(first, last)
    return input[tuple(kept)]


def repeated(x, dim, index):
    """The slices of x along dim at the indices;  the gradients of a slice that is taken more than once add up."""
    out = np.empty_like(x, order="C", shape=(*x.shape[:dim], len(index), *x.shape[dim + 1 :]))
    to, of = out.swapaxes(0, dim), x.swapaxes(0, dim)
    for place, i in enumerate(index):
        to[place] = of[i]

    def backward(g):
        gradient = np.zeros_like(x)
        to, of = gradient.swapaxes(0, dim), g.swapaxes(0, dim)
        for place, i in enumerate(index):
            to[i] += of[place]
        return (gradient,)

    return out, backward
