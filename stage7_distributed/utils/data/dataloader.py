"""The loader, which iterates over a data set in batches."""

import numpy as np

from ...device import moved
from ...distributed import get_rank
from ...random import Generator
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, SeededSampler, SequentialSampler


def get_worker_info():
    """None, as there are no worker processes: batches are made where they are asked for."""


class DataLoader:
    """Goes through a dataset in batches; each time it is gone through is an epoch. See `torch.utils.data.DataLoader`.

    Examples are taken one by one and collated, but for a dataset with `whole_batches`. A random order is drawn from
    `generator`. With a `seed`, which PyTorch's has not, both the order and what is drawn from `loader.generator` during
    an epoch follow from `seed` and `epoch` alone: a run that goes on with `loader.epoch = 3` gets the batches of one
    that was never stopped. What is said of workers and pinned memory changes no batch, and there are neither.
    """

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory_device="",
        in_order=True,
        seed=None,
    ):
        iterable, own_batches, own_order = isinstance(dataset, IterableDataset), batch_sampler is None, sampler is None
        for wrong, why in [
            (num_workers < 0, "num_workers should be non-negative"),
            (timeout < 0, "timeout should be non-negative"),
            (not num_workers and prefetch_factor is not None, "prefetch_factor needs num_workers > 0"),
            (not num_workers and persistent_workers, "persistent_workers needs num_workers > 0"),
            (not num_workers and multiprocessing_context is not None, "multiprocessing_context needs num_workers > 0"),
            (iterable and shuffle, "an IterableDataset comes in its own order: expected no shuffle"),
            (
                iterable and not (own_order and own_batches),
                "an IterableDataset comes in its own order: expected no sampler",
            ),
            (not own_order and shuffle, "sampler is mutually exclusive with shuffle"),
            (
                not own_batches and (batch_size != 1 or shuffle or not own_order or drop_last),
                "batch_sampler is mutually exclusive with batch_size, shuffle, sampler, and drop_last",
            ),
            (batch_size is None and drop_last, "batch_size=None is mutually exclusive with drop_last"),
            (
                seed is not None and not shuffle and not isinstance(sampler, SeededSampler),
                "seed needs shuffle=True or a DistributedSampler, whose order it fixes",
            ),
        ]:
            if wrong:
                raise ValueError(f"DataLoader: {why}")
        if iterable:
            sampler = dataset  # in the place of its examples' numbers: themselves
        elif own_order and not shuffle:
            sampler = SequentialSampler(dataset)
        elif own_order:
            sampler = RandomSampler(dataset, generator=generator) if seed is None else SeededSampler(dataset, seed)
        if not own_batches:
            batch_size = None
        elif batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.num_workers, self.pin_memory, self.timeout = num_workers, pin_memory, timeout
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.seed, self.epoch = seed, 0
        self._whole = collate_fn is None and batch_sampler is not None and getattr(dataset, "whole_batches", False)
        self._order_at_once = own_order and own_batches

    def __setattr__(self, name, value):
        if name in ("dataset", "batch_size", "drop_last", "sampler", "batch_sampler") and name in vars(self):
            raise ValueError(f"DataLoader: {name} can't be set once it is made")
        super().__setattr__(name, value)

    def __len__(self):
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self):
        if self.seed is not None:
            self.sampler.epoch = self.epoch
            self.generator = Generator()
            self.generator.numpy = np.random.default_rng((self.seed, self.epoch, 1 + get_rank()))
        self.epoch += 1
        if self._whole:
            for numbers in self._arrays_of_numbers():
                yield default_convert(self.dataset[numbers])
        else:
            for numbers in self.sampler if self.batch_sampler is None else self.batch_sampler:
                yield self.collate_fn(self._examples(numbers))

    def _arrays_of_numbers(self):
        """Those of each batch, in the memory of the dataset; to where the whole order goes at once where it is ours."""
        device = getattr(self.dataset, "device", "cpu")
        if not self._order_at_once:
            batches = 0
            for batches, numbers in enumerate(self.batch_sampler, 1):  # noqa: B007
                yield moved(np.array(numbers), device)
            for _ in range(batches, len(self) if isinstance(self.sampler, SeededSampler) else 0):
                yield moved(np.array([], np.int64), device)  # other ranks have one example more
            return
        order = moved(np.fromiter(self.sampler, np.int64), device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]

    def _examples(self, numbers):
        """The examples of a batch or, without batches, the one example."""
        dataset = self.dataset
        if isinstance(dataset, IterableDataset):
            return numbers
        if self.batch_sampler is None:
            return dataset[numbers]
        if hasattr(dataset, "__getitems__"):
            return dataset.__getitems__(numbers)
        return [dataset[i] for i in numbers]
