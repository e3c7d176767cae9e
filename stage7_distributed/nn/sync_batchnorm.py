"""Batch norm over the examples of all ranks."""

from .. import distributed
from ..engine import apply
from . import functional as F
from .normalization import BatchNorm1d


class SyncBatchNorm(BatchNorm1d):
    """Batch norm whose mean and variance are those of all ranks' examples, as `torch.nn.SyncBatchNorm`.

    (N, C, …) in and out. Without other ranks, and in evaluation, it is `BatchNorm1d` over as many dims.
    """

    dims = range(2, 6)

    def forward(self, input):
        if not self.training or distributed.get_world_size() == 1:
            return super().forward(input)
        examples, channels = input.shape[:2]
        shape = (1, channels, *[1] * (input.ndim - 2))
        n = apply(summed, (input.new_full((1,), input.numel() // channels),), examples).item()
        mean = apply(summed, (_over_all_but_channels(input) / n,), examples)
        centred = input - mean.reshape(shape)
        var = apply(summed, (_over_all_but_channels(centred * centred) / n,), examples)
        self._note(mean.detach(), var.detach() * (n / (n - 1)))
        out = centred * ((var + self.eps) ** -0.5).reshape(shape)
        out = out if self.weight is None else out * self.weight.reshape(shape)
        return out if self.bias is None else out + self.bias.reshape(shape)

    def _note(self, mean, var):
        """Update the running statistics."""
        if self.running_mean is None:
            return
        self.num_batches_tracked += 1
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean += momentum * (mean - self.running_mean)
        self.running_var += momentum * (var - self.running_var)

    @classmethod
    def convert_sync_batchnorm(cls, module, process_group=None):
        """The module with a SyncBatchNorm, with the same parameters and buffers, in the place of each batch norm."""
        F.refuse("convert_sync_batchnorm", process_group=process_group)
        if isinstance(module, BatchNorm1d) and not isinstance(module, cls):
            new = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(new, name, getattr(module, name))
            return new.train(module.training)
        for name, child in module.named_children():
            setattr(module, name, cls.convert_sync_batchnorm(child))
        return module


def _over_all_but_channels(x):
    return x.sum([i for i in range(x.ndim) if i != 1])


def summed(x, examples):
    """Σx over all ranks;  d/dx = Σg over all ranks, each times its share of the examples, over this rank's share."""
    out = x.copy()
    distributed.all_reduce(out)

    def backward(g):
        g = g * examples
        distributed.all_reduce(g)
        return (g / examples if examples else g,)

    return out, backward
