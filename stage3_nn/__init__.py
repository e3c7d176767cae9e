"""Gradual, rung 3: networks, losses, optimizers, data and checkpoints."""

from . import datasets, nn, optim, utils
from .checkpoint import load, save
from .engine import Tensor, cat, stack, where
from .grad_mode import no_grad
from .nn import manual_seed

Value = Tensor  # micrograd's name for it

__all__ = [
    "Tensor",
    "Value",
    "cat",
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
