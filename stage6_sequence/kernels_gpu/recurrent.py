"""Recurrent layers: each step is a product and one kernel for all else.

Steps wait for each other. Within one, a thread has one unit of one sequence: its gates, and what it keeps.
"""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

import numpy as np
from numba import cuda

from ..kernels_cpu.layout import check_shapes
from ..kernels_cpu.recurrent import fit
from ..ops import expit
from .elementwise import formula, mapped
from .launch import contiguous, empty, grid_size, same_dtype, specialized, split
from .matrix_product import dot

__all__ = ["gru_gradient", "gru_states", "lstm_gradient", "lstm_states", "rnn_gradient", "rnn_states"]


def tanh_of_sum(x, y):
    return np.tanh(x + y)


def rectified_sum(x, y):
    return np.maximum(x + y, 0)


def to_tanh(back, own, h):
    return (back + own) * (1 - h * h)


def to_rectified(back, own, h):
    return np.where(h > 0, back + own, 0)


def _lstm_step(share, kept, before, gates, after, h, count, n):
    """The gates i, f, m, o of one step, c ← f·c + i·m, and h ← o·tanh c.

    Grid: a thread for each number of h. Shared memory: none. Bytes: each array once, the minimum.
    """
    x = cuda.grid(1)
    if x < count:
        row, k = split(x, n)
        at = row * 4 * n + k
        i, f = SIGMOID(share[at] + kept[at]), SIGMOID(share[at + n] + kept[at + n])
        m, o = math.tanh(share[at + 2 * n] + kept[at + 2 * n]), SIGMOID(share[at + 3 * n] + kept[at + 3 * n])
        c = f * before[x] + i * m
        gates[at], gates[at + n], gates[at + 2 * n], gates[at + 3 * n] = i, f, m, o
        after[x], h[x] = c, o * math.tanh(c)


def _lstm_step_gradient(g, back, gates, before, after, to_c, to_share, count, n):
    """The gradient of the share of one step, from g and what the next step sends back to h and c; and c's own.

    Grid: a thread for each number of h. Shared memory: none. Bytes: each array once, the minimum; to_c twice.
    """
    x = cuda.grid(1)
    if x < count:
        one, row, k = real(1), *split(x, n)
        at = row * 4 * n + k
        i, f, m, o = gates[at], gates[at + n], gates[at + 2 * n], gates[at + 3 * n]
        to_h, tanh_c = back[x] + g[x], math.tanh(after[x])
        c = to_c[x] + to_h * o * (one - tanh_c * tanh_c)
        to_share[at] = c * m * i * (one - i)
        to_share[at + n] = c * before[x] * f * (one - f)
        to_share[at + 2 * n] = c * i * (one - m * m)
        to_share[at + 3 * n] = to_h * tanh_c * o * (one - o)
        to_c[x] = c * f


def _gru_step(share, kept, bias, before, gates, h, count, n):
    """The gates r, z and m of one step, the h Wᵀ + b of m, and h ← (1 − z)·m + z·h.

    Grid: a thread for each number of h. Shared memory: none. Bytes: each array once, the minimum.
    """
    x = cuda.grid(1)
    if x < count:
        one, row, k = real(1), *split(x, n)
        at, gate = row * 3 * n + k, row * 4 * n + k
        r = SIGMOID(share[at] + kept[at] + bias[k])
        z = SIGMOID(share[at + n] + kept[at + n] + bias[k + n])
        kept_m = kept[at + 2 * n] + bias[k + 2 * n]
        m = math.tanh(share[at + 2 * n] + r * kept_m)
        gates[gate], gates[gate + n], gates[gate + 2 * n], gates[gate + 3 * n] = r, z, m, kept_m
        h[x] = (one - z) * m + z * before[x]


def _gru_step_gradient(g, back, gates, before, passed, to_share, to_kept, count, n):
    """The gradients of the share and of h Wᵀ + b of one step, and of h, as far as the step passed it on.

    Grid: a thread for each number of h. Shared memory: none. Bytes: each array once, the minimum; `passed` twice.
    """
    x = cuda.grid(1)
    if x < count:
        one, row, k = real(1), *split(x, n)
        at, gate = row * 3 * n + k, row * 4 * n + k
        r, z, m, kept_m = gates[gate], gates[gate + n], gates[gate + 2 * n], gates[gate + 3 * n]
        to_h = back[x] + passed[x] + g[x]
        to_m = to_h * (one - z) * (one - m * m)
        to_r, to_z = to_m * kept_m * r * (one - r), to_h * (before[x] - m) * z * (one - z)
        to_share[at], to_share[at + n], to_share[at + 2 * n] = to_r, to_z, to_m
        to_kept[at], to_kept[at + n], to_kept[at + 2 * n] = to_r, to_z, to_m * r
        passed[x] = to_h * z


def _run(kernel, *arrays, h):
    """Launch the kernel of a step, with a thread for each number of h."""
    launch = specialized(kernel, h.dtype, SIGMOID=formula(expit.numpy, h.dtype))
    launch(grid_size(h.size), *arrays, h.size, h.shape[-1])


def _apply(function, *arrays, out):
    mapped(formula(function, out.dtype), arrays, out=out)


def _states(steps, first, more=0):
    """An array for what is kept after each step, with what was kept before the first in its place."""
    states = empty(first, steps + 1 + more, *first.shape)
    states[0] = first
    return states


def _zeros(x):
    zeros = empty(x, *x.shape)
    zeros[...] = 0
    return zeros


def rnn_states(shares, h, weight, relu):
    if not fit(shares, h, weight, 1):
        return NotImplemented
    shares, states = contiguous(shares), _states(len(shares), h)
    for t, share in enumerate(shares):
        _apply(rectified_sum if relu else tanh_of_sum, share, dot(states[t], weight.T), out=states[t + 1])
    return states


def rnn_gradient(g, states, weight, relu):
    if not fit(g, states[0], weight, 1, states):
        return NotImplemented
    check_shapes(len(states) == len(g) + 1, g, states)
    g, states, to_shares, to_h = contiguous(g), contiguous(states), empty(g, *g.shape), _zeros(states[0])
    for t in reversed(range(len(g))):
        _apply(to_rectified if relu else to_tanh, to_h, g[t], states[t + 1], out=to_shares[t])
        to_h = dot(to_shares[t], weight)
    return to_shares, to_h


def lstm_states(shares, h, c, weight):
    if not fit(shares, h, weight, 4, c):
        return NotImplemented
    check_shapes(c.shape == h.shape, h, c)
    steps, shares, gates = len(shares), contiguous(shares), empty(shares, *shares.shape)
    states, cells = _states(steps, h, 1), _states(steps, c)
    for t, share in enumerate(shares):
        kept = dot(states[t], weight.T)
        _run(_lstm_step, share, kept, cells[t], gates[t], cells[t + 1], states[t + 1], h=h)
    states[steps + 1] = cells[steps]
    return states, cells, gates


def lstm_gradient(g, cells, gates, weight):
    if not fit(gates, cells[0], weight, 4, g):
        return NotImplemented
    check_shapes(g.shape == cells.shape and len(cells) == len(gates) + 1, g, cells, gates)
    g, cells, gates = contiguous(g), contiguous(cells), contiguous(gates)
    to_shares, to_h, to_c = empty(gates, *gates.shape), _zeros(cells[0]), g[len(gates)].copy()
    for t in reversed(range(len(gates))):
        _run(_lstm_step_gradient, g[t], to_h, gates[t], cells[t], cells[t + 1], to_c, to_shares[t], h=to_c)
        to_h = dot(to_shares[t], weight)
    return to_shares, to_h, to_c


def gru_states(shares, h, weight, bias):
    if not fit(shares, h, weight, 3, *[bias] * (bias is not None)):
        return NotImplemented
    bias = _zeros(weight[:, 0]) if bias is None else contiguous(bias)
    check_shapes(bias.shape == weight.shape[:1], weight, bias)
    shares, states = contiguous(shares), _states(len(shares), h)
    gates = empty(shares, *shares.shape[:2], 4 * h.shape[1])
    for t, share in enumerate(shares):
        _run(_gru_step, share, dot(states[t], weight.T), bias, states[t], gates[t], states[t + 1], h=h)
    return states, gates


def gru_gradient(g, states, gates, weight):
    n = weight.shape[-1]
    check_shapes(gates.ndim == 3 and gates.shape[2] == 4 * n and len(weight) == 3 * n, gates, weight)
    check_shapes(g.shape == (*gates.shape[:2], n) and states.shape == (len(g) + 1, *g.shape[1:]), g, states, gates)
    if not (g.size and same_dtype(g, states, gates, weight)):
        return NotImplemented
    g, states, gates = contiguous(g), contiguous(states), contiguous(gates)
    to_shares, to_kept = (empty(g, *g.shape[:2], 3 * n) for _ in range(2))
    to_h, passed = _zeros(states[0]), _zeros(states[0])
    for t in reversed(range(len(g))):
        _run(_gru_step_gradient, g[t], to_h, gates[t], states[t], passed, to_shares[t], to_kept[t], h=passed)
        to_h = dot(to_kept[t], weight)
    return to_shares, to_kept, to_h + passed
