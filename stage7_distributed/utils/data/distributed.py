"""The sampler that divides the examples of a data set among the ranks."""

import numpy as np

from ... import distributed
from .sampler import SeededSampler


class DistributedSampler(SeededSampler):
    """Every so many-th number of a data set, as many as there are ranks, each number on one rank alone.

    A batch of n ranks together is the batch that one process has with the same seed and n times the batch size. The
    order is another one each epoch, whether or not `set_epoch` is called. PyTorch's repeats some examples where they
    don't divide evenly; here some ranks have one less, which `DistributedDataParallel` takes into account.
    """

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False):
        super().__init__(dataset, seed)
        self.num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
        self.rank = distributed.get_rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"DistributedSampler: wanted a rank from 0 to {self.num_replicas - 1}, got {self.rank}")
        self.shuffle, self.drop_last = shuffle, drop_last

    def set_epoch(self, epoch):
        """Have the next pass take the order of that epoch."""
        self.epoch = epoch

    def __len__(self):
        """How many numbers the rank with the most of them has."""
        n = len(self.data_source)
        return n // self.num_replicas if self.drop_last else -(-n // self.num_replicas)

    def __iter__(self):
        order = np.arange(len(self.data_source))
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        if self.drop_last:
            order = order[: len(self) * self.num_replicas]
        self.epoch += 1
        return iter(order[self.rank :: self.num_replicas].tolist())
