"""Attention by tiles: a block of queries by a tile of keys, whose scores stay in the cache.

A thread has a block of queries, with the largest score, the sum of weights and the sum of weighted values of each, and
brings them up to date with one tile of keys after the other. The keys of a head are packed into panels, so that the
lanes of a register are keys; values lie in rows, so that there the lanes are numbers of a value. Rows may be any steps
apart, as those of the heads that one layer has computed side by side.

A query and a key have `size` numbers, a value has `numbers`. Filled up to whole panels that is `step` and `values`, in
memory of the kernels' own. Of what they are given, `places` say where each head begins, and `steps` how far apart its
rows are.
"""

import math
from functools import lru_cache

import numpy as np

from .elementary import dot, exponential_below_0, larger, largest, sum_of
from .jit import inner
from .layout import check_shapes, contiguous
from .matrix_product import flat, laid_out_like, layout
from .memory import empty
from .micro_kernel import micro_kernel
from .packing import pack_panel, row_offsets
from .registers import OUTER, PRODUCT, PRODUCT_ROWS, broadcast_row, lanes, load, store
from .threads import parallel, thread_count

__all__ = ["attend", "attend_gradient"]
THRESHOLDS = {"attend": 512}  # as of one query, which has no tiles

QUERIES, KEYS = 5 * PRODUCT_ROWS, 128  # a block and a tile: so many scores are in memory at the same time
FIRST = np.zeros(1, np.int64)


@inner
def _pack(rows, n, size, step, panels, width, offsets, packed_offsets):
    """Pack n rows of so many numbers, a step apart, into panels of which each row has a number of every key."""
    for j in range(0, n, width):
        panel = panels[j * size : (j + width) * size]
        pack_panel(rows, j, n, size, step, panel, width, offsets, packed_offsets)


@inner
def _scores(a, a_rows, panels, j, size, m, n, nothing, width, out, out_rows):
    """out (m, n) = a times the keys from j on, in panels."""
    for c in range(0, n, width):
        for p in range(0, m, PRODUCT_ROWS):
            tile = broadcast_row(nothing, 0, PRODUCT, OUTER)
            tile = micro_kernel(tile, a, a_rows, p, FIRST, 0, panels, (j + c) * size, size, 1, width)
            store(tile, out, out_rows, p, min(PRODUCT_ROWS, m - p), c, width)


@inner
def _add_product(a, a_rows, a_step, b, step, k, m, n, width, out, out_rows):
    """out (m, n) += a (m, k) times the rows of b, which are so many numbers apart; n is a multiple of the width."""
    for j in range(0, n, width):
        for p in range(0, m, PRODUCT_ROWS):
            tile = load(out, out_rows, p, j, PRODUCT, OUTER)
            tile = micro_kernel(tile, a, a_rows, p, FIRST, 0, b, j, k, a_step, step)
            store(tile, out, out_rows, p, min(PRODUCT_ROWS, m - p), j, width)


@inner
def _add_mask(row, mask, i, j):
    """The scores of query i and keys from j on, with the mask added, if there is one."""
    if mask.shape[0]:
        part = mask[i if mask.shape[0] > 1 else 0, j : j + row.size]
        for c in range(row.size):
            row[c] += part[c]


@inner
def _reach(n, i, j, causal):
    """How many of n keys from j on query i may attend to."""
    return max(0, min(n, i + 1 - j)) if causal else n


@inner
def _scale(rows, rows_step, n, scale, out, step, m):
    """Copy m rows of n numbers, times the scale."""
    for r in range(m):
        row, to = rows[r * rows_step :], out[r * step :]
        for c in range(n):
            to[c] = row[c] * scale


@parallel
def _attend(
    t,
    parts,
    q,
    k,
    v,
    out,
    places,
    steps,
    mask,
    which,
    lse,
    scale,
    panels,
    queries,
    scores,
    sums,
    top,
    total,
    nothing,
    tables,
    heads,
    rows,
    keys,
    size,
    step,
    numbers,
    values,
    width,
    causal,
):
    q_at, k_at, v_at, out_at = places
    q_step, k_step, v_step, out_step = steps
    size_rows, panel_rows, query_rows, score_rows, value_rows = tables[0], tables[1], tables[2], tables[3], tables[4]
    panels, queries, scores, sums = panels[t], queries[t], scores[t], sums[t]
    top, total, blocks, packed = top[t], total[t], -(-rows // QUERIES), -1
    for u in range(t * heads * blocks // parts, (t + 1) * heads * blocks // parts):
        head, i = u // blocks, u % blocks * QUERIES
        if head != packed:
            _pack(k[k_at[head] :], keys, size, k_step, panels, width, size_rows, panel_rows)
            packed = head
        m, own = min(QUERIES, rows - i), mask[which[head]]
        _scale(q[q_at[head] + i * q_step :], q_step, size, scale, queries, step, m)
        sums[:], top[:], total[:] = 0, -np.inf, 0
        for j in range(0, min(keys, i + m) if causal else keys, KEYS):
            n = _reach(min(KEYS, keys - j), i + m - 1, j, causal)
            _scores(queries, query_rows, panels, j, size, m, n, nothing, width, scores, score_rows)
            for r in range(m):
                seen = _reach(n, i + r, j, causal)
                row, rest = scores[r * KEYS : r * KEYS + seen], scores[r * KEYS + seen : r * KEYS + n]
                _add_mask(row, own, i + r, j)
                new = larger(top[r], largest(row))
                finite = q.dtype.type(0) if new == -np.inf else new
                shrink = exponential_below_0(top[r] - finite)
                for c in range(row.size):
                    row[c] = exponential_below_0(row[c] - finite)
                rest[:] = 0
                total[r] = total[r] * shrink + sum_of(row)
                top[r] = new
                if shrink != 1:
                    to = sums[r * values : (r + 1) * values]
                    for c in range(to.size):
                        to[c] *= shrink
            of = v[v_at[head] + j * v_step :]
            _add_product(scores, score_rows, 1, of, v_step, n, m, values, width, sums, value_rows)
        for r in range(m):
            of, to = sums[r * values : (r + 1) * values], out[out_at[head] + (i + r) * out_step :]
            over = total[r] if total[r] != 0 else q.dtype.type(1)
            for c in range(numbers):
                to[c] = of[c] / over
            lse[head * rows + i + r] = top[r] + np.log(total[r]) if total[r] != 0 else np.inf


@parallel
def _attend_gradient(
    t,
    parts,
    g,
    q,
    k,
    v,
    out,
    places,
    steps,
    mask,
    which,
    lse,
    to_q,
    to_k,
    to_v,
    scale,
    panels,
    value_panels,
    queries,
    scores,
    to_scores,
    sums,
    nothing,
    tables,
    heads,
    rows,
    keys,
    size,
    step,
    numbers,
    values,
    width,
    causal,
):
    g_at, q_at, k_at, v_at, out_at = places
    g_step, q_step, k_step, v_step, out_step = steps
    size_rows, panel_rows, query_rows, score_rows, value_rows = tables[0], tables[1], tables[2], tables[3], tables[4]
    value_size_rows, value_panel_rows, columns = tables[5], tables[6], tables[7]
    panels, value_panels, queries, sums = panels[t], value_panels[t], queries[t], sums[t]
    scores, to_scores = scores[t], to_scores[t]
    for head in range(t * heads // parts, (t + 1) * heads // parts):
        own = mask[which[head]]
        of, of_v = k[k_at[head] :], v[v_at[head] :]
        to_keys, to_values = to_k[head * keys * step :][: keys * step], to_v[head * keys * values :][: keys * values]
        to_keys[:], to_values[:] = 0, 0
        _pack(of, keys, size, k_step, panels, width, size_rows, panel_rows)
        _pack(of_v, keys, numbers, v_step, value_panels, width, value_size_rows, value_panel_rows)
        for i in range(0, rows, QUERIES):
            m, first = min(QUERIES, rows - i), head * rows + i
            to, shown = g[g_at[head] + i * g_step :], out[out_at[head] + i * out_step :]
            _scale(q[q_at[head] + i * q_step :], q_step, size, scale, queries, step, m)
            sums[:] = 0
            to_rows = tables[8] if m < QUERIES else value_rows
            for j in range(0, min(keys, i + m) if causal else keys, KEYS):
                n = _reach(min(KEYS, keys - j), i + m - 1, j, causal)
                _scores(queries, query_rows, panels, j, size, m, n, nothing, width, scores, score_rows)
                _scores(to, to_rows, value_panels, j, numbers, m, n, nothing, width, to_scores, score_rows)
                for r in range(m):
                    seen = _reach(n, i + r, j, causal)
                    row, rest = scores[r * KEYS : r * KEYS + seen], scores[r * KEYS + seen : r * KEYS + n]
                    back, back_rest = to_scores[r * KEYS :][:seen], to_scores[r * KEYS + seen : r * KEYS + n]
                    _add_mask(row, own, i + r, j)
                    mean = dot(to[r * g_step :][:numbers], shown[r * out_step :][:numbers])
                    for c in range(row.size):
                        row[c] = exponential_below_0(row[c] - lse[first + r])
                        back[c] = row[c] * (back[c] - mean)
                    rest[:], back_rest[:] = 0, 0
                last = keys - j < KEYS
                key_rows, value_tile_rows = (tables[9], tables[10]) if last else (tables[11], tables[12])
                _add_product(to_scores, score_rows, 1, of[j * k_step :], k_step, n, m, step, width, sums, query_rows)
                _add_product(to_scores, columns, KEYS, queries, step, m, n, step, width, to_keys[j * step :], key_rows)
                _add_product(
                    scores, columns, KEYS, to, g_step, m, n, values, width, to_values[j * values :], value_tile_rows
                )
            for c in range(m * step):
                to_q[first * step + c] = sums[c] * scale


def _rows(x, multiple=1):
    """(…, n, size) in memory: an array of one dim, where each matrix begins in it, and how far apart its rows are.

    They are read where they are if they have a multiple of so many numbers, else from a copy filled up with zeros.
    """
    missing = -x.shape[-1] % multiple
    if missing:
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    found = x.flags.behaved and layout(x.shape, x.strides, x.itemsize, x.ndim - 2)
    if not found or found[2] != 1:
        x = contiguous(x)
        found = layout(x.shape, x.strides, x.itemsize, x.ndim - 2)
    starts, rows, _, size = found
    return flat(x, size), starts.reshape(-1), int(rows[1]) if len(rows) > 1 else x.shape[-1]


def _cut(x, shape):
    """Numbers in a row, as an array of the shape, of which the last dim was filled up."""
    return x.reshape(*shape[:-1], -1)[..., : shape[-1]]


def _masks(mask, q, keys):
    """A mask as (masks, rows or 1, keys) to be added, and which of them each head has."""
    heads = math.prod(q.shape[:-2])
    if mask is None:
        return np.zeros((1, 0, 0), q.dtype), np.zeros(heads, np.int64)
    mask = mask[..., :1, :] if mask.strides[-2] == 0 else mask
    numbers = np.arange(math.prod(mask.shape[:-2])).reshape(mask.shape[:-2])
    if mask.dtype.kind == "b":
        mask = np.where(mask, q.dtype.type(0), q.dtype.type(-np.inf))
    mask = contiguous(mask.astype(q.dtype, copy=False).reshape(numbers.size, mask.shape[-2], keys))
    return mask, np.ascontiguousarray(np.broadcast_to(numbers, q.shape[:-2])).reshape(heads)


@lru_cache(maxsize=1024)
def _tables(rows, keys, size, step, numbers, values, width, g_step):
    """The offsets of rows in what the kernels read and write, the last of them for the last block and the last tile."""
    last = (rows - 1) % QUERIES + 1, (keys - 1) % KEYS + 1
    tables = [(size, 1), (size, width), (QUERIES, step), (QUERIES, KEYS), (QUERIES, g_step)]
    tables += [(numbers, 1), (numbers, width), (KEYS, 1)]
    tables += [(last[0], g_step), (last[1], step), (last[1], values), (KEYS, step), (KEYS, values)]
    longest = max([n for n, _ in tables])
    return np.stack([np.pad(row_offsets(n, by), (0, longest - n), mode="edge") for n, by in tables])


def _sizes(q, k, v, mask, *others):
    """The numbers of heads, queries and keys; NotImplemented where there are none, or of other dtypes."""
    fits = q.ndim > 1 and q.ndim == k.ndim == v.ndim and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    fits = fits and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]
    fits = fits and (mask is None or mask.ndim > 1 and mask.shape[-2:] == (q.shape[-2], k.shape[-2]))
    check_shapes(fits, q, k, v)
    if not (q.size and k.size and v.size) or any([x.dtype != q.dtype for x in (k, v, *others)]):
        return NotImplemented
    return math.prod(q.shape[:-2]), q.shape[-2], k.shape[-2], 2 * lanes(q.dtype)


def attend(q, k, v, mask, causal, scale):
    sizes = _sizes(q, k, v, mask)
    if sizes is NotImplemented:
        return sizes
    (heads, rows, keys, width), (masks, which) = sizes, _masks(mask, q, k.shape[-2])
    size, numbers, lse = q.shape[-1], v.shape[-1], empty((*q.shape[:-1], 1), q.dtype)
    step, values = -(-size // width) * width, -(-numbers // width) * width
    out = laid_out_like(q, (*q.shape[:-1], numbers))
    read, places, steps = zip(_rows(q), _rows(k), _rows(v, width), _rows(out))
    parts = min(thread_count(heads * rows * keys * (size + values) // 16), heads * -(-rows // QUERIES))
    _attend(
        parts,
        *(*read, places, steps, masks, which, lse.reshape(-1), q.dtype.type(scale)),
        empty((parts, -(-keys // width) * width * size), q.dtype),
        *[empty((parts, QUERIES * n), q.dtype) for n in (step, KEYS, values, 1, 1)],
        np.zeros(width, q.dtype),
        _tables(rows, keys, size, step, numbers, values, width, values),
        *(heads, rows, keys, size, step, numbers, values, width, causal),
    )
    return out, lse


def attend_gradient(g, q, k, v, out, lse, mask, causal, scale):
    sizes = _sizes(q, k, v, mask, g, out, lse)
    check_shapes(g.shape == out.shape == (*q.shape[:-1], v.shape[-1]) and lse.shape == (*q.shape[:-1], 1), g, out, lse)
    if sizes is NotImplemented:
        return sizes
    (heads, rows, keys, width), (masks, which) = sizes, _masks(mask, q, k.shape[-2])
    size, numbers, shapes = q.shape[-1], v.shape[-1], (q.shape, k.shape, v.shape)
    step, values, panels = (-(-n // width) * width for n in (size, numbers, keys))
    read, places, steps = zip(_rows(g, width), _rows(q), _rows(k, width), _rows(v), _rows(out))
    found = [empty(heads * n, q.dtype) for n in (rows * step, keys * step, keys * values)]
    parts = min(thread_count(heads * rows * keys * (size + values) // 16), heads)
    _attend_gradient(
        parts,
        *(*read, places, steps, masks, which, contiguous(lse).reshape(-1), *found, q.dtype.type(scale)),
        *[empty((parts, n), q.dtype) for n in (panels * size, panels * numbers)],
        *[empty((parts, QUERIES * n), q.dtype) for n in (step, KEYS, KEYS, step)],
        np.zeros(width, q.dtype),
        _tables(rows, keys, size, step, numbers, values, width, steps[0]),
        *(heads, rows, keys, size, step, numbers, values, width, causal),
    )
    return tuple([_cut(x, shape) for x, shape in zip(found, shapes)])
