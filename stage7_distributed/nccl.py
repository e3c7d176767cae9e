"""Sums and broadcasts between GPUs, by NCCL."""

from importlib import import_module

from .device import gpu
from .distributed import AVG, SUM, Done, broadcast_object


class NCCL:
    """The ranks, each with a GPU of its own. What they send is queued with its other work, and nothing waits."""

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
        return Done()

    def broadcast(self, array, src):
        pointer, size, kind, stream = self._memory(array)
        self.comm.bcast(pointer, size, kind, src, stream)
        return Done()
