"""What is shown of the measurements: tables, those of the READMEs among them, and the ladder picture."""

import platform
import re
from contextlib import suppress
from importlib import metadata


def cpu_model():
    """The processor's name and, if it has them, the vector instructions on which most ratios depend."""
    with suppress(OSError, KeyError), open("/proc/cpuinfo") as file:
        found = {name.strip(): value for name, _, value in (line.partition(":") for line in file)}
        flags = found["flags"].split()
        vectors = " with AVX-512" if "avx512f" in flags else " with AVX2" if "avx2" in flags else ""
        return found["model name"].strip() + vectors
    return platform.processor() or platform.machine()


def versions():
    found = {"python": platform.python_version()}
    for package in ("numpy", "numba", "torch", "jax", "micrograd"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


# Tables


def tables(report):
    """All that was measured, as text."""
    return "\n\n".join(make(report[part]) for part, make in TABLES.items() if report[part])


def speed_table(rows):
    cells = [["workload", "contender", "ms/step", "ratio [min..max]", "to", "target", ""]]
    above = {}
    for row in rows:
        new_workload = row["workload"] != above.get("workload")
        new_contender = new_workload or row["contender"] != above["contender"]
        ratio = [row[name] for name in ("ratio", "ratio_min", "ratio_max")]
        cells.append(
            [
                row["workload"] if new_workload else "",
                row["contender"] if new_contender else "",
                figure(row["milliseconds"]) if new_contender else "",
                "{} [{}..{}]".format(*map(figure, ratio)) if row["ratio"] is not None else "not there",
                row["against"],
                f"≤ {row['target']:.2f}" if row["target"] else "–",
                verdict(row),
            ]
        )
        above = row
    return table(cells)


def op_table(rows):
    """A line for each op on so many numbers: PyTorch's time, and the ratio of each other contender's to it."""
    others = list(dict.fromkeys(row["contender"] for row in rows if row["contender"] != "torch eager"))
    cells = [["op", "numbers", "torch eager ms", *others, "target", ""]]
    for workload in dict.fromkeys(row["workload"] for row in rows):
        of = {row["contender"]: row for row in rows if row["workload"] == workload}
        name, numbers = workload.split()
        ratios = [figure(of[other]["ratio"]) for other in others]
        ours = of["stage5_fast"]
        target = f"≤ {ours['target']:.2f}"
        cells.append([name, numbers, figure(of["torch eager"]["milliseconds"]), *ratios, target, verdict(ours)])
    return table(cells)


def figure(number):
    """A time or a ratio, with three digits behind the point or at least three in all; – for None."""
    return "–" if number is None else f"{number:.{3 if number < 10 else 2 if number < 100 else 1}f}"


def limit_table(rows):
    cells = [["limit", "contender", "a second"]]
    return table(cells + [[row["limit"], row["contender"], f"{row['rate']:.1f} {row['unit']}"] for row in rows])


def floor_table(rows):
    cells = [["workload", "contender", "GFLOP/step", "ms at sgemm's best rate", "ms/step", "multiple"]]
    for row in rows:
        numbers = [figure(row[name]) for name in ("gflop", "floor", "milliseconds", "multiple")]
        cells.append([row["workload"], row["contender"], *numbers])
    return table(cells)


def memory_table(rows):
    cells = [["memory", "contender", "peak MiB", "above imports", "ratio", "to", "1000 more steps", "", "first steps"]]
    for row in rows:
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        numbers = f"{row['peak']:.0f}", f"{row['above']:.0f}", ratio, row["against"] or "–", f"{row['growth']:+.1f} MiB"
        cells.append([row["workload"], row["contender"], *numbers, verdict(row), f"{row['begun']:.0f}"])
    return table(cells)


def program_table(rows):
    cells = [["program", "contender", "seconds", "target", "test accuracy", ""]]
    for row in rows:
        seconds = "not there" if row["seconds"] is None else f"{row['seconds']:.2f}"
        target = f"≤ {row['target']:.1f}" if row["target"] else "–"
        accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
        cells.append([row["program"], row["contender"], seconds, target, accuracy, verdict(row)])
    return table(cells)


def ranks_table(rows):
    cells = [["two ranks", "images each", "images/s", "one process of two threads", "ratio [min..max]", "target", ""]]
    cells[0] += ["sum of gradients alone, ms", "waited for, ms", "hidden"]
    for row in rows:
        ratio = "{} [{}..{}]".format(*[figure(row[name]) for name in ("ratio", "ratio_min", "ratio_max")])
        speeds, sums = [f"{row[name]:,.0f}" for name in ("ranks", "one")], [figure(row[x]) for x in ("alone", "waited")]
        last = [f"≥ {row['target']:.2f}" if row["target"] else "–", verdict(row), *sums, f"{row['hidden']:.0%}"]
        cells.append([row["network"], str(row["batch"]), *speeds, ratio, *last])
    return table(cells)


TABLES = {
    "speed": speed_table,
    "ops": op_table,
    "limits": limit_table,
    "floors": floor_table,
    "memory": memory_table,
    "programs": program_table,
    "ranks": ranks_table,
}


def table(rows):
    """Rows of texts as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def verdict(row):
    return {True: "met", False: "missed", None: ""}[row["met"]]


def write(readme, text):
    """Put the text into a README, where its markers are."""
    in_readme = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)
    readme.write_text(in_readme.sub(lambda _: text, readme.read_text(encoding="utf-8")), encoding="utf-8")


# At a glance

NETWORKS = {
    "moons": "2-16-16-1 on 100 points, SGD",
    "microgpt": "GPT of 4,192 numbers, one name, Adam",
    "mlp-64": "784-128-64-10, batch 64, SGD",
    "cnn-64": "CNN for MNIST, batch 64, Adam",
    "cnn-256": "the same, batch 256",
    "resnet": "ResNet-20, batch 64, SGD",
    "gpt": "GPT of 0.8 million numbers, batch 12, AdamW",
}
SHOWN = {
    "torch eager": "PyTorch eager",
    "jax": "JAX",
    "stage4_cnn": "`stage4_cnn`",
    "stage5_fast": "`stage5_fast`",
    "stage5_fast captured": "captured",
}


def summary(rows):
    """The milliseconds of a step of some networks, as a table in Markdown."""
    times = {(row["workload"], row["contender"]): row["milliseconds"] for row in rows}
    cells = [["a training step, ms", *SHOWN.values()], ["---", *["---:"] * len(SHOWN)]]
    for workload, words in NETWORKS.items():
        numbers = [times.get((workload, contender)) for contender in SHOWN]
        if numbers[0]:
            cells.append([words, *map(figure, numbers)])
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "".join(f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths))} |\n" for row in cells)


# The picture


def draw_ladder(path, rows, machine):
    """Draw the milliseconds of a step on each rung that is there, on a log scale; PyTorch's and JAX's are lines."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    times = {row["contender"]: row["milliseconds"] for row in rows if row["milliseconds"]}
    others = {name: times[name] for name in ("torch eager", "jax") if name in times}
    rungs = {name: time for name, time in times.items() if name.startswith("stage")}
    ink, colours = "#1f3b57", {"torch eager": "#d9541e", "jax": "#7a8b2e"}
    with rc_context({"font.size": 12, "axes.titlesize": 13}):
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.set_yscale("log")
        axes.set_ylim(min(times.values()) / 3, max(times.values()) * 4)
        axes.set_xlim(-0.55, len(rungs) + 0.35)
        axes.set_title("One training step of the same small convolutional network", loc="left", pad=10)
        names = [name.replace("_", "\n").replace(" ", "\n") for name in rungs]
        axes.set_xticks(range(len(rungs)), names)
        axes.yaxis.set_major_formatter(lambda time, _: in_units(time).replace(".0", ""))
        axes.minorticks_off()
        axes.tick_params(length=0, labelcolor="0.3")
        axes.grid(axis="y", color="0.92")
        axes.spines[:].set_visible(False)
        label = {"textcoords": "offset points", "weight": "bold"}
        below = min(others.values())
        for name, time in others.items():
            axes.axhline(time, color=colours[name], linewidth=1.5, zorder=1)
            side, end = 1 if time > below or len(others) == 1 else -1, len(rungs) + 0.35
            place = {"xytext": (0, 5 * side), "ha": "right", "va": "bottom" if side == 1 else "top"}
            axes.annotate(f"{SHOWN[name]}\n{in_units(time)}", (end, time), color=colours[name], **place, **label)
        for i, time in enumerate(rungs.values()):
            axes.plot([i - 0.33, i + 0.33], [time, time], color=ink, linewidth=6, solid_capstyle="round", zorder=2)
            side = 1 if time > max(others.values()) else -1  # away from the lines
            place = {"xytext": (0, 8 * side), "ha": "center", "va": "bottom" if side == 1 else "top"}
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.annotate(in_units(time), (i, time), color=ink, bbox=box, **place, **label)
        figure.supxlabel(machine, fontsize=9, color="0.4", x=0.99, ha="right")
        figure.savefig(path, dpi=160)


def in_units(time):
    """Milliseconds as a text, in seconds from 1,000 on."""
    return f"{time / 1000:.2g} s" if time >= 1000 else f"{time:.0f} ms" if time >= 10 else f"{time:#.2g} ms"
