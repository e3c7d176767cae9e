"""Gradual, rung 2: arrays that record how they were computed."""

from . import aliases, creation, random
from .aliases import *
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
    "cat",
    "device",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
    "stack",
]
