"""Packing: matrices copied into panels, two registers wide, in the order in which the micro-kernel reads them."""

from functools import lru_cache

import numpy as np

from .jit import inner
from .memory import empty
from .micro_kernel import TAIL
from .registers import OUTER, ROWS, TWO, lanes, lanes_of, load, store, transpose


def offset_table(positions):
    """The positions, with the last one repeated for the rows of a tile beyond it."""
    return np.pad(positions.ravel(), (0, TAIL), mode="edge")


@lru_cache(maxsize=1024)
def row_offsets(n, step):
    """The offsets of n rows."""
    return offset_table(np.arange(n) * step)


@inner
def pack_panel(b, j, n, k, lane_step, packed, width, offsets, packed_offsets):
    """Pack columns j to j + width of a matrix (k, n) into a panel (k, width), padded with zeros.

    The offsets are those of its rows, and of rows after them or repeated ones: they are loaded, too.
    """
    count, lane = min(width, n - j), width // 2
    if count < width:
        for i in range(k * width):
            packed[i] = 0
    if lane_step == 1 and count == width:
        for i in range(0, k, ROWS):
            store(load(b, offsets, i, j, TWO, OUTER), packed, packed_offsets, i, min(ROWS, k - i), 0, width)
        return
    whole = k // lane * lane if count == width and lane_step > 1 else 0
    for i in range(0, whole, lane):
        transpose(b, offsets[i] + j * lane_step, lane_step, packed, i * width, width)
        transpose(b, offsets[i] + (j + lane) * lane_step, lane_step, packed, i * width + lane, width)
    for c in range(count):
        for i in range(whole, k):
            packed[i * width + c] = b[offsets[i] + (j + c) * lane_step]


@inner
def pack_rows(a, first, count, k, step, packed, length):
    """Pack rows of a matrix whose columns are contiguous: `count` rows from `first` on, at distances of `length`.

    A square that would reach beyond them overlaps the one before.
    """
    lane = lanes_of(a)
    if min(count, k) < lane:
        for p in range(count):
            for i in range(k):
                packed[p * length + i] = a[i * step + first + p]
        return
    for i in range(0, k, lane):
        i = min(i, k - lane)
        for p in range(0, count, lane):
            p = min(p, count - lane)
            transpose(a, i * step + first + p, step, packed, p * length + i, length)


def pack_weight(w, dtype):
    """(groups, n, k, KH, KW) -> (groups, panels, KH, KW, k, width): n in panels of two registers, padded with zeros."""
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


def pack_bias(bias, groups, n, dtype):
    """(groups·n,) or None -> (groups, panels, width)."""
    width = 2 * lanes(dtype)
    out = np.zeros((groups, -(-n // width) * width), dtype)
    if bias is not None:
        out[:, :n] = bias.reshape(groups, n)
    return out.reshape(groups, -1, width)
