"""RMSprop."""

import numpy as np

from ..device import kernel
from .optimizer import Optimizer, valid


class RMSprop(Optimizer):
    """The gradient divided by the root of its mean square (Hinton 2012, as `torch.optim.RMSprop`).

    v ← αv + (1 − α)g²,  p ← p − lr·g/(√v + ε) or, with momentum, p ← p − lr·b, where b ← momentum·b + g/(√v + ε).
    If centered, v − m² takes the place of v, where m ← αm + (1 − α)g is the mean gradient (Graves 2013).
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        settings = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        settings |= {"weight_decay": weight_decay, "capturable": capturable, "foreach": foreach}
        super().__init__(params, settings | {"maximize": maximize, "differentiable": differentiable})

    def _valid(self, lr, alpha, eps, weight_decay, momentum, **others):
        valid(lr >= 0, f"learning rate: {lr}")
        valid(eps >= 0, f"epsilon value: {eps}")
        valid(momentum >= 0, f"momentum value: {momentum}")
        valid(weight_decay >= 0, f"weight_decay value: {weight_decay}")
        valid(alpha >= 0, f"alpha value: {alpha}")

    def _names(self, group):
        momentum = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return ("step", "square_avg", *momentum, *(("grad_avg",) if group["centered"] else ()))

    def _update(self, p, g, state, lr, group, first):
        v, m, buffer = state["square_avg"], state.get("grad_avg"), state.get("momentum_buffer")
        rmsprop(p, g, v, m, buffer, lr, group["alpha"], group["eps"], group["weight_decay"], group["momentum"])


@kernel
def rmsprop(p, g, v, m, buffer, lr, alpha, eps, weight_decay, momentum):
    """One step of RMSprop on p by its gradient g, in place.

    v is the mean square and m the mean gradient, or None unless centered; the buffer is b, or None without momentum.
    """
    if weight_decay:
        g = g + weight_decay * p
    v *= alpha
    v += (1 - alpha) * (g * g)
    if m is None:
        root = np.sqrt(v)
    else:
        m += (1 - alpha) * (g - m)
        root = np.sqrt(v - m * m)
    root += eps
    if momentum:
        buffer *= momentum
        buffer += g / root
        p -= lr * buffer
    else:
        p -= lr * g / root
