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
SMALL = MEGABYTE // 4  # bytes: a gradient as large is sent alone, and the first bucket of others is full


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
        self._number = {p: i for i, p in enumerate(self._bucket_of, 1)}
        for p in self._bucket_of:
            p.register_post_accumulate_grad_hook(self._completed)
        if self._buckets:
            self._counts = new_zeros(trained[0]._data, (1 + len(trained),))  # examples; ranks with a gradient of each p
        self._next, self._running = 0, False

    def forward(self, *inputs, **options):
        if self._running:
            raise RuntimeError("forward: an error has ended the last backward() before its sums were there: begin anew")
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
            self._counts[...] = 0
            self._counts[0] = self._examples
        if self._examples:  # of none the gradient may be NaN
            self._bucket_of[p].put(p, self._examples)
            self._counts[self._number[p]] = 1
        while self._next < len(self._buckets) and not self._buckets[self._next].missing:
            self._buckets[self._next].send()
            self._next += 1
        for bucket in self._buckets[: self._next]:
            bucket.work.is_completed()

    def _finish(self):
        """Wait for the sums, at the end of `backward()`; a parameter without a gradient here may have one elsewhere."""
        for bucket in self._buckets[self._next :]:
            for p in [p for p in bucket.missing if p._grad is not None and self._examples]:
                bucket.put(p, self._examples)  # what was added to it before, as in no_sync()
            bucket.send()
        distributed.all_reduce(self._counts)
        for bucket in self._buckets:
            bucket.take(self._counts, self._number)
        self._running = False


class _Bucket:
    """Gradients that are added up together, each times this rank's examples: one after the other in a flat array.

    One that is alone, as large ones are, is added up where it lies.
    """

    def __init__(self, params):
        ends = np.cumsum([p.numel() for p in params]).tolist()
        self.places = {p: (end - p.numel(), end) for p, end in zip(params, ends)}
        self.missing = set(self.places)
        self.array = self.own = new_zeros(params[0]._data, (ends[-1],)) if len(params) > 1 else None

    def put(self, p, examples):
        if self.own is None:
            p._grad = p._grad if p._grad.flags.c_contiguous else p._grad.copy()
            self.array = p._grad.reshape(-1)
        np.multiply(p._grad, examples, out=self.part(p))
        self.missing.discard(p)

    def part(self, p):
        start, end = self.places[p]
        return self.array[start:end].reshape(p.shape)

    def send(self):
        for p in self.missing:
            if self.array is None:
                self.array = new_zeros(p._data, (p.numel(),))
            self.part(p)[...] = 0
        self.work = distributed.all_reduce(self.array, async_op=True)

    def take(self, counts, number):
        self.work.wait()
        for p in self.places:
            if p._grad is not None:
                np.divide(self.part(p), counts[0], out=p._grad)
                changed(p._grad)
            elif counts[number[p]]:
                p._grad = self.part(p) / counts[0]
        self.array, self.work, self.missing = self.own, None, set(self.places)


def _buckets(params, size):
    """The parameters in the order in which their gradients are likely to come, the last first.

    A large one goes alone, as soon as it is there. The others go together, and a bucket of them is full with the one
    that makes it as large as `size` bytes; the first is small, to be sent early.
    """
    buckets, others = [], {}
    for p in reversed(params):
        kind = p if p._data.nbytes >= SMALL else p.dtype
        together = others.setdefault(kind, [])
        together.append(p)
        if sum(x._data.nbytes for x in together) >= (size if buckets and kind is not p else SMALL):
            buckets.append(others.pop(kind))
    return [_Bucket(params) for params in [*buckets, *others.values()]]


def _broadcast(tensors):
    """Rank 0's numbers, into all ranks' tensors: those of a dtype as one array."""
    tensors = list(tensors)
    for dtype in dict.fromkeys(x.dtype for x in tensors):
        arrays = [memory(x) for x in tensors if x.dtype == dtype]
        flat = np.concatenate([x.reshape(-1) for x in arrays])
        distributed.broadcast(flat)
        ends = np.cumsum([x.size for x in arrays]).tolist()
        for x, numbers in zip(arrays, np.split(flat, ends)):
            x[...] = numbers.reshape(x.shape)
        changed(*arrays)


def _said(x):
    return f"{tuple(x.shape)} of {x.dtype}, {'trained' if x.requires_grad else 'not trained'}"
