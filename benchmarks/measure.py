"""How steps, limits and memory are measured: contenders in processes of their own, one of them at work at a time."""

import json
import math
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from .steps import flops

ROOT = Path(__file__).resolve().parent.parent
UNDISTURBED = 0.1  # of one core's time, used by others
PAUSE = 0.05  # seconds, after which the threads of whoever ran before no longer wait actively
WARM_UP = 0.1  # seconds, in which the system spreads threads that have slept over the cores
MEMORY_TARGET = 1.0
GROWTH_TARGET = 1.0  # MiB in 1,000 steps: less than a tenth of what one step allocates
THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC"  # NPROC is JAX's


def environment(threads):
    """Our environment, with as many threads for whatever library."""
    return {**os.environ, **dict.fromkeys(THREADS, str(threads))}


class Server:
    """A contender in a process of its own, asleep until asked to run steps."""

    def __init__(self, workload, contender, threads):
        self.name = f"{workload.name}: {contender.name}"
        command = [sys.executable, "-m", "benchmarks.serve", workload.name, contender.name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment(threads) | contender.environment, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()

    def run(self, steps, seconds=math.inf):
        """What was measured in so many steps, and the share of one core's time that others used meanwhile.

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

    def run_undisturbed(self, steps, seconds):
        """The first run that others disturb little, or the least disturbed of three, after a pause and a warm-up."""
        sleep(PAUSE)
        self.run(math.inf, WARM_UP)
        runs = []
        while len(runs) < 3 and not (runs and runs[-1]["others"] <= UNDISTURBED):
            runs.append(self.run(steps, seconds))
        return min(runs, key=lambda run: run["others"])


def busy_seconds():
    """The time that the cores were at work for anyone, or taken away by another virtual machine; 0 unless on Linux."""
    with suppress(OSError), open("/proc/stat") as file:
        user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, file.readline().split()[1:9])
        return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")
    return 0


# Steps


def measure(workload, rounds, threads):
    """The rows of all contenders; times and ratios are None where what one needs isn't installed or built."""
    contenders = [contender for contender in workload.contenders if find_spec(contender.module)]
    reference = workload.contenders[0]
    if contenders[:1] != [reference]:
        sys.exit(f"{workload.name}: the reference needs {reference.module}, which is not installed")
    with ExitStack() as stack:
        servers = {c.name: stack.enter_context(Server(workload, c, threads)) for c in contenders}
        check_losses(workload, {name: server.run(3)["losses"] for name, server in servers.items()})
        for contender in contenders:
            if contender.after:
                servers[contender.name].run(contender.after)
        runs = [
            {name: server.run_undisturbed(workload.steps, workload.seconds) for name, server in servers.items()}
            for _ in range(rounds)
        ]
    return [row for c in workload.contenders for row in contender_rows(workload, c, runs if c in contenders else [])]


def check_losses(workload, losses):
    """End with an error unless all contenders have the first one's losses, within the tolerance, relative above 1."""
    reference, *others = losses
    for name in others:
        for mine, wanted in zip(losses[name], losses[reference]):
            if not math.isclose(mine, wanted, rel_tol=workload.tolerance, abs_tol=workload.tolerance):
                sys.exit(f"{workload.name}: {name} has losses {losses[name]}, {reference} {losses[reference]}")


def contender_rows(workload, contender, runs):
    """What is reported of a contender: a row against the workload's reference, and one for each other target."""
    names = dict.fromkeys([workload.contenders[0].name, *contender.targets])
    return [row(workload, contender, against, runs) for against in names]


def row(workload, contender, against, runs):
    """Medians over the rounds, each round's time, and how much others disturbed it."""
    times = [median(run[contender.name]["milliseconds"]) for run in runs]
    references = [median(run[against]["milliseconds"]) for run in runs if against in run]
    ratios = [time / reference for time, reference in zip(times, references)]
    ratio, target = median(ratios) if ratios else None, contender.targets.get(against)
    return {
        "workload": workload.name,
        "contender": contender.name,
        "milliseconds": median(times) if times else None,
        "against": against,
        "ratio": ratio,
        "ratio_min": min(ratios, default=None),
        "ratio_max": max(ratios, default=None),
        "target": target,
        "met": None if None in (ratio, target) else ratio <= target,
        "rounds": times,
        "others": max((run[contender.name]["others"] for run in runs), default=None),
    }


# Limits


def limit_rows(limit, rows):
    """How much of its work each contender of a limit did in a second."""
    return [
        {"limit": limit.name, "contender": row["contender"], "unit": limit.unit, "rate": 1000 * limit.work / took}
        for row in rows
        if (took := row["milliseconds"])
    ]


def floor_rows(workloads, speed, limits):
    """How rung 5's times compare with those that their floating-point operations alone take, at sgemm's best rate."""
    best = max(row["rate"] for row in limits if row["limit"] == "sgemm")
    rows = []
    for workload in workloads:
        mine = [row for row in speed if (row["workload"], row["contender"]) == (workload.name, "stage5_fast")]
        if mine and mine[0]["milliseconds"]:
            work = flops(workload.contenders[0].build) / 1e9
            floor, took = 1000 * work / best, mine[0]["milliseconds"]
            rows.append({**mine[0], "gflop": work, "floor": floor, "multiple": took / floor})
    return rows


# Memory


def measure_memory(workload, threads, more=1000):
    """A row for each contender that is there: its peak memory in MiB, and by how much `more` steps raise it.

    What it takes above what it has after its imports is compared with that of the contender before it. Steps that come
    first are apart, on Linux: one of them may be recorded, which takes more, once.
    """
    rows = []
    for contender in workload.contenders:
        if find_spec(contender.module):
            with Server(workload, contender, threads) as server:
                server.run(3)  # so that no compiler runs in the process that is measured
            with Server(workload, contender, threads) as server:
                begun, first, last = server.run(workload.steps), server.run(workload.steps), server.run(more)
            above, growth = first["peak"] - first["imported"], last["peak"] - first["peak"]
            against = rows[-1] if rows else None
            ratio = above / against["above"] if against else None
            rows.append(
                {
                    "workload": workload.name,
                    "contender": contender.name,
                    "peak": first["peak"],
                    "above": above,
                    "begun": begun["peak"] - begun["imported"],
                    "against": against and against["contender"],
                    "ratio": ratio,
                    "growth": growth,
                    "met": ratio <= MEMORY_TARGET and growth <= GROWTH_TARGET if against else None,
                }
            )
    return rows
