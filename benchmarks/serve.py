"""A contender's process: `python -m benchmarks.serve WORKLOAD CONTENDER`, started by measure.py.

It runs the steps that each line of standard input asks for, in its seconds, and answers with what was measured.
"""

import gc
import json
import resource
import signal
import sys
from contextlib import suppress
from time import perf_counter, process_time

from .steps import library
from .workloads import ALL


def serve(workload, contender):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that asks
    if not workload.collect_garbage:
        gc.disable()
    lib = library(contender.name)
    imported = after_imports()
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
        measured = {"milliseconds": milliseconds, "cpu": process_time() - began_to_work}
        losses = [loss() if callable(loss) else loss for loss in losses[:3]]
        print(json.dumps({**measured, "losses": losses, "imported": imported, "peak": peak_memory()}), flush=True)
        forget_peak()


def after_imports():
    """The peak of memory so far, after Numba, if it is there, has started its compiler for a first function."""
    if "numba" in sys.modules:
        sys.modules["numba"].njit(lambda x: x)(1)
    return peak_memory()


def peak_memory():
    """The most memory that this process had resident, in MiB, since it began or `forget_peak` was called."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with open("/proc/self/status") as file:  # on Linux, ru_maxrss begins with what the process that started us has
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 2**10


def forget_peak():
    """Let the peak begin anew, where the system can do that: on Linux."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


if __name__ == "__main__":
    workload = next(workload for workload in ALL if workload.name == sys.argv[1])
    serve(workload, next(contender for contender in workload.contenders if contender.name == sys.argv[2]))
