"""Draw docs/attention.png, attention tile by tile, for the README of rung 6: python docs/attention.py"""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

BLOCKS = 6  # of queries, and tiles of keys
NOW = 3, 1  # the tile that is singled out: which block of queries, which tile of keys
INK, ACCENT, PALE, PALER = "#1f3b57", "#d9541e", "#f7d3c4", "#e4eaf0"
GAP, THIN = 0.08, 0.55  # between tiles, and the thickness of Q, K, V and what is kept


def box(axes, x, y, width, height, color, accented=False):
    edge = ACCENT if accented else "none"
    axes.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor=edge, linewidth=1.8, zorder=2))


def arrow(axes, start, end):
    style = {"arrowstyle": "-|>", "color": ACCENT, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style, zorder=4)


with rc_context({"font.size": 10, "text.color": INK, "hatch.linewidth": 0.5}):
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-2.3, BLOCKS + 5.9), ylim=(BLOCKS + 0.75, -2.35), aspect="equal")
    axes.axis("off")
    side = 1 - GAP

    for i in range(BLOCKS):
        box(axes, -0.85, i, THIN, side, PALE if i == NOW[0] else PALER, i == NOW[0])
        for j in range(BLOCKS):
            if j <= i:
                box(axes, j, i, side, side, PALE if (i, j) == NOW else PALER, (i, j) == NOW)
                if i == NOW[0]:
                    axes.text(j + side / 2, i + side / 2, f"{j + 1}", ha="center", va="center", zorder=3)
            else:
                empty = Rectangle((j, i), side, side, fill=False, hatch="////", edgecolor="#c3ccd6", linewidth=0)
                axes.add_patch(empty)
        box(axes, i, -0.85, side, THIN, PALE if i == NOW[1] else PALER, i == NOW[1])
        box(axes, i, -1.55, side, THIN, PALE if i == NOW[1] else PALER, i == NOW[1])

    row, column = NOW
    middle = row + side / 2
    arrow(axes, (-0.85 + THIN, middle), (0, middle))
    arrow(axes, (column + side / 2, -0.85 + THIN), (column + side / 2, row))
    kept = BLOCKS + 0.7
    for x, width in ((kept, 0.28), (kept + 0.4, 0.28), (kept + 0.8, 1.5)):
        box(axes, x, row, width, side, PALE, accented=True)
    for x, name in ((kept + 0.14, "m"), (kept + 0.54, "l"), (kept + 1.55, "o")):
        axes.text(x, row - 0.12, name, ha="center", style="italic")
    arrow(axes, (column + side, row + 0.8), (kept, row + 0.8))

    axes.text(-0.85 + THIN / 2, -0.2, "Q", ha="center", weight="bold")
    for y, name in ((-0.85, "K"), (-1.55, "V")):
        axes.text(BLOCKS + 0.1, y + THIN / 2, name, va="center", weight="bold")
    axes.text(BLOCKS / 2, -1.85, "keys and their values, tile by tile", ha="center")
    axes.text(-1.2, BLOCKS / 2, "blocks of queries", ha="center", va="center", rotation=90)
    text = "largest score, sum of weights,\nsum of weighted values:\nall that a block keeps\nof the tiles before"
    axes.text(kept, row + 1.2, text, va="top", color=ACCENT)
    axes.text(kept, row - 1.1, "later keys: never computed\n(causal mask)", va="bottom")
    axes.text(BLOCKS / 2, BLOCKS + 0.2, "one tile of scores is in memory at a time", ha="center", va="top")
    figure.savefig(Path(__file__).resolve().parent / "attention.png", dpi=200)
