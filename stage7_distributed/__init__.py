"""Gradual, rung 7: many processes and machines that train together."""

from . import aliases, creation, datasets, distributed, nn, optim, random, utils
from .aliases import *
from .capture import capture
from .checkpoint import load, save
from .creation import *
from .device import device
from .engine import Size, Tensor, cat, stack
from .grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .random import *

Value = Tensor  # micrograd's name for it

__all__ = [
    *creation.__all__,
    *aliases.__all__,
    *random.__all__,
    "Size",
    "Tensor",
    "Value",
    "capture",
    "cat",
    "datasets",
    "device",
    "distributed",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "load",
    "nn",
    "no_grad",
    "optim",
    "save",
    "set_grad_enabled",
    "stack",
    "utils",
]
