"""Packing: matrices copied into panels of two registers' width, in the order in which the micro-kernel reads them."""

from functools import lru_cache

import numpy as np

from .jit import empty, jit
from .micro_kernel import SPARE
from .registers import OUTER, ROWS, TWO, lanes, load, store, turn


def _table(positions):
    """The positions, and the last one again for the rows of a tile that are left over."""
    return np.pad(positions.ravel(), (0, SPARE), mode="edge")


@lru_cache(maxsize=1024)
def _lines(n, step):
    """Where each of n rows begins."""
    return _table(np.arange(n) * step)


@jit
def _pack(b, j, n, k, lane_step, own, width, lines, own_lines):
    """Columns j to j + width of a matrix (k, n), zeros after the last one, side by side in own memory."""
    count, lane = min(width, n - j), width // 2
    if count < width:
        for i in range(k * width):
            own[i] = 0
    if lane_step == 1 and count == width:
        for i in range(0, k, ROWS):
            store(load(b, lines, i, j, TWO, OUTER), own, own_lines, i, min(ROWS, k - i), 0, width)
        return
    whole = k // lane * lane if count == width and lane_step > 1 else 0
    for i in range(0, whole, lane):
        turn(b, j * lane_step + i, lane_step, own, i * width, width)
        turn(b, (j + lane) * lane_step + i, lane_step, own, i * width + lane, width)
    for c in range(count):
        for i in range(whole, k):
            own[i * width + c] = b[lines[i] + (j + c) * lane_step]


def _panels(w, dtype):
    """(groups, n, k, KH, KW) -> (groups, panels, KH, KW, k, width): n in panels of two registers, zeros at the end."""
    groups, n, k, *kernel = w.shape
    width = 2 * lanes(dtype)
    whole, rest = divmod(n, width)
    out = empty((groups, whole + (rest > 0), *kernel, k, width), dtype)
    if whole:
        out[:, :whole] = w[:, : whole * width].reshape(groups, whole, width, k, *kernel).transpose(0, 1, 4, 5, 3, 2)
    if rest:
        out[:, whole, ..., :rest] = w[:, whole * width :].transpose(0, 3, 4, 2, 1)
        out[:, whole, ..., rest:] = 0
    return out


def _bias(bias, groups, n, dtype):
    """(groups·n,) or None -> (groups, panels, width)."""
    width = 2 * lanes(dtype)
    out = np.zeros((groups, -(-n // width) * width), dtype)
    if bias is not None:
        out[:, :n] = bias.reshape(groups, n)
    return out.reshape(groups, -1, width)
