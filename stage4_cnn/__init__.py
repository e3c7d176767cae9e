"""Gradual, rung 4: convolution as one matrix product, pooling and batch norm."""

from . import conv, datasets, nn, optim, utils
from .checkpoint import load, save
from .engine import Tensor, cat, stack, where
from .grad_mode import no_grad
from .nn import manual_seed

Value = Tensor  # micrograd's name for it

__all__ = [
    "Tensor",
    "Value",
    "cat",
    "conv",
    "datasets",
    "load",
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "save",
    "stack",
    "utils",
    "where",
]
