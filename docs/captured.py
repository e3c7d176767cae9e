"""Draw docs/captured.png, what becomes of a captured step, for the README of rung 5: python docs/captured.py"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from stage5_fast import capture, datasets, manual_seed, nn, optim  # noqa: E402
from stage5_fast.loops import Nest, Program  # noqa: E402
from stage5_fast.moons import step  # noqa: E402

programs = []


class Kept(Program):
    """A program that the picture is made of."""

    def __init__(self, record, *rest):
        super().__init__(record, *rest)
        programs.append(self)


def moons_program():
    """What becomes of a step of the moons demo."""
    manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    sys.modules["stage5_fast.capture"].Program = Kept
    train = capture(lambda points, labels: step(model, optimizer, points, labels))
    for _ in range(2):
        train(*datasets.moons())
    return programs[0]


def draw(program):
    """On the left every operation on arrays, in the order of the calls, on the right the loops that do their work."""
    operations = program.record.operations
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    rows = {}
    for row, operation in enumerate(operations):
        y = 1 - row / len(operations)
        rows[id(operation)] = y
        backwards = any(word in operation.label for word in ("backward", "_to_", "_gradient", "accumulate"))
        updates = operation.label.startswith(("sgd", "optimizer"))
        colour = "tab:green" if updates else "tab:orange" if backwards else "tab:blue"
        axes.plot([0, 0.16], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
    for n, part in enumerate(program.parts):
        y = 1 - (n + 0.5) / len(program.parts)
        parts = part.operations if isinstance(part, Nest) else [part]
        axes.barh(y, 0.3, 0.7 / len(program.parts), 0.7, color="0.85", edgecolor="0.5", linewidth=0.5)
        names = ", ".join(dict.fromkeys(one.label.split(".")[-1].split()[0].strip("_") for one in parts))
        axes.text(0.71, y, names if len(names) < 40 else f"{names[:38]}…", fontsize=6, va="center")
        for one in parts:
            if id(one) in rows:
                axes.plot([0.16, 0.7], [rows[id(one)], y], color="0.6", linewidth=0.4)
    axes.text(0, 1.03, f"{len(operations)} operations on arrays, each a call", fontsize=10)
    axes.text(0.7, 1.03, f"{len(program.parts)} loops, all one call", fontsize=10)
    for y, (name, colour) in zip(
        (-0.02, -0.05, -0.08), (("forward", "tab:blue"), ("backward", "tab:orange"), ("update", "tab:green"))
    ):
        axes.text(0, y, name, color=colour, fontsize=9)
    axes.set(xlim=(-0.01, 1.02), ylim=(-0.1, 1.06))
    return figure


if __name__ == "__main__":
    draw(moons_program()).savefig(Path(__file__).resolve().parent / "captured.png", dpi=200)
