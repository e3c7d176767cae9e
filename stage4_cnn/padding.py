"""What stands around an array: a constant, the array in a mirror, its nearest number or its other end."""

import numpy as np

from . import ops
from .engine import apply

PLACES = {  # which of n numbers stands at place i, from before the first to after the last
    "reflect": lambda i, n: n - 1 - np.abs(n - 1 - np.abs(i)),
    "replicate": lambda i, n: np.clip(i, 0, n - 1),
    "circular": lambda i, n: i % n,
}
REACH = {"reflect": 1, "circular": 0}  # so many numbers fewer than there are may stand before or after them


def pad(input, pad, mode="constant", value=None):
    """`input` with a border: pad is (before, after) for the last dim, then for the one before it, and so on.

    Where it is less than 0, so many numbers fall away. See `torch.nn.functional.pad`.
    """
    if mode != "constant" and mode not in PLACES:
        raise NotImplementedError(f"pad: mode: wanted 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if mode != "constant" and value:
        raise ValueError(f"pad: value: a border in mode {mode!r} has none, got {value}")
    dims = _borders(input.shape, pad)
    if mode == "constant":
        if any(border < 0 for pair in dims.values() for border in pair):
            input = input[tuple(slice(*_kept(n, *dims.get(dim, (0, 0)))) for dim, n in enumerate(input.shape))]
        return apply(ops.pad, (input,), [max(0, border) for border in pad], value or 0)
    for dim, (before, after) in dims.items():
        n = input.shape[dim]
        if max(before, after) > n - REACH.get(mode, -np.inf) or n == 0:
            raise ValueError(f"pad: dim {dim} has {n} numbers, too few for {(before, after)} in mode {mode!r}")
        if before or after:
            input = apply(repeated, (input,), dim, PLACES[mode](np.arange(-before, n + after), n).tolist())
    return input


def repeated(x, dim, index):
    """The slices of x along dim that the index names, one after the other;  each gets the sum of its gradients."""
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


def _borders(shape, pad):
    """dim -> (before, after), for all dims that pad has numbers for."""
    pairs = list(zip(pad[::2], pad[1::2]))
    if len(pad) % 2 or len(pairs) > len(shape):
        raise ValueError(f"pad: wanted (before, after) for up to {len(shape)} dims, got {tuple(pad)}")
    dims = {len(shape) - 1 - k: pair for k, pair in enumerate(pairs)}
    for dim, pair in dims.items():
        if shape[dim] + sum(pair) < 0:
            raise ValueError(f"pad: dim {dim} has {shape[dim]} numbers, too few to take away {pair}")
    return dims


def _kept(n, before, after):
    """Where what is left of n numbers begins and ends."""
    return max(0, -before), n - max(0, -after)
