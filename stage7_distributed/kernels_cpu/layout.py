"""Memory layout: images are (N, H, W, C), channels last, so that the lanes of a register are channels."""

import math
from itertools import accumulate
from operator import mul

import numpy as np

from .memory import empty
from .registers import lanes, lanes_of, transpose
from .threads import parallel, thread_count

__all__ = ["reshaped"]
THRESHOLDS = {"reshaped": 8192}


def contiguous(x):
    """The array itself, or a copy if it isn't contiguous, aligned and writeable."""
    return x if x.flags.carray else np.require(x, None, "CAW")


def check_shapes(condition, *arrays):
    if not condition:
        raise ValueError(f"the arrays do not fit together: {', '.join(str(x.shape) for x in arrays)}")


@parallel
def _transpose(t, threads, x, out, rows, columns):
    """Matrices (rows, columns) one after the other, each transposed: strips of rows that fill cache lines of `out`."""
    lane, size = lanes_of(x), rows * columns
    whole_columns, strips = columns // lane * lane, -(-rows // (2 * lane))
    units = x.size // size * strips
    for u in range(t * units // threads, (t + 1) * units // threads):
        n, first = u // strips, u % strips * 2 * lane
        source, target, last = x[n * size : (n + 1) * size], out[n * size : (n + 1) * size], min(first + 2 * lane, rows)
        whole_rows = first + (last - first) // lane * lane
        for j in range(0, whole_columns, lane):
            for i in range(first, whole_rows, lane):
                transpose(source, i * columns + j, columns, target, j * rows + i, rows)
        for i in range(first, last):
            for j in range(whole_columns if i < whole_rows else 0, columns):
                target[j * rows + i] = source[i * columns + j]


def transposed(x, shape):
    """(N, rows, columns) -> (N, columns, rows), in the given shape."""
    out = empty(shape, x.dtype)
    _transpose(thread_count(x.size), x.reshape(-1), out.reshape(-1), *x.shape[1:])
    return out


def channels_last(x):
    """Images (N, C, H, W) as an array (N, H, W, C)."""
    n, c, h, w = x.shape
    if c > 1 and h * w > 1 and x.flags.carray and x.size:
        return transposed(x.reshape(n, c, h * w), (n, h, w, c))
    return contiguous(x.transpose(0, 2, 3, 1))


def channels_first(x):
    """Images (N, H, W, C) as a view (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


def transposed_by_reshape(x, *sizes):
    """Whether x is images with channels last, and a reshape has to copy them."""
    if x.flags.c_contiguous or x.ndim != 4 or not x.size or not x.transpose(0, 2, 3, 1).flags.carray:
        return False
    sizes = sizes[0] if len(sizes) == 1 and hasattr(sizes[0], "__len__") else sizes
    if -1 in sizes:
        sizes = [n if n != -1 else -x.size // (math.prod(sizes) or 1) for n in sizes]
    n, c = x.shape[:2]
    ends = {1, *accumulate(sizes, mul)}  # a view can only divide dims and merge those that lie one in the other
    return math.prod(sizes) == x.size and not {n, n * c} <= ends


def reshaped(x, *sizes):
    if not transposed_by_reshape(x, *sizes):
        return NotImplemented
    n, c, h, w = x.shape
    return transposed(x.transpose(0, 2, 3, 1).reshape(n, h * w, c), x.shape).reshape(*sizes)


def pad_channels(x, groups=1):
    """Images (N, H, W, C) with zeros after the channels of each group, up to a whole number of registers."""
    n, h, w, c = x.shape
    missing = -(c // groups) % lanes(x.dtype)
    if not missing:
        return x
    return np.pad(x.reshape(n, h, w, groups, c // groups), ((0, 0),) * 4 + ((0, missing),)).reshape(
        n, h, w, c + groups * missing
    )
