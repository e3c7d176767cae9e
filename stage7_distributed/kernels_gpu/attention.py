"""Attention without the matrix of scores: a thread has a query, or a key, and reads the others from shared memory.

Arrays are treated as (heads, tokens, numbers). A block loads a tile of keys and values, each of its threads brings its
own query up to date with every key of it, and the next tile takes the place (Dao et al. 2022).
"""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

from numba import cuda

from ..kernels_cpu.layout import check_shapes
from .launch import THREADS, contiguous, device, empty, same_dtype, specialized, split

__all__ = ["attend", "attend_gradient"]
MOST_NUMBERS = 128  # of a query, and of a value, which a thread keeps in registers
SHARED = 32 * 1024  # bytes of the two tiles of a block


@device
def load(tile, x, first, count, size, t):
    """Load rows of x, of so many numbers each, into a tile; thread t has every 256th number."""
    for n in range(t, count * size, THREADS):
        tile[n // size, n % size] = x[first * size + n]


def _attend(q, k, v, out, lse, blocks, rows, keys, scale):
    """softmax(scale·q kᵀ) v, and the log-sum-exp of each row of scores.

    Grid: a block for 256 queries of a head. A thread: one query, with its largest score, the sum of weights and
    the sums of weighted values. Shared memory: a tile of keys and one of values.
    Bytes: keys and values are read once for each block of queries, all else once.
    """
    k_tile = cuda.shared.array((TILE, SIZE), real)  # a line each: the simulator tells them apart by it
    v_tile = cuda.shared.array((TILE, VALUES), real)
    query, sums = cuda.local.array(SIZE, real), cuda.local.array(VALUES, real)
    t, factor = cuda.threadIdx.x, real(scale)
    head, block = split(cuda.blockIdx.x, blocks)
    i = block * THREADS + t
    for e in range(SIZE):
        query[e] = q[(head * rows + i) * SIZE + e] * factor if i < rows else 0
    for f in range(VALUES):
        sums[f] = 0
    top, total = real(-math.inf), real(0)
    for start in range(0, min(keys, (block + 1) * THREADS) if CAUSAL else keys, TILE):
        count = min(TILE, keys - start)
        load(k_tile, k, head * keys + start, count, SIZE, t)
        load(v_tile, v, head * keys + start, count, VALUES, t)
        cuda.syncthreads()
        if CAUSAL:
            count = min(count, i + 1 - start)
        for j in range(count if i < rows else 0):
            score = real(0)
            for e in range(SIZE):
                score += query[e] * k_tile[j, e]
            if score > top:
                shrink = math.exp(top - score)
                total *= shrink
                for f in range(VALUES):
                    sums[f] *= shrink
                top = score
            if score != -math.inf:
                weight = math.exp(score - top)
                total += weight
                for f in range(VALUES):
                    sums[f] += weight * v_tile[j, f]
        cuda.syncthreads()
    if i < rows:
        for f in range(VALUES):
            out[(head * rows + i) * VALUES + f] = sums[f] / total if total != 0 else 0
        lse[head * rows + i] = top + math.log(total) if total != 0 else math.inf


def _to_queries(g, q, k, v, out, lse, to_q, means, blocks, rows, keys, scale):
    """The gradient of the queries, and Σ g·out of each.

    Grid: a block for 256 queries of a head. A thread: one query. Shared memory: a tile of keys and one of values.
    Bytes: keys and values are read once for each block of queries, all else once.
    """
    k_tile = cuda.shared.array((TILE, SIZE), real)  # a line each: the simulator tells them apart by it
    v_tile = cuda.shared.array((TILE, VALUES), real)
    query, sums = cuda.local.array(SIZE, real), cuda.local.array(SIZE, real)
    incoming = cuda.local.array(VALUES, real)
    t, factor = cuda.threadIdx.x, real(scale)
    head, block = split(cuda.blockIdx.x, blocks)
    i, mean, log_total = block * THREADS + t, real(0), real(0)
    if i < rows:
        log_total = lse[head * rows + i]
        for e in range(SIZE):
            query[e], sums[e] = q[(head * rows + i) * SIZE + e] * factor, 0
        for f in range(VALUES):
            incoming[f] = g[(head * rows + i) * VALUES + f]
            mean += incoming[f] * out[(head * rows + i) * VALUES + f]
    for start in range(0, min(keys, (block + 1) * THREADS) if CAUSAL else keys, TILE):
        count = min(TILE, keys - start)
        load(k_tile, k, head * keys + start, count, SIZE, t)
        load(v_tile, v, head * keys + start, count, VALUES, t)
        cuda.syncthreads()
        if CAUSAL:
            count = min(count, i + 1 - start)
        for j in range(count if i < rows else 0):
            score, product = real(0), real(0)
            for e in range(SIZE):
                score += query[e] * k_tile[j, e]
            for f in range(VALUES):
                product += incoming[f] * v_tile[j, f]
            to_score = math.exp(score - log_total) * (product - mean) * factor
            for e in range(SIZE):
                sums[e] += to_score * k_tile[j, e]
        cuda.syncthreads()
    if i < rows:
        means[head * rows + i] = mean
        for e in range(SIZE):
            to_q[(head * rows + i) * SIZE + e] = sums[e]


def _to_keys(g, q, k, v, lse, means, to_k, to_v, blocks, rows, keys, scale):
    """The gradients of the keys and of their values.

    Grid: a block for 256 keys of a head. A thread: one key and its value. Shared memory: a tile of queries and one of
    their gradients.
    Bytes: queries and their gradients are read once for each block of keys, all else once.
    """
    q_tile = cuda.shared.array((TILE, SIZE), real)  # a line each: the simulator tells them apart by it
    g_tile = cuda.shared.array((TILE, VALUES), real)
    key, sums = cuda.local.array(SIZE, real), cuda.local.array(SIZE, real)
    value, value_sums = cuda.local.array(VALUES, real), cuda.local.array(VALUES, real)
    t, factor = cuda.threadIdx.x, real(scale)
    head, block = split(cuda.blockIdx.x, blocks)
    j = block * THREADS + t
    if j < keys:
        for e in range(SIZE):
            key[e], sums[e] = k[(head * keys + j) * SIZE + e], 0
        for f in range(VALUES):
            value[f], value_sums[f] = v[(head * keys + j) * VALUES + f], 0
    for start in range(block * THREADS // TILE * TILE if CAUSAL else 0, rows, TILE):
        count = min(TILE, rows - start)
        load(q_tile, q, head * rows + start, count, SIZE, t)
        load(g_tile, g, head * rows + start, count, VALUES, t)
        cuda.syncthreads()
        for i in range(max(0, j - start) if CAUSAL else 0, count if j < keys else 0):
            score, product = real(0), real(0)
            for e in range(SIZE):
                score += q_tile[i, e] * key[e]
            for f in range(VALUES):
                product += g_tile[i, f] * value[f]
            row = head * rows + start + i
            weight = math.exp(score * factor - lse[row])
            to_score = weight * (product - means[row]) * factor
            for e in range(SIZE):
                sums[e] += to_score * q_tile[i, e]
            for f in range(VALUES):
                value_sums[f] += weight * g_tile[i, f]
        cuda.syncthreads()
    if j < keys:
        for e in range(SIZE):
            to_k[(head * keys + j) * SIZE + e] = sums[e]
        for f in range(VALUES):
            to_v[(head * keys + j) * VALUES + f] = value_sums[f]


def _supported(q, k, v, mask, *others):
    """Whether the kernels take these arrays, whose shapes must fit; a mask is left to NumPy's functions."""
    heads, sizes = q.shape[:-2], (q.shape[-1], v.shape[-1])
    check_shapes(
        k.shape[:-2] == v.shape[:-2] == heads and k.shape[-1] == sizes[0] and v.shape[-2] == k.shape[-2], q, k, v
    )
    return mask is None and q.size and v.size and max(sizes) <= MOST_NUMBERS and same_dtype(q, k, v, *others)


def _launch(kernel, arrays, tokens, q, v, causal, scale):
    """Launch a kernel, with a thread for each of so many tokens of each head."""
    rows, size, keys, values = *q.shape[-2:], *v.shape[-2:]
    tile = min(64, SHARED // ((size + values) * q.dtype.itemsize))
    blocks = -(-tokens // THREADS)
    how = {"SIZE": size, "VALUES": values, "CAUSAL": causal, "RESIDENT": 1}  # so that a thread has all 255 registers
    run = specialized(kernel, q.dtype, TILE=tile, **how)
    run((math.prod(q.shape[:-2]) * blocks,), *arrays, blocks, rows, keys, scale)


def attend(q, k, v, mask, causal, scale):
    if not _supported(q, k, v, mask):
        return NotImplemented
    q, k, v = map(contiguous, (q, k, v))
    out, lse = empty(q, *q.shape[:-1], v.shape[-1]), empty(q, *q.shape[:-1], 1)
    _launch(_attend, (q, k, v, out, lse), q.shape[-2], q, v, causal, scale)
    return out, lse


def attend_gradient(g, q, k, v, out, lse, mask, causal, scale):
    if not _supported(q, k, v, mask, g, out, lse):
        return NotImplemented
    g, q, k, v, out, lse = map(contiguous, (g, q, k, v, out, lse))
    to_q, to_k, to_v, means = (empty(q, *x.shape) for x in (q, k, v, lse))
    _launch(_to_queries, (g, q, k, v, out, lse, to_q, means), q.shape[-2], q, v, causal, scale)
    _launch(_to_keys, (g, q, k, v, lse, means, to_k, to_v), k.shape[-2], q, v, causal, scale)
    return to_q, to_k, to_v
