"""Which rank was killed, or lets the others wait.

A process of its own says who was killed: MPI ends all ranks at once, and none of them knows which was first.
"""

import atexit
import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from tempfile import mkstemp

WATCH = """
import fcntl, os, sys, threading
file, ranks = open(sys.argv[1], "r+b"), sys.argv[2:]
os.remove(sys.argv[1])
def is_free(i):
    try:
        return not fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, i)
    except OSError:
        return False
def wait(i):
    fcntl.lockf(file, fcntl.LOCK_EX, 1, i)  # it is free when its rank is over, before MPI knows and ends the others
    print("killed:", ", ".join([rank for i, rank in enumerate(ranks) if is_free(i)]), file=sys.stderr, flush=True)
    os._exit(0)
for i in range(len(ranks)):
    threading.Thread(target=wait, args=(i,)).start()
"""


def watch(here, rank):
    """Have it said which rank of this machine is killed, or which are; gives a function that ends the watching.

    `here` is the communicator of the ranks of this machine. Each holds a lock on a byte of a file.
    """
    if sys.platform != "linux":
        return lambda: None
    from fcntl import LOCK_EX, lockf

    path = here.bcast(None if here.rank else mkstemp()[1])
    file, watcher = os.open(path, os.O_RDWR), None  # open until the process is over
    lockf(file, LOCK_EX, 1, here.rank)
    if ranks := here.gather(f"rank {rank} (process {os.getpid()})"):
        command = [sys.executable, "-S", "-c", WATCH, path, *ranks]
        watcher = os.posix_spawn(sys.executable, command, os.environ, setsid=True)  # MPI doesn't end it with us
    unwatch = partial(_unwatch, here.bcast(watcher))
    atexit.register(unwatch)
    return unwatch


def _unwatch(watcher):
    with suppress(ProcessLookupError):
        os.kill(watcher, signal.SIGKILL)


def late(group, op):
    """Say which ranks let this one wait, and end all. Each that waits tells all others that it does."""
    others = [rank for rank in range(group.size) if rank != group.rank]
    told, waiting = [group.comm.isend(None, rank, tag=7) for rank in others], set()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        status = group.mpi.Status()
        if group.comm.iprobe(tag=7, status=status):
            waiting.add(status.source)
            group.comm.recv(source=status.source, tag=7)
    missing = [str(rank) for rank in others if rank not in waiting]
    if all(rank > group.rank for rank in waiting):  # one says it
        print(f"rank {group.rank}: {op}: waited {group.timeout:g} s for rank {', '.join(missing)}", file=sys.stderr)
    else:
        time.sleep(2)
    del told
    group.abort(1)
