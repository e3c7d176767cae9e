"""Gradual, rung 4: convolution as one matrix product, pooling and batch norm."""

from . import creation, data, names, nn, optim, random
from .creation import *
from .data import load, save
from .device import device
from .engine import Size, Tensor, cat, stack, where
from .grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .names import *
from .random import *

Value = Tensor  # micrograd's name for it

__all__ = [
    *creation.__all__,
    *names.__all__,
    *random.__all__,
    "Size",
    "Tensor",
    "Value",
    "cat",
    "save",
    "optim",
    "nn",
    "load",
    "data",
    "device",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
    "stack",
    "where",
]
