"""Whole programs, in seconds: an epoch of MNIST, the way to the first step, and what capturing a step takes."""

import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from .measure import ROOT, Server, environment

EPOCH_TARGET = 8.0
ACCURACY_TARGET = 0.002  # at most this much below rung 4's
WARM_TARGET, COLD_TARGET = 1.5, 20.0
CAPTURED_TARGET = 1.0  # from the cache
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9") | {"no_proxy": ""}


def measure_epochs(threads, data="mnist"):
    """A row for each rung that has the CNN: all of `python -m stage5_fast.mnist --epochs 1`, and the test accuracy.

    Nothing is downloaded: where MNIST isn't on this machine yet, the rows have no numbers.
    """
    rows = []
    for module in filter(find_spec, ("stage4_cnn", "stage5_fast")):
        command = [sys.executable, "-m", f"{module}.mnist", "--epochs", "1", "--data", data]
        start = perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment(threads) | OFFLINE, capture_output=True, text=True)
        seconds = perf_counter() - start
        if done.returncode:
            sys.exit(f"{module}.mnist has failed: {done.stderr}")
        rows.append(epoch_row(module, data, seconds, done.stdout, rows))
    return rows


def epoch_row(module, data, seconds, printed, others):
    """The row of a rung, whose accuracy is held against those of the `others`."""
    there = printed.startswith({"mnist": "MNIST", "digits": "UCI digits"}[data])
    target = EPOCH_TARGET if module == "stage5_fast" else None
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", printed)[1]) / 100 if there else None
    as_good = there and all(accuracy >= other["accuracy"] - ACCURACY_TARGET for other in others)
    return {
        "program": f"{data}: an epoch",
        "contender": module,
        "seconds": seconds if there else None,
        "accuracy": accuracy,
        "target": target,
        "met": seconds <= target and as_good if there and target else None,
    }


def measure_starts(workload, rounds, threads, cold=True):
    """A row for each contender that is there: seconds from the start of its process to the end of its first step.

    Rung 5 has its kernels in the cache; if `cold`, there is a row for it with an empty one, too.
    """
    rows = []
    for contender in workload.contenders:
        if find_spec(contender.module):
            start_seconds(workload, contender, threads)  # fills the cache, if need be
            seconds = median(start_seconds(workload, contender, threads) for _ in range(rounds))
            rows.append(start_row(f"{workload.name}: first step", contender, seconds, WARM_TARGET))
            if cold and contender.module == "stage5_fast":
                with empty_cache(contender) as compiling:
                    seconds = start_seconds(workload, compiling, threads)
                rows.append(start_row(f"{workload.name}: first step, compiling", contender, seconds, COLD_TARGET))
    return rows


@contextmanager
def empty_cache(contender):
    """The contender with no kernels in its cache."""
    with TemporaryDirectory() as folder:
        yield replace(contender, environment={"NUMBA_CACHE_DIR": folder})
        if not any(Path(folder).rglob("*.nbi")):
            sys.exit(f"{contender.name} put no kernels into the empty NUMBA_CACHE_DIR")


def measure_captures(workloads, rounds, threads, cold=True):
    """A row for the captured step of each workload: seconds that it takes to record, and to compile or load.

    That is by how much the second and the third take longer than two later ones: the first has compiled the kernels.
    """
    rows = []
    for workload in workloads:
        contender = workload.contenders[-1]
        if find_spec(contender.module):
            capture_seconds(workload, contender, threads)  # fills the cache, if need be
            seconds = median(capture_seconds(workload, contender, threads) for _ in range(rounds))
            rows.append(start_row(f"{workload.name}: captured", contender, seconds, CAPTURED_TARGET))
            if cold:
                with empty_cache(contender) as compiling:
                    seconds = capture_seconds(workload, compiling, threads)
                rows.append(start_row(f"{workload.name}: captured, compiling", contender, seconds, COLD_TARGET))
    return rows


def capture_seconds(workload, contender, threads):
    with Server(workload, contender, threads) as server:
        _, second, third, *later = server.run(8)["milliseconds"]
        return (second + third - 2 * median(later)) / 1000


def start_seconds(workload, contender, threads):
    start = perf_counter()
    with Server(workload, contender, threads) as server:
        server.run(1)
        return perf_counter() - start


def start_row(program, contender, seconds, target):
    target = target if contender.module == "stage5_fast" else None
    return {
        "program": program,
        "contender": contender.name,
        "seconds": seconds,
        "accuracy": None,
        "target": target,
        "met": seconds <= target if target else None,
    }
