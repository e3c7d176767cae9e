"""Normalization layers: mean 0 and variance 1 for each example, channel or group of channels."""

from ..creation import ones, tensor, zeros
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class LayerNorm(Module):
    """Each example normalized over its last dims to mean 0 and variance 1, then weight·x̂ + bias (Ba et al. 2016)."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        _scale_and_shift(self, self.normalized_shape, elementwise_affine, bias, device, dtype)

    def reset_parameters(self):
        _reset(self)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class BatchNorm1d(Module):
    """Each channel normalized over the batch to mean 0 and variance 1, then weight·x̂ + bias (Ioffe and Szegedy 2015).

    (N, C) or (N, C, L) in and out. In training the statistics are the batch's, and the running ones are updated with
    `momentum` or, with None, are the mean of all so far; in evaluation they are the running ones, if there are any.
    """

    dims = (2, 3)

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        device=None,
        dtype=None,
        *,
        bias=True,
    ):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _scale_and_shift(self, (num_features,), affine, bias, device, dtype)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if tracked else None)

    def reset_running_stats(self):
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        self.reset_running_stats()
        _reset(self)

    def forward(self, input):
        shape = input._data.shape
        if len(shape) not in self.dims or shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: wanted {self.num_features} channels in dim 1, got {shape}")
        mean, var, momentum = self.running_mean, self.running_var, self.momentum
        if self.training and mean is not None:
            self.num_batches_tracked._data += 1
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        of_batch = self.training or mean is None
        return F.batch_norm(input, mean, var, self.weight, self.bias, of_batch, momentum, self.eps)

    def extra_repr(self):
        more = f"affine={self.affine}, bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, {more}"


class GroupNorm(Module):
    """Groups of channels of each example normalized to mean 0 and variance 1, then weight·x̂ + bias (Wu and He 2018)."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None, *, bias=True):
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels don't divide into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        _scale_and_shift(self, (num_channels,), affine, bias, device, dtype)

    def reset_parameters(self):
        _reset(self)

    def forward(self, input):
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        affine = f"affine={self.affine}, bias={self.bias is not None}"
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, {affine}"


class InstanceNorm1d(Module):
    """Each channel of each example normalized to mean 0 and variance 1 (Ulyanov et al. 2016): (N, C, L) or (C, L)."""

    dims = (2, 3)

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=False,
        track_running_stats=False,
        device=None,
        dtype=None,
        *,
        bias=True,
    ):
        super().__init__()
        F.refuse(type(self).__name__, track_running_stats=track_running_stats or None)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _scale_and_shift(self, (num_features,), affine, bias, device, dtype)

    def reset_parameters(self):
        _reset(self)

    def forward(self, input):
        single = input.ndim == self.dims[0]
        if input.ndim not in self.dims or input.shape[not single] != self.num_features:
            raise ValueError(f"{type(self).__name__}: wanted {self.num_features} channels, got {tuple(input.shape)}")
        batch = input.unsqueeze(0) if single else input
        out = F.instance_norm(batch, None, None, self.weight, self.bias, eps=self.eps)
        return out.squeeze(0) if single else out

    extra_repr = BatchNorm1d.extra_repr


class InstanceNorm2d(InstanceNorm1d):
    """Instance norm over (N, C, H, W) or (C, H, W)."""

    dims = (3, 4)


def _scale_and_shift(module, shape, affine, bias, device, dtype):
    """Give the module weights of ones and biases of zeros, or None without `affine` or `bias`."""
    weight = Parameter(ones(shape, device=device, dtype=dtype)) if affine else None
    module.register_parameter("weight", weight)
    module.register_parameter("bias", Parameter(zeros(shape, device=device, dtype=dtype)) if affine and bias else None)


def _reset(module):
    if module.weight is not None:
        init.ones_(module.weight)
    if module.bias is not None:
        init.zeros_(module.bias)
