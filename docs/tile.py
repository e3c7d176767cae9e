"""Draw docs/tile.png, one step of a tile of registers, for the README of rung 5: python docs/tile.py"""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

ROWS, COLUMNS, LANES = 14, 2, 16  # of a tile of float32 on a processor with AVX-512
ROW, COLUMN = 4, 0  # the register that is singled out
TOP, LEFT, BETWEEN = -2.8, -2.8, 0.8  # where w and x stand, and the gap between the registers of a row
INK, ACCENT, PALE, PALER = "#1f3b57", "#d9541e", "#f7d3c4", "#e4eaf0"


def left_of(column):
    return column * (LANES + BETWEEN)


def register(axes, x, y, color, lanes=LANES):
    """A register with its lanes, its left upper corner at (x, y)."""
    for lane in range(lanes):
        axes.add_patch(Rectangle((x + lane, y), 1, 1, facecolor=color, edgecolor="white", linewidth=0.6))


def outline(axes, x, y, width=LANES):
    axes.add_patch(Rectangle((x, y), width, 1, fill=False, edgecolor=ACCENT, linewidth=1.8, zorder=3))


def arrow(axes, start, end):
    style = {"arrowstyle": "-|>", "color": ACCENT, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


with rc_context({"font.size": 10, "text.color": INK}):
    figure = Figure(figsize=(8.4, 4.1), layout="constrained")
    axes = figure.subplots()
    right = left_of(COLUMNS) - BETWEEN
    axes.set(xlim=(-12.2, right + 0.1), ylim=(ROWS + 1.8, TOP - 2.9), aspect="equal")
    axes.axis("off")

    for column in range(COLUMNS):
        register(axes, left_of(column), TOP, PALE if column == COLUMN else PALER)
        for row in range(ROWS):
            register(axes, left_of(column), row, PALE if (row, column) == (ROW, COLUMN) else PALER)
    for row in range(ROWS):
        register(axes, LEFT, row, PALE if row == ROW else PALER, lanes=1)
    for place in ((left_of(COLUMN), TOP), (left_of(COLUMN), ROW), (LEFT, ROW, 1)):
        outline(axes, *place)
    middle = left_of(COLUMN) + LANES / 2
    arrow(axes, (middle, TOP + 1), (middle, ROW))
    arrow(axes, (LEFT + 1, ROW + 0.5), (left_of(COLUMN), ROW + 0.5))

    code = {"family": "DejaVu Sans Mono", "fontsize": 9}
    for column in range(COLUMNS):
        first = column * LANES
        axes.text(left_of(column), TOP - 0.3, f"w[j + {first}]" if first else "w[j]", **code)
        axes.text(left_of(column) + LANES, TOP - 0.3, f"w[j + {first + LANES - 1}]", ha="right", **code)
    for row, name in {0: "p", 1: "p + 1", ROW: f"p + {ROW}", ROWS - 1: f"p + {ROWS - 1}"}.items():
        axes.text(LEFT - 0.4, row + 0.5, f"x[offsets[{name}] + i]", ha="right", va="center", **code)
    for row in ((1 + ROW) / 2, (ROW + ROWS - 1) / 2):
        axes.text(LEFT - 3, row + 0.5, "⋮", ha="center", va="center")

    axes.text(right / 2, TOP - 1.7, "one row of w, in the lanes of two registers", ha="center")
    axes.text(LEFT + 1, -0.6, "one number of x\nfor each row", ha="right")
    box = {"facecolor": PALER, "edgecolor": "none", "pad": 3}
    text = f"one instruction: {LANES} products x · w,\nadded to {LANES} sums"
    axes.text(middle, ROW + 2.4, text, ha="center", va="center", color=ACCENT, bbox=box)
    text = f"the tile: {ROWS} × {COLUMNS} registers of sums, kept from the first step to the last"
    axes.text(right / 2, ROWS + 0.5, text, ha="center", va="top")
    figure.savefig(Path(__file__).resolve().parent / "tile.png", dpi=200)
