"""Gradual, rung 1: one number that records how it was computed, and `backward()`."""

from .engine import Tensor, dot
from .grad_mode import no_grad

Value = Tensor  # micrograd's name for it

__all__ = ["Tensor", "Value", "dot", "no_grad"]
