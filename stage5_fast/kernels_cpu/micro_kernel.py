"""The micro-kernel of products, convolutions and pooling: a register tile, accumulated over a loop.

Tails: `store` masks the lanes beyond the last column, and skips the rows beyond the last one. For these rows the tables
of offsets repeat the last offset `TAIL` times, so that loads remain within bounds.
"""

from functools import partial

from .jit import inner
from .registers import NARROW_ROWS, ROWS, accumulate

TAIL = max(ROWS, NARROW_ROWS)


@partial(inner, forceinline=True)  # else the tile would be passed through memory
def micro_kernel(tile, x, offsets, p, starts, base, w, j, length, x_step, w_step):
    """The tile, accumulated over `length` steps through x from each of the starts, with w read from position j on."""
    for s in range(starts.size):
        i = base + starts[s]
        for _ in range(length):
            tile = accumulate(tile, x, offsets, p, i, w, j)
            i += x_step
            j += w_step
    return tile
