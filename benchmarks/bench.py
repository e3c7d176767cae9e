"""Measure training steps of the rungs against micrograd and PyTorch: `python benchmarks/bench.py`, or `nox -s bench`.

Every contender of a workload has a separate process through the whole measurement. Contenders run one at a time, so
that their thread pools don't compete. In each round every contender runs the same number of steps; its time in the
round is their median, and its ratio is that time over another contender's in the same round: that of the workload's
first contender or of one that it has a target against. Shown are the medians over the rounds, and the smallest and the
largest ratio. If other programs used the processor meanwhile, the steps are run again, twice at most.

What: a step is zero_grad, forward, loss, backward, the optimizer's step and `.item()`, from NumPy arrays (on rung 1
lists of numbers), which become tensors in the step. Before anything is timed, the losses of the first steps from the
same weights on the same data must agree with the reference's. All contenders may use as many threads. "torch eager" is
PyTorch as a beginner would use it, with its default layout and optimizers; "torch tuned" the best of its own: channels
last, fused optimizers, and an allocator (glibc's, by its MALLOC_ variables) that keeps memory from step to step. "jax"
is one compiled function a step. Not measured: imports, building the model, the first steps, loading and shuffling data.
With the garbage collector off, what it would do is left out, for micrograd the freeing of its graphs, which are cyclic;
the rungs free theirs within the step.

Beside these: text that a GPT writes; single convolutions and other ops forward and backward, the latter on arrays of
three sizes; what the machine can do, a product of large matrices and a copy, and how often a step of rung 5 takes as
long as its floating-point operations would at that rate; "later", the same steps after 3,000 others; the peak of memory
of a fresh process that trains, after its first steps and in them, above what it has after its imports and, where there
is Numba, the start of its compiler; whole programs; two ranks beside one process. Linux and macOS only.

steps.py, networks.py, sequences.py and operations.py have what is timed, workloads.py who runs it and the targets,
measure.py, programs.py and ranks.py how it is measured.
"""

import argparse
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import ROOT, UNDISTURBED, floor_rows, limit_rows, measure, measure_memory
from benchmarks.programs import measure_captures, measure_epochs, measure_starts
from benchmarks.ranks import measure_ranks
from benchmarks.report import cpu_model, draw_ladder, summary, tables, versions, write
from benchmarks.workloads import CAPTURED, COMPUTE_BOUND, IN_MEMORY, LIMITS, MNIST_STEP, SINGLE_OPS, WORKLOADS

PICTURED = "small-cnn"  # a step that every rung can do


def scaled(workload, share):
    """The workload with one in so many of its steps."""
    contenders = tuple(replace(contender, after=contender.after // share) for contender in workload.contenders)
    return replace(workload, steps=math.ceil(workload.steps / share), contenders=contenders)


def put_into_pages(setting, report, root=ROOT):
    """Write the tables into the READMEs, and draw the picture."""
    machine, libraries = setting.splitlines()
    write(root / "benchmarks" / "README.md", f"```\n{setting}\n\n{tables(report)}{disturbance(report)}\n```\n")
    write(root / "README.md", f"{summary(report['speed'])}\nMeasured on {machine}; {libraries}.{disturbance(report)}\n")
    rows = [row for row in report["speed"] if row["workload"] == PICTURED]
    draw_ladder(root / "docs" / "ladder.png", rows, machine)


def disturbance(report):
    """What is said below the figures, if other programs ran beside those that were measured."""
    most = max((row["others"] for row in report["speed"] + report["ops"] if row["others"] is not None), default=0)
    said = f"\n\nThe machine was not idle: in one round other programs used {most:.0%} of a core."
    return said if most > UNDISTURBED else ""


def main():
    networks = [workload.name for workload in WORKLOADS]
    single = dict.fromkeys(workload.name.split()[0] for workload in SINGLE_OPS)
    parts = [*networks, "ops", *single, "limits", "memory", "programs", "ranks"]
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument(
        "--only",
        action="append",
        choices=parts,
        metavar="PART",
        help=f"measure this alone; repeatable; one of {', '.join(parts)}",
    )
    parser.add_argument("--rounds", type=int, default=9, help="how many rounds (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="how many threads each may use (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 rounds and few steps, to see that it runs")
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "latest.json", help="the file to write")
    parser.add_argument("--write", action="store_true", help="put the tables into the READMEs, the picture into docs/")
    flags = parser.parse_args()
    if flags.write and (flags.only or flags.quick):
        parser.error("--write wants a whole run: what a part of it measured would stand in the place of all figures")

    rounds, share = (2, 50) if flags.quick else (flags.rounds, 1)
    cpu, found, chosen = cpu_model(), versions(), flags.only or parts
    installed = ", ".join(f"{name} {version}" for name, version in found.items())
    setting = f"{cpu}, {os.cpu_count()} cores; {flags.threads} threads, {rounds} rounds\n{installed}"
    print(setting, flush=True)
    speed, ops, limits, floors, memory, programs, ranks = [], [], [], [], [], [], []
    for workload in WORKLOADS:
        if workload.name in chosen:
            speed += measure(scaled(workload, share), rounds, flags.threads)
    for workload in SINGLE_OPS:
        if {"ops", workload.name.split()[0]} & set(chosen):
            ops += measure(scaled(workload, share), rounds, flags.threads)
    if "limits" in chosen:
        for limit in LIMITS:
            limits += limit_rows(limit, measure(scaled(limit, share), rounds, flags.threads))
        floors = floor_rows(COMPUTE_BOUND, speed, limits)
    if "memory" in chosen:
        memory = measure_memory(scaled(IN_MEMORY, share), flags.threads, 1000 // share)
    if "programs" in chosen:
        programs = measure_epochs(flags.threads, "digits" if flags.quick else "mnist")
        programs += measure_starts(MNIST_STEP, rounds, flags.threads, cold=not flags.quick)
        programs += measure_captures(CAPTURED[:1] if flags.quick else CAPTURED, rounds, flags.threads, not flags.quick)
    if "ranks" in chosen:
        ranks = measure_ranks(rounds, 200 // share)
    report = {"speed": speed, "ops": ops, "limits": limits, "floors": floors, "memory": memory, "programs": programs}
    report["ranks"] = ranks
    print(tables(report) + disturbance(report))

    machine = {"cpu": cpu, "cores": os.cpu_count(), "threads": flags.threads, "versions": found}
    flags.json.write_text(json.dumps({**machine, **report}, indent=1) + "\n")
    if flags.write:
        put_into_pages(setting, report)
    missed = [row for row in speed + ops + memory + programs + ranks if row["met"] is False]
    return 1 if flags.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
