"""Attention by tiles: a block of queries by a tile of keys, whose scores stay in the cache.

A thread has a block of queries, with the largest score, the sum of weights and the sum of weighted values of each, and
brings them up to date with one tile of keys after the other. The keys of a head are packed into panels, so that the
lanes of a register are keys; values lie in rows, so that there the lanes are numbers of a value.
"""

import math
from functools import lru_cache

import numpy as np

from .elementary import dot, exponential_below_0, larger, largest, sum_of
from .jit import inner
from .layout import check_shapes, contiguous
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
def _add_product(a, a_rows, a_step, b, step, k, m, width, out, out_rows):
    """out (m, step) += a (m, k) times the rows of b, which are so many numbers, a multiple of the width, apart."""
    for j in range(0, step, width):
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


@parallel
def _attend(
    t,
    parts,
    q,
    k,
    v,
    mask,
    which,
    out,
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
    values,
    width,
    causal,
):
    size_rows, panel_rows, query_rows, score_rows, value_rows = tables[0], tables[1], tables[2], tables[3], tables[4]
    panels, queries, scores, sums = panels[t], queries[t], scores[t], sums[t]
    top, total, blocks, packed = top[t], total[t], -(-rows // QUERIES), -1
    for u in range(t * heads * blocks // parts, (t + 1) * heads * blocks // parts):
        head, i = u // blocks, u % blocks * QUERIES
        if head != packed:
            of = k[head * keys * step : (head + 1) * keys * step]
            _pack(of, keys, size, step, panels, width, size_rows, panel_rows)
            packed = head
        m, own = min(QUERIES, rows - i), mask[which[head]]
        part = q[(head * rows + i) * step : (head * rows + i + m) * step]
        for c in range(part.size):
            queries[c] = part[c] * scale
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
            of = v[(head * keys + j) * values : (head * keys + j + n) * values]
            _add_product(scores, score_rows, 1, of, values, n, m, width, sums, value_rows)
        for r in range(m):
            of, to = sums[r * values : (r + 1) * values], out[(head * rows + i + r) * values :][:values]
            over = total[r] if total[r] != 0 else q.dtype.type(1)
            for c in range(of.size):
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
    mask,
    which,
    out,
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
    values,
    width,
    causal,
):
    size_rows, panel_rows, query_rows, score_rows, value_rows = tables[0], tables[1], tables[2], tables[3], tables[4]
    value_size_rows, value_panel_rows, columns = tables[5], tables[6], tables[7]
    panels, value_panels, queries, sums = panels[t], value_panels[t], queries[t], sums[t]
    scores, to_scores = scores[t], to_scores[t]
    for head in range(t * heads // parts, (t + 1) * heads // parts):
        own = mask[which[head]]
        of, of_v = k[head * keys * step :][: keys * step], v[head * keys * values :][: keys * values]
        to_keys, to_values = to_k[head * keys * step :][: keys * step], to_v[head * keys * values :][: keys * values]
        to_keys[:], to_values[:] = 0, 0
        _pack(of, keys, size, step, panels, width, size_rows, panel_rows)
        _pack(of_v, keys, values, values, value_panels, width, value_size_rows, value_panel_rows)
        for i in range(0, rows, QUERIES):
            m, first = min(QUERIES, rows - i), head * rows + i
            part, to = q[first * step : (first + m) * step], g[first * values : (first + m) * values]
            for c in range(part.size):
                queries[c] = part[c] * scale
            sums[:] = 0
            to_rows = tables[8] if m < QUERIES else value_rows
            for j in range(0, min(keys, i + m) if causal else keys, KEYS):
                n = _reach(min(KEYS, keys - j), i + m - 1, j, causal)
                _scores(queries, query_rows, panels, j, size, m, n, nothing, width, scores, score_rows)
                _scores(to, to_rows, value_panels, j, values, m, n, nothing, width, to_scores, score_rows)
                for r in range(m):
                    seen = _reach(n, i + r, j, causal)
                    row, rest = scores[r * KEYS : r * KEYS + seen], scores[r * KEYS + seen : r * KEYS + n]
                    back, back_rest = to_scores[r * KEYS :][:seen], to_scores[r * KEYS + seen : r * KEYS + n]
                    _add_mask(row, own, i + r, j)
                    mean = dot(to[r * values : (r + 1) * values], out[(first + r) * values :][:values])
                    for c in range(row.size):
                        row[c] = exponential_below_0(row[c] - lse[first + r])
                        back[c] = row[c] * (back[c] - mean)
                    rest[:], back_rest[:] = 0, 0
                last = keys - j < KEYS
                key_rows, value_tile_rows = (tables[9], tables[10]) if last else (tables[11], tables[12])
                _add_product(to_scores, score_rows, 1, of[j * step :][: n * step], step, n, m, width, sums, query_rows)
                _add_product(to_scores, columns, KEYS, queries, step, m, n, width, to_keys[j * step :], key_rows)
                _add_product(scores, columns, KEYS, to, values, m, n, width, to_values[j * values :], value_tile_rows)
            for c in range(m * step):
                to_q[first * step + c] = sums[c] * scale


def _rows(x, width):
    """(…, n, size) as numbers in a row, the size filled up with zeros to a multiple of the width; and that size."""
    missing = -x.shape[-1] % width
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else contiguous(x)
    return x.reshape(-1), x.shape[-1]


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
def _tables(rows, keys, size, step, values, width):
    """The offsets of rows in what the kernels read and write, the last of them for the last block and the last tile."""
    last = (rows - 1) % QUERIES + 1, (keys - 1) % KEYS + 1
    tables = [(size, 1), (size, width), (QUERIES, step), (QUERIES, KEYS), (QUERIES, values)]
    tables += [(values, 1), (values, width), (KEYS, 1)]
    tables += [(last[0], values), (last[1], step), (last[1], values), (KEYS, step), (KEYS, values)]
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
    size, shape, kept = q.shape[-1], (*q.shape[:-1], v.shape[-1]), (*q.shape[:-1], 1)
    (q, step), (k, _), (v, values) = (_rows(x, width) for x in (q, k, v))
    out, lse = empty(heads * rows * values, q.dtype), empty(heads * rows, q.dtype)
    parts = min(thread_count(heads * rows * keys * (size + values) // 16), heads * -(-rows // QUERIES))
    _attend(
        parts,
        *(q, k, v, masks, which, out, lse, q.dtype.type(scale)),
        empty((parts, -(-keys // width) * width * size), q.dtype),
        *[empty((parts, QUERIES * n), q.dtype) for n in (step, KEYS, values, 1, 1)],
        np.zeros(width, q.dtype),
        _tables(rows, keys, size, step, values, width),
        *(heads, rows, keys, size, step, values, width, causal),
    )
    return _cut(out, shape), lse.reshape(kept)


def attend_gradient(g, q, k, v, out, lse, mask, causal, scale):
    sizes = _sizes(q, k, v, mask, g, out, lse)
    check_shapes(g.shape == out.shape == (*q.shape[:-1], v.shape[-1]) and lse.shape == (*q.shape[:-1], 1), g, out, lse)
    if sizes is NotImplemented:
        return sizes
    (heads, rows, keys, width), (masks, which) = sizes, _masks(mask, q, k.shape[-2])
    size, shapes = q.shape[-1], (q.shape, k.shape, v.shape)
    (g, _), (q, step), (k, _), (v, values), (out, _) = (_rows(x, width) for x in (g, q, k, v, out))
    found = [empty(x.size, q.dtype) for x in (q, k, v)]
    parts, panels = min(thread_count(heads * rows * keys * (size + values) // 16), heads), -(-keys // width) * width
    _attend_gradient(
        parts,
        *(g, q, k, v, masks, which, out, contiguous(lse).reshape(-1), *found, q.dtype.type(scale)),
        *[empty((parts, n), q.dtype) for n in (panels * size, panels * values)],
        *[empty((parts, QUERIES * n), q.dtype) for n in (step, KEYS, KEYS, step)],
        np.zeros(width, q.dtype),
        _tables(rows, keys, size, step, values, width),
        *(heads, rows, keys, size, step, values, width, causal),
    )
    return tuple([_cut(x, shape) for x, shape in zip(found, shapes)])
