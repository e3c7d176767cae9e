"""Gradual, rung 2: arrays that remember how they were computed."""

from .engine import Tensor, cat, stack, where
from .grad_mode import no_grad

Value = Tensor  # micrograd's name for it

__all__ = ["Tensor", "Value", "cat", "no_grad", "stack", "where"]
