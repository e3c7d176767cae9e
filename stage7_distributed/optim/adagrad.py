"""Adagrad."""

import numpy as np

from ..device import kernel, number
from .optimizer import Optimizer, valid


class Adagrad(Optimizer):
    """The gradient divided by the root of the sum of its squares so far (Duchi et al. 2011).

    s ← s + g²,  p ← p − lr/(1 + (t − 1)·lr_decay) · g/(√s + ε);  s begins as initial_accumulator_value. As
    `torch.optim.Adagrad`.
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        settings = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        settings |= {"initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize}
        super().__init__(params, settings | {"differentiable": differentiable, "fused": fused})

    def _valid(self, lr, lr_decay, weight_decay, initial_accumulator_value, eps, **others):
        valid(lr >= 0, f"learning rate: {lr}")
        valid(lr_decay >= 0, f"lr_decay value: {lr_decay}")
        valid(weight_decay >= 0, f"weight_decay value: {weight_decay}")
        valid(initial_accumulator_value >= 0, f"initial_accumulator_value value: {initial_accumulator_value}")
        valid(eps >= 0, f"epsilon value: {eps}")

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        names = self._names(self.param_groups[-1])
        for p in self.param_groups[-1]["params"]:
            state = self._arrays(p, names)
            state["step"][...], state["sum"][...] = 0, self.defaults["initial_accumulator_value"]

    def _names(self, group):
        return "step", "sum"

    def _update(self, p, g, state, lr, group, first):
        settings = group["lr_decay"], group["eps"], group["weight_decay"]
        adagrad(p, g, state["sum"], number(state["step"]), lr, *settings)


@kernel
def adagrad(p, g, s, t, lr, lr_decay, eps, weight_decay):
    """Step t, from 1, of Adagrad on p by its gradient g, in place; s is the sum of the squares."""
    if weight_decay:
        g = g + weight_decay * p
    t = t + 0 * lr  # in float64, as lr is, where both are arrays
    s += g * g
    root = np.sqrt(s)
    root += eps
    p -= lr / (1 + (t - 1) * lr_decay) * g / root
