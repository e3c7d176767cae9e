"""Whole programs, in seconds from the start of their process: an epoch of MNIST, and the way to the first step."""

import re
import subprocess
import sys
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
                with TemporaryDirectory() as folder:
                    empty = replace(contender, environment={"NUMBA_CACHE_DIR": folder})
                    seconds = start_seconds(workload, empty, threads)
                    if not any(Path(folder).rglob("*.nbi")):
                        sys.exit(f"{contender.name} put no kernels into the empty NUMBA_CACHE_DIR")
                rows.append(start_row(f"{workload.name}: first step, compiling", contender, seconds, COLD_TARGET))
    return rows


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
