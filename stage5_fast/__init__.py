"""Gradual, rung 5: the same mathematics, compiled for the processor at hand."""

from . import conv, data, nn, optim
from .data import load, save
from .device import capture
from .nn import manual_seed
from .tensor import Tensor, cat, no_grad, stack, where

Value = Tensor  # micrograd's name for it

__all__ = [
    "Tensor",
    "Value",
    "capture",
    "cat",
    "conv",
    "data",
    "load",
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "save",
    "stack",
    "where",
]
