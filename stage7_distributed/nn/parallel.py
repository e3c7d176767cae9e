"""A model of which every rank has a copy, with the gradients of one: their sum over the examples of all ranks.

    ∇ = Σ nᵣ·∇ᵣ / Σ nᵣ       where rank r has nᵣ examples, and ∇ᵣ is the gradient of their mean loss

While `backward()` still works on the first layers, the gradients of the last ones are already on their way.
"""

from contextlib import contextmanager

import numpy as np

from .. import distributed
from ..engine import Tensor, queue_callback
from ..inplace import changed, memory
from ..ops import new_zeros
from ..random import default_generator
from .module import Module

MEGABYTE = 2**20
FIRST_BUCKET = MEGABYTE // 4  # bytes


class DistributedDataParallel(Module):
    """The module, trained on all ranks at once, as `torch.nn.parallel.DistributedDataParallel`.

    All ranks begin with the parameters and buffers of rank 0. The first dim of the first tensor that `forward` gets
    counts this rank's examples, and its loss is to be their mean: then n ranks with b examples each train as one
    process does with n·b, also where the last batch is uneven. PyTorch's averages over ranks, however many examples
    each has. Buffers, such as the statistics of batch norm, are those of rank 0 before each step; so
    `SyncBatchNorm` is needed where a rank's own examples are too few.
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0, broadcast_buffers=True, bucket_cap_mb=25):
        super().__init__()
        if device_ids not in (None, [], [0]) or output_device not in (None, 0) or dim != 0:
            raise NotImplementedError("DistributedDataParallel: there is one device a process; examples are dim 0")
        self.module, self.broadcast_buffers, self.require_backward_grad_sync = module, broadcast_buffers, True
        self._examples = 0
        if not distributed.is_initialized():
            distributed.init_process_group()
        tensors = [*module.named_parameters(), *module.named_buffers()]
        distributed.agree("DistributedDataParallel", {name: _said(x) for name, x in tensors})
        _broadcast([*module.parameters(), *module.buffers()])
        if rank := distributed.get_rank():  # others' dropout, from the same seed
            default_generator.numpy = np.random.default_rng((default_generator.initial_seed(), rank))
        trained = [p for p in module.parameters() if p.requires_grad]
        self._buckets = _buckets(trained, bucket_cap_mb * MEGABYTE) if distributed.get_world_size() > 1 else []
        self._bucket_of = {p: bucket for bucket in self._buckets for p in bucket.places}
        for p in self._bucket_of:
            p.register_post_accumulate_grad_hook(self._completed)
        self._next, self._running = 0, False

    def forward(self, *inputs, **options):
        tensors = [x for x in (*inputs, *options.values()) if isinstance(x, Tensor)]
        self._examples = len(tensors[0]) if tensors else 1
        if self._buckets and self.training and self.broadcast_buffers:
            _broadcast(self.module.buffers())
        return self.module(*inputs, **options)

    @contextmanager
    def no_sync(self):
        """Within it `backward()` only adds to this rank's gradients; the first one after it adds up those of all."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def _completed(self, p):
        """Take along a gradient that is complete. Buckets start in the same order on all ranks."""
        if not self.require_backward_grad_sync:
            return
        if not self._running:
            self._running, self._next = True, 0
            queue_callback(self._finish)
            for bucket in self._buckets:
                bucket.begin(self._examples)
        self._bucket_of[p].put(p, self._examples)
        while self._next < len(self._buckets) and not self._buckets[self._next].missing:
            self._buckets[self._next].send()
            self._next += 1
        for bucket in self._buckets[: self._next]:
            bucket.work.is_completed()

    def _finish(self):
        """Wait for the sums, at the end of `backward()`; a parameter without a gradient here may have one elsewhere."""
        for bucket in self._buckets[self._next :]:
            bucket.send()
        for bucket in self._buckets:
            bucket.take()
        self._running = False


class _Bucket:
    """A flat array of gradients, each times this rank's examples; behind them their number, and who has a gradient."""

    def __init__(self, params):
        ends = np.cumsum([p.numel() for p in params]).tolist()
        self.places = {p: (end - p.numel(), end) for p, end in zip(params, ends)}
        self.array = new_zeros(params[0]._data, (ends[-1] + 1 + len(params),))
        self.counts = self.array[ends[-1] :]
        self.number = {p: i for i, p in enumerate(params, 1)}

    def begin(self, examples):
        self.missing = set(self.places)
        self.counts[...] = 0
        self.counts[0] = examples

    def put(self, p, examples):
        if examples:  # of none it may be NaN
            np.multiply(p._grad, examples, out=self.part(p))
            self.counts[self.number[p]] = 1
            self.missing.discard(p)

    def part(self, p):
        start, end = self.places[p]
        return self.array[start:end].reshape(p.shape)

    def send(self):
        for p in self.missing:
            self.part(p)[...] = 0
        self.work = distributed.all_reduce(self.array, async_op=True)

    def take(self):
        self.work.wait()
        for p in self.places:
            if p._grad is not None:
                np.divide(self.part(p), self.counts[0], out=p._grad)
                changed(p._grad)
            elif self.counts[self.number[p]]:
                p._grad = self.part(p) / self.counts[0]


def _buckets(params, size):
    """The parameters in the order in which their gradients are likely to come, the last first.

    A bucket ends with the parameter that makes it as large as `size` bytes; the first is small, to be sent early.
    """
    buckets, full = [], True
    for p in reversed(params):
        if full or p.dtype != buckets[-1][0].dtype:
            buckets.append([])
        buckets[-1].append(p)
        full = sum(x._data.nbytes for x in buckets[-1]) >= (size if len(buckets) > 1 else FIRST_BUCKET)
    return [_Bucket(params) for params in buckets]


def _broadcast(tensors):
    """Rank 0's numbers, into all ranks' tensors: those of a dtype as one array."""
    tensors = list(tensors)
    for dtype in dict.fromkeys(x.dtype for x in tensors):
        arrays = [memory(x) for x in tensors if x.dtype == dtype]
        flat = np.concatenate([x.reshape(-1) for x in arrays])
        distributed.broadcast(flat)
        start = 0
        for x in arrays:
            x[...] = flat[start : start + x.size].reshape(x.shape)
            start += x.size
        changed(*arrays)


def _said(x):
    return f"{tuple(x.shape)} of {x.dtype}, {'trained' if x.requires_grad else 'not trained'}"
