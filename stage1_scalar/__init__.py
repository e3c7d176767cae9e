"""Gradual, rung 1: one number that remembers how it was computed, and `backward()`."""

from .engine import Tensor
from .grad_mode import no_grad

Value = Tensor  # micrograd's name for it

__all__ = ["Tensor", "Value", "no_grad"]
