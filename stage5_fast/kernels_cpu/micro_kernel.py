"""The micro-kernel that products, convolutions and pooling share: a tile of registers that stays there over a loop.

Of the last rows and columns only those that there are get written: `store` masks the lanes beyond the last column, and
takes the rows beyond the last one from tables of positions, which name their last position `TAIL` times more.
"""

from functools import partial

from .jit import jit
from .registers import NARROW_ROWS, ROWS, accumulate

TAIL = max(ROWS, NARROW_ROWS)


@partial(jit, forceinline=True)  # else a tile goes to it and comes back through memory
def micro_kernel(tile, x, offsets, p, starts, base, w, j, length, x_step, w_step):
    """The tile after `length` steps through x from each of the starts, while w is read from position j to the end."""
    for s in range(starts.size):
        i = base + starts[s]
        for _ in range(length):
            tile = accumulate(tile, x, offsets, p, i, w, j)
            i += x_step
            j += w_step
    return tile
