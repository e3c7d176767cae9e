"""Gradual, rung 6: what depends on what came before, by recurrence and by attention."""

from . import aliases, creation, datasets, nn, optim, random, utils
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
