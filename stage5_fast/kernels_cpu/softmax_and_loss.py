"""Softmax with cross-entropy, row by row."""

import numpy as np

from .jit import empty, parallel, share
from .layout import check_shapes, contiguous

__all__ = ["nll", "nll_gradient"]


@parallel
def _nll(t, parts, x, target, losses, probabilities):
    for i in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, out = x[i], probabilities[i]
        out[0] = 0
        top, total = row[0], out[0]
        for k in range(row.size):
            top = row[k] if row[k] > top else top
        for k in range(row.size):
            out[k] = np.exp(row[k] - top)
            total += out[k]
        for k in range(row.size):
            out[k] /= total
        there = 0 <= target[i] < row.size
        losses[i] = np.log(total) - (row[target[i]] - top) if there else np.nan


@parallel
def _nll_gradient(t, parts, g, probabilities, target, gradient):
    for i in range(t * len(g) // parts, (t + 1) * len(g) // parts):
        row, out = probabilities[i], gradient[i]
        for k in range(row.size):
            out[k] = g[i] * row[k] - (g[i] if k == target[i] else 0)


def nll(x, target):
    check_shapes(x.ndim == 2 and target.shape == x.shape[:1] and x.shape[1], x, target)
    losses, probabilities = empty(len(x), x.dtype), empty(x.shape, x.dtype)
    target = contiguous(target.astype(np.int64, copy=False))
    _nll(share(16 * x.size), contiguous(x), target, losses, probabilities)
    return losses, probabilities


def nll_gradient(g, probabilities, target):
    check_shapes(
        probabilities.ndim == 2 and g.shape == target.shape == probabilities.shape[:1], g, probabilities, target
    )
    gradient = empty(probabilities.shape, g.dtype)
    target = contiguous(target.astype(np.int64, copy=False))
    _nll_gradient(share(probabilities.size), contiguous(g), contiguous(probabilities), target, gradient)
    return gradient
