"""The rules of losses whose derivative is simpler, or more accurate, than that of the ops they consist of."""

import numpy as np

from .ops import expit, log_expit


def negative_log_likelihood(x, target):
    """−x[target]: log-probabilities (N, C), class indices (N,) -> (N,);  d/dx = −g at the target."""
    rows = np.arange(len(x), like=x)

    def backward(g):
        gradient = np.zeros_like(x)
        gradient[rows, target] = -g
        return (gradient,)

    return -x[rows, target], backward


def huber(x, delta):
    """c·(x − c/2), where c = x kept between −δ and δ: x²/2 in there, beyond it δ·(|x| − δ/2);  d/dx = c."""
    kept = np.clip(x, -delta, delta)
    return kept * (x - kept / 2), lambda g: (g * kept,)


def binary_cross_entropy(x, target):
    """−t·log x − (1 − t)·log(1 − x), with logarithms of at least −100;  d/dx = (x − t)/(x·(1 − x)), where that is."""
    yes, no = np.log(x), np.log(1 - x)
    return -target * np.maximum(yes, -100) - (1 - target) * np.maximum(no, -100), lambda g: (
        lambda: g * (x - target) / np.maximum(x * (1 - x), 1e-12),
        lambda: g * (no - yes),
    )


def binary_cross_entropy_with_logits(x, target, pos_weight=None):
    """−w·t·log σ(x) − (1 − t)·log(1 − σ(x));  d/dx = 1 − t − (1 + (w − 1)·t)·σ(−x)."""
    share, log = 1 if pos_weight is None else 1 + (pos_weight - 1) * target, log_expit(x)
    return (1 - target) * x - share * log, lambda g: (
        lambda: g * (1 - target - share * expit(-x)),
        lambda: -g * (x if pos_weight is None else x + (pos_weight - 1) * log),
    )
