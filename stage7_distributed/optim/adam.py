"""Adam and AdamW."""

import numpy as np

from ..device import kernel, number
from .optimizer import Optimizer, valid


class Adam(Optimizer):
    """The mean gradient divided by the root of its mean square, both bias-corrected (Kingma and Ba 2014).

    m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,  p ← p − lr·m̂/(√v̂ + ε), where m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ).
    With amsgrad v̂ is of the largest v so far (Reddi et al. 2018). As `torch.optim.Adam`.
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
    ):
        settings = {"lr": lr, "betas": tuple(map(float, betas)), "eps": eps, "weight_decay": weight_decay}
        settings |= {"amsgrad": amsgrad, "maximize": maximize, "foreach": foreach, "capturable": capturable}
        settings |= {"differentiable": differentiable, "fused": fused}
        super().__init__(params, settings | {"decoupled_weight_decay": decoupled_weight_decay})

    def _valid(self, lr, betas, eps, weight_decay, **others):
        valid(lr >= 0, f"learning rate: {lr}")
        valid(eps >= 0, f"epsilon value: {eps}")
        valid(0 <= betas[0] < 1, f"beta parameter at index 0: {betas[0]}")
        valid(0 <= betas[1] < 1, f"beta parameter at index 1: {betas[1]}")
        valid(weight_decay >= 0, f"weight_decay value: {weight_decay}")

    def _names(self, group):
        return ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 4 if group["amsgrad"] else 3]

    def _update(self, p, g, state, lr, group, first):
        m, v, top = state["exp_avg"], state["exp_avg_sq"], state.get("max_exp_avg_sq")
        settings = group["betas"], group["eps"], group["weight_decay"], group["decoupled_weight_decay"]
        adam(p, g, m, v, top, number(state["step"]), lr, *settings)


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p − lr·weight_decay·p first (Loshchilov and Hutter 2017)."""

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
        foreach=None,
        capturable=False,
        differentiable=False,
        fused=None,
    ):
        options = {"foreach": foreach, "maximize": maximize, "capturable": capturable, "fused": fused}
        options |= {"differentiable": differentiable, "decoupled_weight_decay": True}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **options)


@kernel
def adam(p, g, m, v, top, t, lr, betas, eps, weight_decay, decoupled):
    """Step t, from 1, of Adam on p by its gradient g, in place, with its means m and v.

    `top` is the largest v so far, or None without amsgrad; `decoupled` is the decay of AdamW.
    """
    beta1, beta2 = betas
    t = t + 0 * lr  # in float64, as lr is, where both are arrays
    if decoupled:
        p *= 1 - lr * weight_decay
    elif weight_decay:
        g = g + weight_decay * p
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * (g * g)
    if top is not None:
        np.maximum(top, v, out=top)
    root = np.sqrt(v if top is None else top)
    root *= (1 - beta2**t) ** -0.5
    root += eps
    p -= (lr / (1 - beta1**t)) * m / root
