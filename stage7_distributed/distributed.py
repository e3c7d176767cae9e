"""Many processes that train together, laid out as `torch.distributed`: MPI between CPUs, NCCL between GPUs.

A launcher starts the processes, as in `mpiexec -n 4 python -m stage7_distributed.mnist`; each has a number, its rank.
Without one there is a single process, and nothing here needs MPI. A process that waits for the others in vain for
`timeout` seconds, or that fails, ends all of them.
"""

import os
import pickle
import sys
import time
from functools import cached_property

import numpy as np
from threadpoolctl import threadpool_limits

from .device import on_host
from .engine import Tensor
from .inplace import changed, memory
from .watch import late, watch

SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"  # in which launchers say how many they started
SUM, AVG, MIN, MAX = "SUM", "AVG", "MIN", "MAX"
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
        return Done()

    def broadcast(self, array, src):
        return Done()

    def abort(self, status):
        os._exit(status)


class Done:
    """What is over already, or queued where all that follows waits for it."""

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
        self.unwatch = watch(self.here, self.rank)
        self._divide_cores()

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

    @cached_property
    def nccl(self):
        from .nccl import NCCL

        return NCCL(self.size, self.rank)

    def abort(self, status):
        self.unwatch()
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
                late(self.group, self.op)
            _yield_core()  # another process of this machine may need it
        if self.averaged is not None:
            self.averaged /= self.group.size
