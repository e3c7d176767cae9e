"""Adadelta."""

import numpy as np

from .optimizer import Optimizer, valid


class Adadelta(Optimizer):
    """The gradient times the RMS of the steps so far, divided by that of the gradients so far (Zeiler 2012).

    v ← ρv + (1 − ρ)g²,  d = √(u + ε)/√(v + ε) · g,  u ← ρu + (1 − ρ)d²,  p ← p − lr·d. As `torch.optim.Adadelta`.
    """

    def __init__(
        self,
        params,
        lr=1.0,
        rho=0.9,
        eps=1e-6,
        weight_decay=0,
        foreach=None,
        *,
        capturable=False,
        maximize=False,
        differentiable=False,
    ):
        settings = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        settings |= {"capturable": capturable, "foreach": foreach, "differentiable": differentiable}
        super().__init__(params, settings)

    def _valid(self, lr, rho, eps, weight_decay, **others):
        valid(lr >= 0, f"learning rate: {lr}")
        valid(0 <= rho <= 1, f"rho value: {rho}")
        valid(eps >= 0, f"epsilon value: {eps}")
        valid(weight_decay >= 0, f"weight_decay value: {weight_decay}")

    def _names(self, group):
        return "step", "square_avg", "acc_delta"

    def _update(self, p, g, state, lr, group, first):
        adadelta(p, g, state["square_avg"], state["acc_delta"], lr, group["rho"], group["eps"], group["weight_decay"])


def adadelta(p, g, v, u, lr, rho, eps, weight_decay):
    """One step of Adadelta on p by its gradient g, in place; v and u are the mean squares of gradients and steps."""
    if weight_decay:
        g = g + weight_decay * p
    v *= rho
    v += (1 - rho) * (g * g)
    d = np.sqrt(u + eps)
    d /= np.sqrt(v + eps)
    d *= g
    u *= rho
    u += (1 - rho) * (d * d)
    p -= lr * d
