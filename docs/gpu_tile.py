"""Draw docs/gpu_tile.png, a tile of a matrix product on a GPU, for the README of rung 5: python docs/gpu_tile.py"""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

SIDE, DEPTH, NEAR, THREADS = 128, 8, 4, 16  # of a tile: rows, steps at once, neighbours of a thread, threads in a row
SIZE = 640  # of the matrices in the picture
ROW, COLUMN, STEP = 256, 384, 296  # where the tile is, and how far its block has come
TY, TX = 5, 9  # the thread that is singled out
INK, ACCENT, PALE, PALER = "#1f3b57", "#d9541e", "#f7d3c4", "#e4eaf0"


def box(axes, x, y, width, height, color, **style):
    axes.add_patch(Rectangle((x, y), width, height, **{"facecolor": color, "edgecolor": "none", **style}))


def outlined(axes, x, y, width, height, color=PALE):
    box(axes, x, y, width, height, color, edgecolor=ACCENT, linewidth=1.2, zorder=3)


def own(t):
    """The first of each run of rows (columns) that belong to a thread."""
    return [half + t * NEAR for half in range(0, SIDE, THREADS * NEAR)]


def whole(axes):
    """The three matrices in memory, and what one block has to do with them."""
    gap = 70
    left, top = -SIZE - gap, -SIZE - gap
    for x, y in ((0, 0), (left, 0), (0, top)):
        box(axes, x, y, SIZE, SIZE, PALER)
    for k in range(0, SIZE, SIDE):
        for start, end in (((k, 0), (k, SIZE)), ((0, k), (SIZE, k))):
            axes.plot(*zip(start, end), color="white", linewidth=1)
    box(axes, left, ROW, STEP, SIDE, PALE)
    box(axes, COLUMN, top, SIDE, STEP, PALE)
    outlined(axes, left + STEP, ROW, 2 * DEPTH, SIDE)
    outlined(axes, COLUMN, top + STEP, SIDE, 2 * DEPTH)
    outlined(axes, COLUMN, ROW, SIDE, SIDE)
    for x, y, name in ((left, 0, "a"), (0, top, "b"), (0, 0, "out = a b")):
        axes.text(x + 20, y + 30, name, va="top", fontsize=12)
    axes.text(COLUMN + SIDE / 2, ROW + SIDE + 20, "one block's tile", ha="center", va="top", color=ACCENT)
    axes.text(left + STEP, ROW - 20, f"{DEPTH} steps", ha="center", color=ACCENT)
    axes.text(COLUMN - 15, top + STEP + DEPTH, f"{DEPTH} steps", ha="right", va="center", color=ACCENT)
    axes.set(xlim=(left - 5, SIZE + 5), ylim=(SIZE + 90, top - 90))
    axes.text((left + SIZE) / 2, top - 40, "in the GPU's memory", ha="center")


def tile(axes):
    """One tile: what lies in shared memory, and what one thread keeps in registers."""
    gap = 10
    box(axes, 0, 0, SIDE, SIDE, PALER)
    box(axes, -gap - DEPTH, 0, DEPTH, SIDE, PALER)
    box(axes, 0, -gap - DEPTH, SIDE, DEPTH, PALER)
    for k in range(0, SIDE, NEAR):
        for start, end in (((k, 0), (k, SIDE)), ((0, k), (SIDE, k))):
            axes.plot(*zip(start, end), color="white", linewidth=0.4)
    step = 3
    for y in own(TY):
        outlined(axes, -gap - DEPTH + step, y, 1, NEAR)
        for x in own(TX):
            outlined(axes, x, y, NEAR, NEAR)
    for x in own(TX):
        outlined(axes, x, -gap - DEPTH + step, NEAR, 1)
    for y in own(TY):
        axes.plot(
            (-gap - DEPTH + step + 1, own(TX)[-1]), (y + NEAR / 2,) * 2, color=ACCENT, linewidth=0.6, linestyle=":"
        )
    for x in own(TX):
        axes.plot(
            (x + NEAR / 2,) * 2, (-gap - DEPTH + step + 1, own(TY)[-1]), color=ACCENT, linewidth=0.6, linestyle=":"
        )
    sums = len(own(TX)) * NEAR
    axes.text(
        SIDE / 2, SIDE + 4, f"one thread's {sums} × {sums} sums, in registers", ha="center", va="top", color=ACCENT
    )
    axes.text(-gap - DEPTH - 3, SIDE / 2, "a, in shared memory", rotation=90, ha="right", va="center")
    axes.text(SIDE / 2, -gap - DEPTH - 3, "b, in shared memory", ha="center")
    axes.set(xlim=(-gap - DEPTH - 14, SIDE + 1), ylim=(SIDE + 17, -gap - DEPTH - 17))


with rc_context({"font.size": 9, "text.color": INK}):
    figure = Figure(figsize=(8.4, 4.3), layout="constrained")
    for axes, draw in zip(figure.subplots(1, 2), (whole, tile)):
        draw(axes)
        axes.set_aspect("equal")
        axes.axis("off")
    figure.savefig(Path(__file__).resolve().parent / "gpu_tile.png", dpi=200)
