"""Measure training steps of the rungs against micrograd and PyTorch: `python benchmarks/bench.py`, or `nox -s bench`.

How: every contender of a workload has a process of its own, which lives through the whole measurement and works only
while it is asked to, one contender at a time, so that their thread pools don't meet. In each round every contender runs
the same number of steps; its time in the round is the median of these, and its ratio that time over the time of the
workload's first contender, the reference, in the same round. Shown are the medians over the rounds, and the least
and the greatest ratio. Where other programs used the processor meanwhile, the steps are run again, twice at most.

What: a step is zero_grad, forward, loss, backward, the optimizer's step and `.item()`, from NumPy arrays (on rung 1
lists of numbers), which become tensors in the step. Before anything is timed, the losses of the first steps from the
same weights on the same data must agree with the reference's. All contenders may use as many threads. PyTorch
is used as a beginner would: eager, its default layout and optimizers; that is not the fastest it can be. Not measured:
imports, building the model, the first steps, loading and shuffling data. With the garbage collector off, what it
would do is left out, for micrograd the freeing of its graphs, which are cyclic; the rungs free theirs within the step.

Memory is the peak of a fresh process that trains, above what it was after the imports and in all. Linux and macOS only.
"""

import argparse
import gc
import json
import math
import os
import platform
import random
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# The libraries, behind the same names


def library(module):
    """What the workloads use of a library. PyTorch's and the rungs' modules have the same names."""
    if module == "torch":
        import torch
        import torch.nn.functional

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        return SimpleNamespace(
            nn=torch.nn, conv=torch.nn, losses=torch.nn.functional, optim=torch.optim, constant=torch.from_numpy
        )
    if module == "micrograd":
        return SimpleNamespace(MLP=import_module("micrograd.nn").MLP, constant=import_module("micrograd.engine").Value)
    rung = import_module(module)
    constant = partial(rung.Tensor, requires_grad=False)
    if module == "stage1_scalar":
        return SimpleNamespace(MLP=import_module("stage1_scalar.moons").MLP, constant=constant)
    nn, conv, optim = (getattr(rung, name, None) for name in ("nn", "conv", "optim"))
    return SimpleNamespace(Tensor=rung.Tensor, nn=nn, conv=conv, losses=nn, optim=optim, constant=constant)


# The workloads: each function takes a library and gives a step, a function that trains once and gives the loss


def two_moons(n=100):
    """Two half circles with some noise: n points [x, y] and as many labels [±1]."""
    rng = random.Random(0)
    points, labels = [], []
    for i in range(n):
        angle, label = math.pi * rng.random(), 1 - 2 * (i % 2)
        x, y = (1 - label) / 2 + label * math.cos(angle), (1 - label) / 4 + label * math.sin(angle)
        points.append([x + rng.gauss(0, 0.1), y + rng.gauss(0, 0.1)])
        labels.append([label])
    return points, labels


def scalar_moons(lib):
    """micrograd's training loop, on all 100 points: 2-16-16-1, max-margin loss and L2."""
    points, labels = two_moons()
    model = lib.MLP(2, [16, 16, 1])
    rng = random.Random(1)
    for p in model.parameters():
        p.data = rng.uniform(-1, 1)

    def step():
        inputs = [list(map(lib.constant, point)) for point in points]
        scores = list(map(model, inputs))
        losses = [(1 + -label * score).relu() for (label,), score in zip(labels, scores)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad
        return loss.data

    return step


def moons(lib):
    """The same network and loss on tensors, with SGD."""
    nn = lib.nn
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    set_weights(lib, model)
    parameters = list(model.parameters())
    optimizer = lib.optim.SGD(parameters, lr=0.1)
    return training_step(lib, model, optimizer, partial(max_margin, parameters), [moons_batch()])


def moons_without_modules(lib):
    """The same on a rung that has tensors but neither modules nor optimizers; weights lie as (in, out)."""
    shapes = {"0.weight": (16, 2), "0.bias": (16,), "2.weight": (16, 16), "2.bias": (16,)}
    arrays = random_arrays({**shapes, "4.weight": (1, 16), "4.bias": (1,)})
    w1, b1, w2, b2, w3, b3 = parameters = [lib.Tensor(array.T) for array in arrays.values()]
    points, labels = moons_batch()

    def step():
        for p in parameters:
            p.grad = None
        x = (lib.constant(points) @ w1 + b1).relu()
        x = (x @ w2 + b2).relu()
        loss = max_margin(parameters, x @ w3 + b3, lib.constant(labels))
        loss.backward()
        for p in parameters:
            p.data -= 0.1 * p.grad
        return loss.item()

    return step


def mlp(lib):
    """784-128-64-10 with SGD."""
    nn = lib.nn
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    set_weights(lib, model)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    return training_step(lib, model, optimizer, lib.losses.cross_entropy, image_batches((784,)))


def cnn(lib):
    """The network for MNIST: convolutions of 16 and 32 kernels, 3×3, each pooled 2×2, then 1568-128-10, with Adam."""
    nn, conv = lib.nn, lib.conv
    model = nn.Sequential(
        *(conv.Conv2d(1, 16, 3, padding=1), nn.ReLU(), conv.MaxPool2d(2)),
        *(conv.Conv2d(16, 32, 3, padding=1), nn.ReLU(), conv.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)),
    )
    set_weights(lib, model)
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    return training_step(lib, model, optimizer, lib.losses.cross_entropy, image_batches((1, 28, 28)))


def training_step(lib, model, optimizer, loss_function, batches):
    """One step of training on the next of the batches, which come round again and again."""
    batches = cycle(batches)

    def step():
        images, labels = next(batches)
        optimizer.zero_grad()
        loss = loss_function(model(lib.constant(images)), lib.constant(labels))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def max_margin(parameters, scores, labels):
    """The max-margin loss plus L2."""
    return (1 - labels * scores).relu().mean() + 1e-4 * sum((p * p).sum() for p in parameters)


def moons_batch():
    import numpy as np

    return tuple(np.array(part, np.float32) for part in two_moons())


def image_batches(shape, size=64, count=16):
    """Random images, each brighter at places that depend on its label."""
    import numpy as np

    rng = np.random.default_rng(0)
    bright = rng.random((10, *shape)) < 0.2
    labels = rng.integers(0, 10, (count, size))
    return [((0.5 * rng.random((size, *shape)) + 0.5 * bright[y]).astype(np.float32), y) for y in labels]


def random_arrays(shapes):
    """An array for each name, uniform within ±1/√fan_in."""
    import numpy as np

    rng = np.random.default_rng(1)
    bounds = {name: 1 / math.sqrt(math.prod(shape[1:])) for name, shape in shapes.items()}
    return {name: rng.uniform(-bounds[name], bounds[name], shape).astype(np.float32) for name, shape in shapes.items()}


def set_weights(lib, model):
    arrays = random_arrays({name: tuple(array.shape) for name, array in model.state_dict().items()})
    model.load_state_dict({name: lib.constant(array) for name, array in arrays.items()})


@dataclass(frozen=True)
class Contender:
    """Who runs a workload, and at most how much of the reference's time it should take.

    The first word of the name is the module that it needs.
    """

    name: str
    build: Callable
    target: float | None = None

    @property
    def module(self):
        return self.name.split()[0]


@dataclass(frozen=True)
class Workload:
    """What is measured: so many steps a round, by contenders whose losses agree; the first one is the reference."""

    name: str
    steps: int
    tolerance: float
    contenders: tuple[Contender, ...]
    collect_garbage: bool = True


WORKLOADS = (
    Workload(
        name="moons-scalar",
        steps=2,
        tolerance=1e-9,
        contenders=(Contender("micrograd", scalar_moons), Contender("stage1_scalar", scalar_moons, target=0.3)),
    ),
    Workload(
        name="moons-scalar-gc-off",
        steps=7,
        tolerance=1e-9,
        contenders=(Contender("micrograd", scalar_moons), Contender("stage1_scalar", scalar_moons, target=0.85)),
        collect_garbage=False,
    ),
    Workload(
        name="moons",
        steps=500,
        tolerance=1e-4,
        contenders=(
            Contender("torch eager", moons),
            Contender("stage2_tensor", moons_without_modules, target=0.5),
            Contender("stage3_nn", moons, target=0.5),
            Contender("stage4_cnn", moons, target=0.5),
            Contender("stage5_fast", moons),
        ),
    ),
    Workload(
        name="mlp",
        steps=500,
        tolerance=1e-4,
        contenders=(
            Contender("torch eager", mlp),
            Contender("stage3_nn", mlp, target=0.95),
            Contender("stage4_cnn", mlp, target=0.95),
            Contender("stage5_fast", mlp),
        ),
    ),
    Workload(
        name="cnn",
        steps=25,
        tolerance=1e-4,
        contenders=(
            Contender("torch eager", cnn),
            Contender("stage4_cnn", cnn, target=2.5),
            Contender("stage5_fast", cnn),
        ),
    ),
)
MEMORY_WORKLOAD = WORKLOADS[-1]
MEMORY_TARGET = 1.0  # of the reference's peak
GROWTH_TARGET = 1.0  # MiB in 500 steps: less than a tenth of what one step allocates
UNDISTURBED = 0.1  # of one core's time, used by others


# The processes


def serve(workload, contender):
    """Run the steps that each line of standard input asks for, in its seconds, and answer with what was measured."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that asks
    if not workload.collect_garbage:
        gc.disable()
    lib = library(contender.module)
    imported = peak_memory()
    step = contender.build(lib)
    for line in sys.stdin:
        steps, seconds = map(float, line.split())
        milliseconds, losses, began, began_to_work = [], [], perf_counter(), process_time()
        while len(losses) < steps and perf_counter() - began < seconds:
            start = perf_counter()
            losses.append(step())
            milliseconds.append(1000 * (perf_counter() - start))
            if not workload.collect_garbage:
                gc.collect()
        measured = {"milliseconds": milliseconds, "losses": losses, "cpu": process_time() - began_to_work}
        print(json.dumps({**measured, "imported": imported, "peak": peak_memory()}), flush=True)


def peak_memory():
    """The most memory that this process ever had resident, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Server:
    """A contender in a process of its own, asleep until asked to run steps."""

    def __init__(self, workload, contender, threads):
        self.name = f"{workload.name}: {contender.name}"
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        command = [sys.executable, __file__, "--serve", workload.name, contender.name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, **limits}, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()

    def run(self, steps, seconds=math.inf):
        """What `serve` measured in so many steps, and the share of one core's time that others used meanwhile.

        No step begins after `seconds`: thread pools may take a hundred times as long where others keep a core busy.
        """
        start, busy = perf_counter(), busy_seconds()
        answer = ""
        with suppress(BrokenPipeError):
            print(steps, seconds, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} has failed; its error stands above")
        measured = json.loads(answer)
        measured["others"] = max(0, busy_seconds() - busy - measured["cpu"]) / (perf_counter() - start)
        return measured

    def run_undisturbed(self, steps):
        """The first run that others disturb little, or the least disturbed of three."""
        runs = []
        while len(runs) < 3 and not (runs and runs[-1]["others"] <= UNDISTURBED):
            runs.append(self.run(steps, seconds=3))
        return min(runs, key=lambda run: run["others"])


def busy_seconds():
    """The time that the cores were at work for anyone, or taken away by another virtual machine; 0 unless on Linux."""
    with suppress(OSError), open("/proc/stat") as file:
        user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, file.readline().split()[1:9])
        return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")
    return 0


# The measurement


def measure(workload, rounds, threads):
    """A row for each contender; its time and ratio are None where what it needs isn't installed or built."""
    contenders = [contender for contender in workload.contenders if find_spec(contender.module)]
    reference = workload.contenders[0]
    if contenders[:1] != [reference]:
        sys.exit(f"{workload.name}: the reference needs {reference.module}, which is not installed")
    with ExitStack() as stack:
        servers = {c.name: stack.enter_context(Server(workload, c, threads)) for c in contenders}
        check_losses(workload, {name: server.run(3)["losses"] for name, server in servers.items()})
        runs = [
            {name: server.run_undisturbed(workload.steps) for name, server in servers.items()} for _ in range(rounds)
        ]
    return [row(workload, contender, runs if contender in contenders else []) for contender in workload.contenders]


def check_losses(workload, losses):
    """End with an error unless all contenders have the first one's losses, within the tolerance, relative above 1."""
    reference, *others = losses
    for name in others:
        for mine, wanted in zip(losses[name], losses[reference]):
            if not math.isclose(mine, wanted, rel_tol=workload.tolerance, abs_tol=workload.tolerance):
                sys.exit(f"{workload.name}: {name} has losses {losses[name]}, {reference} {losses[reference]}")


def row(workload, contender, runs):
    """What is reported of a contender: medians over the rounds, each round's time, how much others disturbed it."""
    reference = workload.contenders[0]
    times, references = ([median(run[c.name]["milliseconds"]) for run in runs] for c in (contender, reference))
    ratios = [time / reference for time, reference in zip(times, references)]
    ratio = median(ratios) if ratios else None
    return {
        "workload": workload.name,
        "contender": contender.name,
        "milliseconds": median(times) if times else None,
        "ratio": ratio,
        "ratio_min": min(ratios, default=None),
        "ratio_max": max(ratios, default=None),
        "target": contender.target,
        "met": None if None in (ratio, contender.target) else ratio <= contender.target,
        "rounds": times,
        "others": max((run[contender.name]["others"] for run in runs), default=None),
    }


def measure_memory(workload, threads, steps=100, more=500):
    """A row for each contender that is there: its peak memory in MiB, and by how much further steps raise it."""
    rows = []
    for contender in workload.contenders:
        if find_spec(contender.module):
            with Server(workload, contender, threads) as server:
                first, last = server.run(steps), server.run(more)
            ratio = first["peak"] / rows[0]["peak"] if rows else 1.0
            growth = last["peak"] - first["peak"]
            rows.append(
                {
                    "workload": workload.name,
                    "contender": contender.name,
                    "imported": first["imported"],
                    "peak": first["peak"],
                    "ratio": ratio,
                    "growth": growth,
                    "met": ratio <= MEMORY_TARGET and growth <= GROWTH_TARGET if rows else None,
                }
            )
    return rows


# The report


def cpu_model():
    with suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions():
    found = {"python": platform.python_version()}
    for package in ("numpy", "torch", "micrograd"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def table(rows):
    """Rows of texts as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def speed_table(rows):
    cells = [["workload", "contender", "ms/step", "ratio [min..max]", "target", ""]]
    for row in rows:
        there = row["ratio"] is not None
        cells.append(
            [
                row["workload"],
                row["contender"],
                f"{row['milliseconds']:.3f}" if there else "–",
                f"{row['ratio']:.3f} [{row['ratio_min']:.3f}..{row['ratio_max']:.3f}]" if there else "not there",
                f"≤ {row['target']:.2f}" if row["target"] else "–",
                verdict(row),
            ]
        )
    return table(cells)


def memory_table(rows):
    cells = [["memory", "contender", "peak MiB", "above imports", "ratio", "500 more steps", ""]]
    for row in rows:
        above = row["peak"] - row["imported"]
        numbers = [f"{row['peak']:.0f}", f"{above:.0f}", f"{row['ratio']:.2f}", f"{row['growth']:+.1f} MiB"]
        cells.append([row["workload"], row["contender"], *numbers, verdict(row)])
    return table(cells)


def verdict(row):
    return {True: "met", False: "missed", None: ""}[row["met"]]


def write(readme, text):
    """Put the text into the README, where its markers are."""
    in_readme = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)
    readme.write_text(in_readme.sub(lambda _: text, readme.read_text(encoding="utf-8")), encoding="utf-8")


def main():
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--only", action="append", choices=[*names, "memory"], help="measure this alone; repeatable")
    parser.add_argument("--rounds", type=int, default=9, help="how many rounds (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="how many threads each may use (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 rounds and few steps, to see that it runs")
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "latest.json", help="the file to write")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        workload = next(workload for workload in WORKLOADS if workload.name == flags.serve[0])
        return serve(workload, next(c for c in workload.contenders if c.name == flags.serve[1]))

    rounds, share = (2, 10) if flags.quick else (flags.rounds, 1)
    cpu, found = cpu_model(), versions()
    installed = ", ".join(f"{name} {version}" for name, version in found.items())
    setting = f"{cpu}, {os.cpu_count()} cores; {flags.threads} threads, {rounds} rounds; {installed}"
    print(setting, flush=True)
    chosen, speed, memory = flags.only or [*names, "memory"], [], []
    for workload in WORKLOADS:
        if workload.name in chosen:
            speed += measure(replace(workload, steps=math.ceil(workload.steps / share)), rounds, flags.threads)
    if "memory" in chosen:
        memory = measure_memory(MEMORY_WORKLOAD, flags.threads, 100 // share, 500 // share)
    tables = "\n\n".join(part for part in (speed and speed_table(speed), memory and memory_table(memory)) if part)
    print(tables)
    others = max((row["others"] for row in speed if row["others"] is not None), default=0)
    if others > UNDISTURBED:
        print(f"\nThe machine was not idle: in one round other programs used {others:.0%} of a core.")

    machine = {"cpu": cpu, "cores": os.cpu_count(), "threads": flags.threads, "versions": found}
    flags.json.write_text(json.dumps({**machine, "speed": speed, "memory": memory}, indent=1) + "\n")
    if flags.write:
        write(ROOT / "README.md", f"```\n{setting}\n\n{tables}\n```\n")
    missed = [row for row in speed + memory if row["met"] is False]
    return 1 if flags.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
