"""Many processes that train together, laid out as `torch.distributed`: MPI between CPUs, NCCL between GPUs.

A launcher starts the processes, as in `mpiexec -n 4 python -m stage7_distributed.mnist`; each has a number, its rank.
Without one there is a single process, and nothing here needs MPI. A process that waits for the others in vain for
`timeout` seconds, or that fails, ends all of them.
"""

import atexit
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from tempfile import mkstemp

import numpy as np
from threadpoolctl import threadpool_limits

from .device import gpu, on_host
from .engine import Tensor
from .inplace import changed, memory

SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"  # in which launchers say how many they started
SUM, AVG, MIN, MAX = "SUM", "AVG", "MIN", "MAX"
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
_yield_core = getattr(os, "sched_yield", lambda: time.sleep(0))  # to sleep for 0 s takes some 50 µs on Linux
_group = None


class ReduceOp:
    """What `all_reduce` makes of the numbers of all ranks."""

    SUM, AVG, MIN, MAX = SUM, AVG, MIN, MAX


def launched():
    """How many processes a launcher has started, of which this is one; 1 without a launcher."""
    return max([int(os.environ[name]) for name in SIZES if os.environ.get(name, "").isdecimal()], default=1)


def init_process_group(backend=None, init_method=None, timeout=600.0):
    """Join the processes that the launcher has started. `timeout` is how many seconds one waits for the others.

    The backend is MPI for arrays in the host's memory and NCCL for those of a GPU, whatever is named. The cores of a
    machine are divided among its ranks, unless NUMBA_NUM_THREADS or OMP_NUM_THREADS says how many threads each has.
    """
    global _group
    if _group:
        raise RuntimeError("init_process_group: trying to initialize the default process group twice!")
    if backend not in (None, "mpi", "nccl", "cpu:mpi,cuda:nccl"):
        raise ValueError(f"init_process_group: wanted backend 'mpi' or 'nccl', got {backend!r}")
    if init_method is not None:
        raise NotImplementedError("init_process_group: init_method: the launcher of MPI knows where the processes are")
    timeout = timeout.total_seconds() if hasattr(timeout, "total_seconds") else float(timeout)
    _group = _Group(timeout) if launched() > 1 else _Alone()


def destroy_process_group():
    global _group
    _group = None


def is_available():
    return True


def is_initialized():
    return _group is not None


def get_rank():
    """The number of this process; 0 where there is no group."""
    return _group.rank if _group else 0


def get_world_size():
    """The number of processes; 1 where there is no group."""
    return _group.size if _group else 1


def all_reduce(tensor, op=SUM, async_op=False):
    """Put the sum of the tensors of all ranks, or what else `op` says, into each; with async_op, by `work.wait()`."""
    array = _array("all_reduce", tensor)
    if op not in (SUM, AVG, MIN, MAX):
        raise ValueError(f"all_reduce: wanted ReduceOp.SUM, AVG, MIN or MAX, got {op!r}")
    work = _joined("all_reduce").all_reduce(array, op)
    return work if async_op else work.wait()


def broadcast(tensor, src=0, async_op=False):
    """Put the tensor of rank `src` into that of every other rank."""
    work = _joined("broadcast").broadcast(_array("broadcast", tensor), src)
    return work if async_op else work.wait()


def barrier():
    """Wait until all ranks are here."""
    _joined("barrier").all_reduce(np.zeros(1), SUM).wait()


def broadcast_object(value, src=0):
    """The value that rank `src` gives, on every rank; anything that pickle takes."""
    content = np.frombuffer(pickle.dumps(value), np.uint8) if get_rank() == src else np.zeros(0, np.uint8)
    size = np.array([content.size])
    broadcast(size, src)
    content = content.copy() if content.size else np.zeros(size[0], np.uint8)
    broadcast(content, src)
    return pickle.loads(content.tobytes())


def agree(what, mine):
    """RuntimeError, on all ranks, unless every rank has the dict that rank 0 has: it names the first difference."""
    if get_world_size() == 1:
        return
    theirs, mine = broadcast_object(mine), dict(mine)
    names = [name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)]
    found = None
    if names:
        found = f"{what}: {names[0]} is {mine.get(names[0])} on rank {get_rank()}, {theirs.get(names[0])} on rank 0"
    for rank in range(1, get_world_size()):
        if difference := broadcast_object(found, rank):
            raise RuntimeError(difference)


def abort(status=1):
    """End all processes, the other ranks' too."""
    sys.stdout.flush()
    sys.stderr.flush()
    _group.abort(status)


def _array(op, tensor):
    array = memory(tensor) if isinstance(tensor, Tensor) else tensor
    if not hasattr(array, "flags") or not array.flags.c_contiguous:
        raise ValueError(f"{op}: wanted a contiguous Tensor or array, got {type(tensor).__name__}")
    changed(array)
    return array


def _joined(op):
    if not _group:
        raise RuntimeError(f"{op}: init_process_group() has not been called")
    return _group


class _Alone:
    """One process: all that there is to send is here already."""

    rank, size = 0, 1

    def all_reduce(self, array, op):
        return _Done()

    def broadcast(self, array, src):
        return _Done()

    def abort(self, status):
        os._exit(status)


class _Done:
    def wait(self):
        """Nothing is left to be waited for."""

    def is_completed(self):
        return True


class _Group:
    """The processes that MPI has started."""

    def __init__(self, timeout):
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise ImportError(
                f"{launched()} processes were started, but to work together they need MPI: "
                f'pip install "./stage7_distributed[mpi]" ({error})'
            ) from None
        self.mpi, self.comm, self.timeout = MPI, MPI.COMM_WORLD, timeout
        self.rank, self.size = self.comm.rank, self.comm.size
        if self.size != launched():
            library = MPI.Get_library_version().partition("\n")[0].strip("\0 ")
            raise RuntimeError(
                f"{launched()} processes were started, but MPI knows of {self.size}: the launcher is another MPI's "
                f"than mpi4py uses here, {library}"
            )
        self.here = self.comm.Split_type(MPI.COMM_TYPE_SHARED)  # the ranks on this machine
        self._watcher = self._watched()
        atexit.register(self._unwatched)
        self._divide_cores()

    def _watched(self):
        """Start a process that says which rank of this machine was killed, or which: MPI ends the others soon."""
        if sys.platform != "linux":
            return None
        from fcntl import LOCK_EX, lockf

        path = self.here.bcast(None if self.here.rank else mkstemp()[1])
        file, watcher = os.open(path, os.O_RDWR), None  # open until the process is over
        lockf(file, LOCK_EX, 1, self.here.rank)
        if ranks := self.here.gather(f"rank {self.rank} (process {os.getpid()})"):
            command = [sys.executable, "-S", "-c", WATCH, path, *ranks]
            watcher = os.posix_spawn(sys.executable, command, os.environ, setsid=True)  # MPI doesn't end it with us
        return self.here.bcast(watcher)

    def _unwatched(self):
        if self._watcher:
            with suppress(ProcessLookupError):
                os.kill(self._watcher, signal.SIGKILL)

    def _divide_cores(self):
        if os.environ.keys() & {"NUMBA_NUM_THREADS", "OMP_NUM_THREADS"}:
            return
        import numba

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = max(1, min(cores // self.here.size, numba.config.NUMBA_NUM_THREADS))
        numba.set_num_threads(threads)
        threadpool_limits(threads)

    def all_reduce(self, array, op):
        if not on_host(array):
            return self.nccl.all_reduce(array, op)
        kind = self.mpi.SUM if op == AVG else getattr(self.mpi, op)
        request = self.comm.Iallreduce(self.mpi.IN_PLACE, array, kind)
        return _Work(self, "all_reduce", request, array if op == AVG else None)

    def broadcast(self, array, src):
        if not on_host(array):
            return self.nccl.broadcast(array, src)
        return _Work(self, "broadcast", self.comm.Ibcast(array, src), None)

    @property
    def nccl(self):
        return _nccl(self.size, self.rank)

    def late(self, op):
        """Say which ranks let this one wait, and end all. Each that waits tells all others that it does."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        told, waiting = [self.comm.isend(None, rank, tag=7) for rank in others], set()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            status = self.mpi.Status()
            if self.comm.iprobe(tag=7, status=status):
                waiting.add(status.source)
                self.comm.recv(source=status.source, tag=7)
        missing = [str(rank) for rank in others if rank not in waiting]
        if all(rank > self.rank for rank in waiting):  # one says it
            print(f"rank {self.rank}: {op}: waited {self.timeout:g} s for rank {', '.join(missing)}", file=sys.stderr)
        else:
            time.sleep(2)
        del told
        self.abort(1)

    def abort(self, status):
        self._unwatched()
        time.sleep(0.2)  # in which the launcher passes on what was said: it ends with the ranks
        self.comm.Abort(status)


class _Work:
    """What goes on between the ranks while this one does something else."""

    def __init__(self, group, op, request, averaged):
        self.group, self.op, self.request, self.averaged = group, op, request, averaged

    def is_completed(self):
        """Whether it is over. MPI goes on with it only when it is asked."""
        return self.request.Test()

    def wait(self):
        until = time.monotonic() + self.group.timeout
        while not self.request.Test():
            if time.monotonic() > until:
                self.group.late(self.op)
            _yield_core()  # another process of this machine may need it
        if self.averaged is not None:
            self.averaged /= self.group.size


@cache
def _nccl(size, rank):
    return _NCCL(size, rank)


class _NCCL:
    """The same between GPUs, of which each rank of a machine has its own. The work is queued, and nothing waits."""

    def __init__(self, size, rank):
        self.cupy, self.size = gpu(), size
        self.nccl = import_module(f"{self.cupy.__name__}.cuda.nccl")
        if not self.nccl.available:
            raise RuntimeError("nccl: found no NCCL: pip install nvidia-nccl-cu13, or nvidia-nccl-cu12 for CUDA 12")
        self.comm = self.nccl.NcclCommunicator(size, broadcast_object(self.nccl.get_unique_id()), rank)

    def _memory(self, array):
        kind = getattr(self.nccl, f"NCCL_{array.dtype.name.upper()}")
        return array.data.ptr, array.size, kind, self.cupy.cuda.get_current_stream().ptr

    def all_reduce(self, array, op):
        pointer, size, kind, stream = self._memory(array)
        self.comm.allReduce(
            pointer, pointer, size, kind, getattr(self.nccl, f"NCCL_{SUM if op == AVG else op}"), stream
        )
        if op == AVG:
            array /= self.size
        return _Done()

    def broadcast(self, array, src):
        pointer, size, kind, stream = self._memory(array)
        self.comm.bcast(pointer, size, kind, src, stream)
        return _Done()
