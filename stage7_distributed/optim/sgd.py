"""Stochastic gradient descent."""

from ..device import kernel
from .optimizer import Optimizer, valid


class SGD(Optimizer):
    """p ← p − lr·g or, with momentum, p ← p − lr·b, where b ← momentum·b + (1 − dampening)·g; the first b is g.

    With nesterov p ← p − lr·(g + momentum·b). Weight decay adds weight_decay·p to g, maximize turns its sign
    (Sutskever et al. 2013, as `torch.optim.SGD`).
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        settings |= {"nesterov": nesterov, "maximize": maximize}
        super().__init__(params, settings | {"foreach": foreach, "differentiable": differentiable, "fused": fused})

    def _valid(self, lr, momentum, dampening, weight_decay, nesterov, **others):
        valid(lr >= 0, f"learning rate: {lr}")
        valid(momentum >= 0, f"momentum value: {momentum}")
        valid(weight_decay >= 0, f"weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def _names(self, group):
        return ("momentum_buffer",) if group["momentum"] else ()

    def _update(self, p, g, state, lr, group, first):
        buffer, dampening = state.get("momentum_buffer"), group["dampening"]
        if first and buffer is not None:
            buffer[...], dampening = 0, 0  # also where a parameter is listed twice
        sgd(p, g, buffer, lr, group["momentum"], dampening, group["weight_decay"], group["nesterov"])


@kernel
def sgd(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov):
    """One step of SGD on p by its gradient g, in place; the buffer is b, or None without momentum."""
    if weight_decay:
        g = g + weight_decay * p
    if momentum:
        buffer *= momentum
        buffer += (1 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    p -= lr * g
