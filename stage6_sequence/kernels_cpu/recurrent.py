"""Recurrent layers: all steps of a layer in one kernel, in which each thread has some sequences of the batch.

What a step needs of the step before is of the same sequence, so the threads needn't wait for each other. The weight is
packed once for all steps.
"""

import numpy as np
from numba import types

from .elementary import abs, exp_below_0, hyperbolic_tangent, in_kernels
from .jit import inner
from .layout import check_shapes, contiguous
from .memory import empty
from .micro_kernel import micro_kernel
from .packing import pack_panel, row_offsets
from .registers import COLUMNS, OUTER, PRODUCT, PRODUCT_ROWS, broadcast_row, lanes, store
from .threads import parallel, thread_count

__all__ = ["gru_gradient", "gru_states", "lstm_gradient", "lstm_states", "rnn_gradient", "rnn_states"]

FIRST = np.zeros(1, np.int64)
EIGHT, EIGHT_ROWS = np.uint8(8), min(PRODUCT_ROWS, 8)
COLUMNS[types.uint8] = 2, EIGHT_ROWS  # a tile for threads that have few sequences


def _sigmoid(x):
    """1/(1 + e⁻ˣ)."""
    power = exp_below_0(-abs(x))
    return (1.0 if x > 0.0 else power) / (power + 1.0)


sigmoid = in_kernels(_sigmoid)


@inner
def _squash(row):
    """1/(1 + e⁻ˣ) in the place of each number x."""
    for k in range(row.size):
        row[k] = sigmoid(row[k])


@inner
def _squash_both_ways(row):
    """tanh x in the place of each number x."""
    for k in range(row.size):
        row[k] = hyperbolic_tangent(row[k])


@parallel
def _pack(t, parts, weight, n, k, lane_step, panels, width, rows, packed_rows):
    """Pack a matrix (k, n) into panels, side by side."""
    count = -(-n // width)
    for u in range(t * count // parts, (t + 1) * count // parts):
        panel = panels[u * width * k : (u + 1) * width * k]
        pack_panel(weight, u * width, n, k, lane_step, panel, width, rows, packed_rows)


@inner
def _product(a, rows, first, last, panels, k, n, nothing, columns, out, out_rows):
    """out = rows first to last of a (…, k) times a matrix (k, n) in panels."""
    width, height = nothing.size, PRODUCT_ROWS if columns == PRODUCT else EIGHT_ROWS
    for j in range(0, n, width):
        for p in range(first, last, height):
            tile = broadcast_row(nothing, 0, columns, OUTER)
            tile = micro_kernel(tile, a, rows, p, FIRST, 0, panels, j * k, k, 1, width)
            store(tile, out, out_rows, p, min(height, last - p), j, width)


@parallel
def _rnn_states(t, parts, shares, states, panels, rows, nothing, columns, kept, kept_rows, relu):
    steps, batch, n = shares.shape
    first, last = t * batch // parts, (t + 1) * batch // parts
    for s in range(steps):
        _product(states[s].reshape(-1), rows, first, last, panels, n, n, nothing, columns, kept.reshape(-1), kept_rows)
        for r in range(first, last):
            row, share, out = kept[r], shares[s, r], states[s + 1, r]
            for k in range(n):
                out[k] = share[k] + row[k]
            if relu:
                for k in range(n):
                    out[k] = 0 if out[k] < 0 else out[k]
            else:
                _squash_both_ways(out)


@parallel
def _rnn_gradient(t, parts, g, states, to_shares, panels, rows, nothing, columns, to_h, to_h_rows, relu):
    steps, batch, n = g.shape
    first, last = t * batch // parts, (t + 1) * batch // parts
    to_h[first:last] = 0
    for s in range(steps - 1, -1, -1):
        for r in range(first, last):
            h, back, own, out = states[s + 1, r], to_h[r], g[s, r], to_shares[s, r]
            if relu:
                for k in range(n):
                    out[k] = back[k] + own[k] if h[k] > 0 else 0
            else:
                for k in range(n):
                    out[k] = (back[k] + own[k]) * (1 - h[k] * h[k])
        _product(
            to_shares[s].reshape(-1), rows, first, last, panels, n, n, nothing, columns, to_h.reshape(-1), to_h_rows
        )


@parallel
def _lstm_states(t, parts, shares, states, cells, gates, panels, rows, nothing, columns, kept, kept_rows):
    steps, batch, n = len(shares), shares.shape[1], cells.shape[2]
    first, last = t * batch // parts, (t + 1) * batch // parts
    for s in range(steps):
        _product(
            states[s].reshape(-1), rows, first, last, panels, n, 4 * n, nothing, columns, kept.reshape(-1), kept_rows
        )
        for r in range(first, last):
            row, share, gate = kept[r], shares[s, r], gates[s, r]
            for k in range(4 * n):
                gate[k] = share[k] + row[k]
            i, f, m, o = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
            _squash(gate[: 2 * n])
            _squash_both_ways(m)
            _squash(o)
            before, after, h = cells[s, r], cells[s + 1, r], states[s + 1, r]
            for k in range(n):
                after[k] = f[k] * before[k] + i[k] * m[k]
            for k in range(n):
                h[k] = o[k] * hyperbolic_tangent(after[k])
    for r in range(first, last):
        for k in range(n):
            states[steps + 1, r, k] = cells[steps, r, k]


@parallel
def _lstm_gradient(t, parts, g, cells, gates, to_shares, to_c, panels, rows, nothing, columns, to_h, to_h_rows):
    steps, batch, n = len(gates), gates.shape[1], cells.shape[2]
    first, last = t * batch // parts, (t + 1) * batch // parts
    to_h[first:last] = 0
    for r in range(first, last):
        for k in range(n):
            to_c[r, k] = g[steps, r, k]
    one = g.dtype.type(1)
    for s in range(steps - 1, -1, -1):
        for r in range(first, last):
            gate, out, own, back = gates[s, r], to_shares[s, r], g[s, r], to_h[r]
            i, f, m, o = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
            to_i, to_f, to_m, to_o = out[:n], out[n : 2 * n], out[2 * n : 3 * n], out[3 * n :]
            before, after, c = cells[s, r], cells[s + 1, r], to_c[r]
            for k in range(n):
                h, shown = back[k] + own[k], hyperbolic_tangent(after[k])
                to_o[k] = h * shown * o[k] * (one - o[k])
                c[k] += h * o[k] * (one - shown * shown)
            for k in range(n):
                to_i[k] = c[k] * m[k] * i[k] * (one - i[k])
                to_m[k] = c[k] * i[k] * (one - m[k] * m[k])
            for k in range(n):
                to_f[k] = c[k] * before[k] * f[k] * (one - f[k])
                c[k] *= f[k]
        _product(
            to_shares[s].reshape(-1), rows, first, last, panels, 4 * n, n, nothing, columns, to_h.reshape(-1), to_h_rows
        )


@parallel
def _gru_states(t, parts, shares, states, gates, bias, panels, rows, nothing, columns, kept, kept_rows):
    steps, batch, n = len(shares), shares.shape[1], states.shape[2]
    first, last = t * batch // parts, (t + 1) * batch // parts
    one = shares.dtype.type(1)
    for s in range(steps):
        _product(
            states[s].reshape(-1), rows, first, last, panels, n, 3 * n, nothing, columns, kept.reshape(-1), kept_rows
        )
        for r in range(first, last):
            row, share, gate = kept[r], shares[s, r], gates[s, r]
            for k in range(3 * n):
                row[k] += bias[k]
            for k in range(2 * n):
                gate[k] = share[k] + row[k]
            _squash(gate[: 2 * n])
            reset, z, m, kept_m = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
            own, of_m = share[2 * n :], row[2 * n : 3 * n]
            for k in range(n):
                kept_m[k] = of_m[k]
                m[k] = own[k] + reset[k] * of_m[k]
            _squash_both_ways(m)
            before, h = states[s, r], states[s + 1, r]
            for k in range(n):
                h[k] = (one - z[k]) * m[k] + z[k] * before[k]


@parallel
def _gru_gradient(
    t, parts, g, states, gates, to_shares, to_kept, panels, rows, nothing, columns, to_h, to_h_rows, passed
):
    steps, batch, n = len(gates), gates.shape[1], states.shape[2]
    first, last = t * batch // parts, (t + 1) * batch // parts
    to_h[first:last], passed[first:last] = 0, 0
    one = g.dtype.type(1)
    for s in range(steps - 1, -1, -1):
        for r in range(first, last):
            gate, out, kept, own = gates[s, r], to_shares[s, r], to_kept[s, r], g[s, r]
            reset, z, m, kept_m = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
            to_r, to_z, to_m, to_kept_m = out[:n], out[n : 2 * n], out[2 * n :], kept[2 * n :]
            before, back, through = states[s, r], to_h[r], passed[r]
            for k in range(n):
                h = back[k] + through[k] + own[k]
                to_m[k] = h * (one - z[k]) * (one - m[k] * m[k])
                to_z[k] = h * (before[k] - m[k]) * z[k] * (one - z[k])
                through[k] = h * z[k]
            for k in range(n):
                to_r[k] = to_m[k] * kept_m[k] * reset[k] * (one - reset[k])
                to_kept_m[k] = to_m[k] * reset[k]
            for k in range(2 * n):
                kept[k] = out[k]
        _product(
            to_kept[s].reshape(-1), rows, first, last, panels, 3 * n, n, nothing, columns, to_h.reshape(-1), to_h_rows
        )


def _plan(weight, transposed, batch, steps):
    """The number of threads, and what a product of `batch` rows with the weight, or its transpose, works with.

    That is the packed weight, the offsets of rows of the factor, zeros for a tile, the tiles of which a thread's rows
    waste least, and the result and its offsets.
    """
    n, k = weight.shape if transposed else weight.shape[::-1]
    width = 2 * lanes(weight.dtype)
    panels, padded = empty(-(-n // width) * width * k, weight.dtype), -(-n // width) * width
    weight_rows, lane_step = (row_offsets(k, 1), k) if transposed else (row_offsets(k, n), 1)
    weight = contiguous(weight).reshape(-1)
    _pack(thread_count(weight.size), weight, n, k, lane_step, panels, width, weight_rows, row_offsets(k, width))
    threads = min(thread_count(steps * batch * weight.size // 16), batch)
    each = -(-batch // threads)
    columns = EIGHT if -each % EIGHT_ROWS < -each % PRODUCT_ROWS else PRODUCT
    factor = panels, row_offsets(batch, k), np.zeros(width, weight.dtype), columns
    return threads, (
        *factor,
        empty((batch, padded), weight.dtype),
        row_offsets(batch, padded),
    )


def fit(shares, h, weight, gates, *others):
    """Whether there is something to do, and all in one dtype; ValueError if sizes differ."""
    n = weight.shape[-1]
    fits = shares.ndim == 3 and weight.ndim == 2 and len(weight) == gates * n and shares.shape[2] == gates * n
    check_shapes(fits and h.shape == (shares.shape[1], n), shares, h, weight)
    return shares.size and all([x.dtype == shares.dtype for x in (h, weight, *others)])


def _states(shares, rows, *first):
    """Arrays for what is kept after each step, with what was kept before the first in its place."""
    found = [empty((len(shares) + 1 + more, *x.shape), x.dtype) for x, more in zip(first, rows)]
    for array, x in zip(found, first):
        array[0] = x
    return found


def rnn_states(shares, h, weight, relu):
    if not fit(shares, h, weight, 1):
        return NotImplemented
    shares, (states,) = contiguous(shares), _states(shares, (0,), h)
    parts, product = _plan(weight, True, len(h), len(shares))
    _rnn_states(parts, shares, states, *product, relu)
    return states


def rnn_gradient(g, states, weight, relu):
    if not fit(g, states[0], weight, 1, states):
        return NotImplemented
    check_shapes(len(states) == len(g) + 1, g, states)
    g, states = contiguous(g), contiguous(states)
    parts, product = _plan(weight, False, g.shape[1], len(g))
    to_shares = empty(g.shape, g.dtype)
    _rnn_gradient(parts, g, states, to_shares, *product, relu)
    return to_shares, product[-2][:, : g.shape[2]]


def lstm_states(shares, h, c, weight):
    if not fit(shares, h, weight, 4, c):
        return NotImplemented
    check_shapes(c.shape == h.shape, h, c)
    shares, (states, cells) = contiguous(shares), _states(shares, (1, 0), h, c)
    gates = empty(shares.shape, shares.dtype)
    parts, product = _plan(weight, True, len(h), len(shares))
    _lstm_states(parts, shares, states, cells, gates, *product)
    return states, cells, gates


def lstm_gradient(g, cells, gates, weight):
    if not fit(gates, cells[0], weight, 4, g):
        return NotImplemented
    check_shapes(g.shape == cells.shape and len(cells) == len(gates) + 1, g, cells, gates)
    g, cells, gates = contiguous(g), contiguous(cells), contiguous(gates)
    parts, product = _plan(weight, False, gates.shape[1], len(gates))
    to_shares, to_c = empty(gates.shape, g.dtype), empty(cells.shape[1:], g.dtype)
    _lstm_gradient(parts, g, cells, gates, to_shares, to_c, *product)
    return to_shares, product[-2][:, : cells.shape[2]], to_c


def gru_states(shares, h, weight, bias):
    if not fit(shares, h, weight, 3, *[bias] * (bias is not None)):
        return NotImplemented
    bias = np.zeros(len(weight), shares.dtype) if bias is None else contiguous(bias)
    check_shapes(bias.shape == weight.shape[:1], weight, bias)
    shares, (states,) = contiguous(shares), _states(shares, (0,), h)
    gates = empty((*shares.shape[:2], 4 * h.shape[1]), shares.dtype)
    parts, product = _plan(weight, True, len(h), len(shares))
    _gru_states(parts, shares, states, gates, bias, *product)
    return states, gates


def gru_gradient(g, states, gates, weight):
    n = weight.shape[-1]
    check_shapes(gates.ndim == 3 and gates.shape[2] == 4 * n and len(weight) == 3 * n, gates, weight)
    check_shapes(g.shape == (*gates.shape[:2], n) and states.shape == (len(g) + 1, *g.shape[1:]), g, states, gates)
    if not g.size or any([x.dtype != g.dtype for x in (states, gates, weight)]):
        return NotImplemented
    g, states, gates = contiguous(g), contiguous(states), contiguous(gates)
    parts, product = _plan(weight, False, g.shape[1], len(g))
    to_shares, to_kept = (empty((*g.shape[:2], 3 * n), g.dtype) for _ in range(2))
    passed = empty(g.shape[1:], g.dtype)
    _gru_gradient(parts, g, states, gates, to_shares, to_kept, *product, passed)
    return to_shares, to_kept, product[-2][:, :n] + passed
