"""RMS norm: what layer norm does without means (Zhang and Sennrich 2019)."""

import numpy as np

from .creation import ones
from .engine import apply
from .nn.module import Module
from .nn.parameter import Parameter


def normalize_rms(x, weight, eps, dim):
    """w·x̂, where x̂ = x·s and s = 1/√(mean x² + ε) over dim;  d/dx = s·(gw − x̂·mean(gw·x̂)),  d/dw = Σ g·x̂."""
    scale = 1 / np.sqrt((x * x).mean(axis=dim, keepdims=True) + eps)
    unit = x * scale

    def backward(g):
        to_unit = g * weight
        return scale * (to_unit - unit * (to_unit * unit).mean(axis=dim, keepdims=True)), lambda: g * unit

    return unit * weight, backward


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """x/√(mean x² + ε) over the last dims, times a weight; ε is the smallest difference between numbers at 1."""
    shape = tuple(normalized_shape)
    if input._data.shape[-len(shape) :] != shape:
        raise ValueError(f"RMSNorm: wanted last dims {shape}, got {input._data.shape}")
    weight = np.ones_like(input._data, shape=shape) if weight is None else weight
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    return apply(normalize_rms, (input, weight), eps, tuple(range(-len(shape), 0)))


class RMSNorm(Module):
    """Each example over the root of its mean square over the last dims, times a weight."""

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = Parameter(ones(self.normalized_shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def reset_parameters(self):
        if self.weight is not None:
            self.weight.data.fill_(1)

    def forward(self, x):
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
