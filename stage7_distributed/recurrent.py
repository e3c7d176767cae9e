"""Recurrence: a layer that reads a sequence step by step, and passes what it has kept on to the next step.

Back-propagation through time is nothing new: a layer that is run T times is a graph T times as long, with the same
weights at every step, and `backward` goes from the last step to the first. The rules here do the same for all steps
of a layer at once. So the shares of the input, and the gradients of the weights, are one product for all steps instead
of T; only the product with what was kept, which needs the step before, remains within the loop.

Sequences are (T, N, …): T steps of a batch of N. The gates of one step lie side by side, in PyTorch's order.
"""

from functools import cache

import numpy as np

from .device import kernel
from .engine import apply
from .ops import affine, affine_to_bias, affine_to_weight, affine_to_x, expit, product

# Loops over the steps


@kernel
def rnn_states(shares, h, weight, relu):
    """h ← tanh(share + h Wᵀ), or max(…, 0): (T, N, H), (N, H), (H, H) -> all h (T + 1, N, H), that before first."""
    states = np.empty_like(shares, shape=(len(shares) + 1, *h.shape))
    states[0] = h
    for t in range(len(shares)):
        h = shares[t] + product(h, weight.T)
        states[t + 1] = h = np.maximum(h, 0) if relu else np.tanh(h)
    return states


@kernel
def rnn_gradient(g, states, weight, relu):
    """The gradients of the shares and of the first h, from g (T, N, H): to each h comes g, and what the next sends."""
    to_shares, to_h = np.empty_like(g), np.zeros_like(states[0])
    for t in reversed(range(len(g))):
        h, to_h = states[t + 1], to_h + g[t]
        to_shares[t] = np.where(h > 0, to_h, 0) if relu else to_h * (1 - h * h)
        to_h = product(to_shares[t], weight)
    return to_shares, to_h


@kernel
def lstm_states(shares, h, c, weight):
    """i, f, o = σ(…), m = tanh(…), c ← f·c + i·m, h ← o·tanh c: (T, N, 4H), (N, H), (N, H), (4H, H) -> three arrays.

    All h and then the last c (T + 2, N, H), all c (T + 1, N, H), and the gates i, f, m, o (T, N, 4H).
    """
    steps, n = len(shares), h.shape[1]
    states, gates = np.empty_like(shares, shape=(steps + 2, *h.shape)), np.empty_like(shares)
    cells = np.empty_like(shares, shape=(steps + 1, *h.shape))
    states[0], cells[0] = h, c
    for t in range(steps):
        gates[t] = shares[t] + product(states[t], weight.T)
        i, f, m, o = (gates[t, :, k * n : (k + 1) * n] for k in range(4))
        i[...], f[...], m[...], o[...] = expit(i), expit(f), np.tanh(m), expit(o)
        cells[t + 1] = f * cells[t] + i * m
        states[t + 1] = o * np.tanh(cells[t + 1])
    states[steps + 1] = cells[steps]
    return states, cells, gates


@kernel
def lstm_gradient(g, cells, gates, weight):
    """The gradients of the shares, the first h and the first c, from g (T + 1, N, H), that of all h and the last c."""
    steps, n = len(gates), cells.shape[2]
    to_shares, to_h, to_c = np.empty_like(gates), np.zeros_like(cells[0]), g[steps]
    for t in reversed(range(steps)):
        i, f, m, o = (gates[t, :, k * n : (k + 1) * n] for k in range(4))
        to_i, to_f, to_m, to_o = (to_shares[t, :, k * n : (k + 1) * n] for k in range(4))
        to_h, tanh_c = to_h + g[t], np.tanh(cells[t + 1])
        to_c = to_c + to_h * o * (1 - tanh_c * tanh_c)
        to_i[...] = to_c * m * i * (1 - i)
        to_f[...] = to_c * cells[t] * f * (1 - f)
        to_m[...] = to_c * i * (1 - m * m)
        to_o[...] = to_h * tanh_c * o * (1 - o)
        to_c = to_c * f
        to_h = product(to_shares[t], weight)
    return to_shares, to_h, to_c


@kernel
def gru_states(shares, h, weight, bias):
    """r, z = σ(…), m = tanh(share + r·(h Wᵀ + b)), h ← (1 − z)·m + z·h: (T, N, 3H), (N, H), (3H, H), (3H,) or None.

    -> all h (T + 1, N, H), that before first; and r, z, m and the h Wᵀ + b of m (T, N, 4H).
    """
    steps, n = len(shares), h.shape[1]
    states = np.empty_like(shares, shape=(steps + 1, *h.shape))
    gates = np.empty_like(shares, shape=(steps, len(h), 4 * n))
    states[0] = h
    for t in range(steps):
        kept = product(states[t], weight.T)
        kept = kept if bias is None else kept + bias
        r, z, m, kept_m = (gates[t, :, k * n : (k + 1) * n] for k in range(4))
        r[...] = expit(shares[t, :, :n] + kept[:, :n])
        z[...] = expit(shares[t, :, n : 2 * n] + kept[:, n : 2 * n])
        kept_m[...] = kept[:, 2 * n :]
        m[...] = np.tanh(shares[t, :, 2 * n :] + r * kept_m)
        states[t + 1] = (1 - z) * m + z * states[t]
    return states, gates


@kernel
def gru_gradient(g, states, gates, weight):
    """The gradients of the shares, of h Wᵀ + b (both (T, N, 3H)) and of the first h, from g (T, N, H)."""
    n = states.shape[2]
    to_shares = np.empty_like(gates, shape=(*gates.shape[:2], 3 * n))
    to_kept, to_h = np.empty_like(to_shares), np.zeros_like(states[0])
    for t in reversed(range(len(gates))):
        r, z, m, kept_m = (gates[t, :, k * n : (k + 1) * n] for k in range(4))
        to_r, to_z, to_m = (to_shares[t, :, k * n : (k + 1) * n] for k in range(3))
        to_h = to_h + g[t]
        to_m[...] = to_h * (1 - z) * (1 - m * m)
        to_r[...] = to_m * kept_m * r * (1 - r)
        to_z[...] = to_h * (states[t] - m) * z * (1 - z)
        to_kept[t] = to_shares[t]
        to_kept[t, :, 2 * n :] = to_m * r
        to_h = to_h * z + product(to_kept[t], weight)
    return to_shares, to_kept, to_h


# Rules, each of all steps of a layer. Both biases may be missing; with `batch_first` x is (N, T, in)


def rnn(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, *, relu=False, batch_first=False):
    """hₜ = tanh(W xₜ + U hₜ₋₁ + b), or max(…, 0), for all t: (T, N, in), (N, H) -> (T, N, H)."""
    x = x.swapaxes(0, 1) if batch_first else x
    shares = affine(x, weight_ih, None if bias_ih is None else bias_ih + bias_hh)
    states = rnn_states(shares, h, weight_hh, relu)

    def backward(g):
        to_shares, to_h = rnn_gradient(g, states, weight_hh, relu)
        return _to_inputs(to_shares, to_shares, x, states[:-1], (to_h,), weight_ih, batch_first)

    return states[1:], backward


def lstm(x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None, *, batch_first=False):
    """An LSTM (Hochreiter and Schmidhuber 1997) for all t: (T, N, in), (N, H), (N, H) -> all h, and the last c.

    Both are in one array, (T + 1, N, H).
    """
    x = x.swapaxes(0, 1) if batch_first else x
    shares = affine(x, weight_ih, None if bias_ih is None else bias_ih + bias_hh)
    states, cells, gates = lstm_states(shares, h, c, weight_hh)

    def backward(g):
        to_shares, *to_first = lstm_gradient(g, cells, gates, weight_hh)
        return _to_inputs(to_shares, to_shares, x, states[:-2], to_first, weight_ih, batch_first)

    return states[1:], backward


def gru(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, *, batch_first=False):
    """A GRU (Cho et al. 2014) for all t: (T, N, in), (N, H) -> (T, N, H)."""
    x = x.swapaxes(0, 1) if batch_first else x
    states, gates = gru_states(affine(x, weight_ih, bias_ih), h, weight_hh, bias_hh)

    def backward(g):
        to_shares, to_kept, to_h = gru_gradient(g, states, gates, weight_hh)
        return _to_inputs(to_shares, to_kept, x, states[:-1], (to_h,), weight_ih, batch_first)

    return states[1:], backward


def _to_inputs(to_shares, to_kept, x, before, to_first, weight_ih, batch_first):
    """All gradients, in the order of a rule's inputs: those of weights and biases are summed over all steps."""
    to_bias = cache(lambda: affine_to_bias(to_shares))  # mostly both biases'
    return (
        lambda: affine_to_x(to_shares.swapaxes(0, 1) if batch_first else to_shares, weight_ih),
        *to_first,
        lambda: affine_to_weight(to_shares, x),
        lambda: affine_to_weight(to_kept, before),
        lambda: to_bias().copy(),
        lambda: to_bias().copy() if to_kept is to_shares else affine_to_bias(to_kept),
    )


RULES = {"RNN_TANH": (rnn, {}), "RNN_RELU": (rnn, {"relu": True}), "LSTM": (lstm, {}), "GRU": (gru, {})}


def run(mode, x, first, weights, batch_first=False):
    """All h of a layer, (T, N, H), and a list of the last h and, of an LSTM, the last c: (N, H) each."""
    rule, options = RULES[mode]
    out = apply(rule, (x, *first, *weights), **options, batch_first=batch_first)
    steps = x.shape[batch_first]
    return (out[:steps], [out[steps - 1], out[steps]]) if mode == "LSTM" else (out, [out[steps - 1]])
