"""Attention: softmax(Q Kᵀ/√E) V, tile by tile, so that the matrix of all scores is never whole (Dao et al. 2022).

A query's output is the mean of the values, each weighted by e to the power of its score. All that this needs to know of
the keys that it has met is the largest score m, the sum of weights l, and the sum of weighted values o. A tile of keys
with the scores s brings these up to date:

    m' = max(m, max s)
    l' = l·e^(m − m') + Σ e^(s − m')
    o' = o·e^(m − m') + e^(s − m') V

At the end the output is o/l. Of a row's scores only their log-sum-exp m + log l is kept; backward makes each tile of
weights anew from it, e^(s − m − log l). So memory grows with the number of tokens T, not with T².
"""

import math

import numpy as np

from .creation import arange, zeros
from .device import kernel, within
from .engine import Tensor, apply, array_of, cat, constant
from .nn import functional as F
from .padding import pad

TILE = 128  # queries, and keys, of which scores are in memory at the same time

# Loops over tiles


@kernel
def attend(q, k, v, mask, causal, scale):
    """softmax(scale·q kᵀ + mask) v and the log-sum-exp of each row of scores.

    (…, L, E), (…, S, E), (…, S, F), and a mask (…, L, S), or None -> (…, L, F), (…, L, 1). A mask broadcasts, and is
    added or, if of booleans, is True where a query may attend to a key. With `causal` query i attends to keys 0 to i.
    """
    out = np.empty_like(q, shape=(*q.shape[:-1], v.shape[-1]))
    lse = np.empty_like(q, shape=(*q.shape[:-1], 1))
    for i in range(0, q.shape[-2], TILE):
        rows = q[..., i : i + TILE, :]
        top, total = np.full_like(lse[..., i : i + TILE, :], -np.inf), np.zeros_like(lse[..., i : i + TILE, :])
        sums = np.zeros_like(out[..., i : i + TILE, :])
        for j in _tiles(i, rows, k, causal):
            scores = _scores(rows, k, mask, causal, scale, i, j)
            new = np.maximum(top, scores.max(axis=-1, keepdims=True))
            finite = np.where(new == -np.inf, 0, new)  # of a row of which nothing may be attended to yet
            weights, shrink = np.exp(scores - finite), np.exp(top - finite)
            total = total * shrink + weights.sum(axis=-1, keepdims=True)
            sums = sums * shrink + weights @ v[..., j : j + TILE, :]
            top = new
        none = total == 0  # and whose output is 0
        out[..., i : i + TILE, :] = sums / np.where(none, 1, total)
        lse[..., i : i + TILE, :] = np.where(none, np.inf, top + np.log(total))
    return out, lse


@kernel
def attend_gradient(g, q, k, v, out, lse, mask, causal, scale):
    """The gradients of q, k and v.

    With the weights p: dv = pᵀ g, dp = g vᵀ, ds = p·(dp − Σdp·p), where Σdp·p = Σg·out, dq = scale·ds k, and
    dk = scale·dsᵀ q.
    """
    to_q, to_k, to_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for i in range(0, q.shape[-2], TILE):
        rows, here = q[..., i : i + TILE, :], np.s_[..., i : i + TILE, :]
        mean = (g[here] * out[here]).sum(axis=-1, keepdims=True)
        for j in _tiles(i, rows, k, causal):
            there = np.s_[..., j : j + TILE, :]
            weights = np.exp(_scores(rows, k, mask, causal, scale, i, j) - lse[here])
            to_scores = weights * (g[here] @ v[there].swapaxes(-1, -2) - mean) * scale
            to_q[here] += to_scores @ k[there]
            to_k[there] += to_scores.swapaxes(-1, -2) @ rows
            to_v[there] += weights.swapaxes(-1, -2) @ g[here]
    return to_q, to_k, to_v


def _tiles(i, rows, k, causal):
    """Where the tiles of keys begin that queries from i on may attend to."""
    return range(0, min(i + rows.shape[-2], k.shape[-2]) if causal else k.shape[-2], TILE)


def _scores(rows, k, mask, causal, scale, i, j):
    """A tile of scores, of the rows from i on and the keys from j on; −∞ where they may not be attended to."""
    scores = (rows @ k[..., j : j + TILE, :].swapaxes(-1, -2)) * scale
    n, m = scores.shape[-2:]
    if mask is not None:
        part = mask[..., i : i + n, j : j + m]
        scores = np.where(part, scores, -np.inf) if part.dtype.kind == "b" else scores + part
    if causal and i < j + m:
        queries, keys = np.arange(i, i + n, like=scores), np.arange(j, j + m, like=scores)
        scores = np.where(queries[:, None] >= keys, scores, -np.inf)
    return scores


# The rule


def attention(q, k, v, mask=None, causal=False, scale=1.0):
    """softmax(scale·q kᵀ + mask) v: (…, L, E), (…, S, E), (…, S, F) -> (…, L, F), with a mask as for `attend`."""
    fits = q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]
    if not fits or not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"wanted (…, L, E), (…, S, E) and (…, S, F) of one dtype, got {q.dtype}, {k.dtype}, {v.dtype}")
    if mask is not None:
        mask = np.broadcast_to(mask, (*mask.shape[:-2], q.shape[-2], k.shape[-2]))
    out, lse = attend(q, k, v, mask, causal, scale)
    return out, lambda g: attend_gradient(g, q, k, v, out, lse, mask, causal, scale)


# Functions, under PyTorch's names


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(query keyᵀ·scale + mask) value: (…, L, E), (…, S, E), (…, S, F) -> (…, L, F); the scale is 1/√E, if None.

    A mask broadcasts to (…, L, S). It is added or, if of booleans, is True where a query may attend to a key; where it
    may attend to none, the output is 0. With `is_causal` query i attends to keys 0 to i. With `enable_gqa` query has a
    multiple of the heads of key and value, which several share. With dropout, or a mask that requires grad, the matrix
    of all weights is made.
    """
    if min(query.ndim, key.ndim, value.ndim) < 2:
        shapes = ", ".join([str(tuple(x.shape)) for x in (query, key, value)])
        raise ValueError(f"scaled_dot_product_attention: wanted (…, L, E), (…, S, E) and (…, S, F), got {shapes}")
    if attn_mask is not None and is_causal:
        raise RuntimeError("scaled_dot_product_attention: wanted attn_mask or is_causal, got both")
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    batch = np.broadcast_shapes(*[x.shape[:-2] for x in (query, key, value)])
    query, key, value = (x if x.shape[:-2] == batch else x.expand(*batch, *x.shape[-2:]) for x in (query, key, value))
    scale = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else scale
    if dropout_p > 0 or isinstance(attn_mask, Tensor) and attn_mask.requires_grad:
        return _with_all_weights(query, key, value, attn_mask, dropout_p, is_causal, scale)
    mask = attn_mask if attn_mask is None else array_of(attn_mask)
    if mask is not None:
        if mask.dtype.kind not in "bf":
            raise RuntimeError(f"scaled_dot_product_attention: wanted a mask of bool or floats, got {mask.dtype}")
        mask = mask if mask.dtype.kind == "b" else mask.astype(query.dtype)
    return apply(attention, (query, key, value), mask, is_causal, scale)


def _with_all_weights(query, key, value, mask, dropout_p, causal, scale):
    """The same, with the matrix of all weights."""
    scores = query @ key.transpose(-2, -1) * scale
    if causal:
        mask = constant(np.tri(*scores.shape[-2:], dtype=bool, like=scores._data))
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -math.inf) if mask.dtype.kind == "b" else scores + mask
    nothing = (scores == -math.inf).all(-1, keepdim=True)
    weights = scores.masked_fill(nothing, 0).softmax(-1).masked_fill(nothing, 0)
    return F.dropout(weights, dropout_p) @ value


def multi_head_attention_forward(
    query,
    key,
    value,
    embed_dim_to_check,
    num_heads,
    in_proj_weight,
    in_proj_bias,
    bias_k,
    bias_v,
    add_zero_attn,
    dropout_p,
    out_proj_weight,
    out_proj_bias,
    training=True,
    key_padding_mask=None,
    need_weights=True,
    attn_mask=None,
    use_separate_proj_weight=False,
    q_proj_weight=None,
    k_proj_weight=None,
    v_proj_weight=None,
    static_k=None,
    static_v=None,
    average_attn_weights=True,
    is_causal=False,
):
    """What `nn.MultiheadAttention` computes, with its weights as arguments, of (L, N, E), (S, N, …) and (S, N, …)."""
    op, alone = "multi_head_attention_forward", query.ndim == 2
    if alone:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        key_padding_mask = key_padding_mask if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    if query.ndim != 3 or query.shape[-1] != embed_dim_to_check or embed_dim_to_check % num_heads:
        wanted = f"(L, N, {embed_dim_to_check}), a multiple of {num_heads} heads"
        raise ValueError(f"{op}: wanted a query {wanted}, got {tuple(query.shape)}")
    if key.shape[:2] != value.shape[:2] or key.shape[1] != query.shape[1]:
        shapes = ", ".join([str(tuple(x.shape)) for x in (query, key, value)])
        raise ValueError(f"{op}: wanted (L, N, …), (S, N, …) and (S, N, …), got {shapes}")
    if is_causal and attn_mask is None:
        raise RuntimeError(f"{op}: wanted attn_mask, for which is_causal is a hint, got None")

    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight
    q, k, v = _projected(query, key, value, weights, in_proj_bias)
    more = 0
    if bias_k is not None:
        k, v, more = cat([k, bias_k.repeat(1, k.shape[1], 1)]), cat([v, bias_v.repeat(1, v.shape[1], 1)]), 1
    heads = num_heads, embed_dim_to_check // num_heads
    q, k, v = (x.unflatten(2, heads).permute(1, 2, 0, 3) for x in (q, k, v))  # (N, heads, L, E)
    k, v = (
        x if own is None else own.reshape(*x.shape[:2], *own.shape[1:]) for x, own in ((k, static_k), (v, static_v))
    )
    if add_zero_attn:
        k, v, more = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1)), more + 1
    if is_causal and key_padding_mask is None and not need_weights:
        mask = None
    else:
        is_causal = False
        mask = _merged(op, attn_mask, key_padding_mask, q, key.shape[0], more)

    dropout_p = dropout_p if training else 0.0
    if need_weights:
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]))
        share = (scores if mask is None else scores + mask).softmax(-1)
        share = F.dropout(share, dropout_p)
        out = share @ v
    else:
        share, out = None, scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    out = F.linear(out.permute(2, 0, 1, 3).reshape(*query.shape), out_proj_weight, out_proj_bias)
    share = share.mean(1) if need_weights and average_attn_weights else share
    return (out.squeeze(1), share if share is None else share.squeeze(0)) if alone else (out, share)


def _projected(query, key, value, weights, bias):
    """Queries, keys and values, in one product where they are made of the same."""
    if query is key is value and isinstance(weights, Tensor):
        return F.linear(query, weights, bias).chunk(3, -1)
    weights = weights.chunk(3) if isinstance(weights, Tensor) else weights
    biases = [None] * 3 if bias is None else bias.chunk(3)
    return [F.linear(x, weight, b) for x, weight, b in zip((query, key, value), weights, biases)]


def _merged(op, attn_mask, padding_mask, q, keys, more):
    """One mask, to be added to scores (N, heads, L, S), of both; that of booleans is True at what is left out.

    `more` keys were appended, to which all may attend.
    """
    (n, heads, rows, _), masks = q.shape, []
    shapes = {(rows, keys): (1, 1, rows, keys), (n * heads, rows, keys): (n, heads, rows, keys)}
    for name, mask, wanted in (
        ("attn_mask", attn_mask, shapes),
        ("key_padding_mask", padding_mask, {(n, keys): (n, 1, 1, keys)}),
    ):
        if mask is None:
            continue
        if tuple(mask.shape) not in wanted:
            raise RuntimeError(f"{op}: {name}: wanted {' or '.join(map(str, wanted))}, got {tuple(mask.shape)}")
        if mask.dtype.kind not in "bf":
            raise TypeError(f"{op}: {name}: wanted booleans or floating-point numbers, got {mask.dtype}")
        if mask.dtype.kind == "b":
            mask = q.new_zeros(mask.shape).masked_fill(mask, -math.inf)
        masks.append(pad(mask.reshape(wanted[tuple(mask.shape)]), (0, more)))
    return sum(masks[1:], masks[0]) if masks else None


class KVCache:
    """The keys and values of all tokens so far, so that a new token is compared with them without making them anew.

    There is room for `capacity` tokens. What is kept has no gradient. How many tokens there are, `length`, is a tensor
    and all places are in memory from the first on, so that a captured step goes on counting.
    """

    def __init__(self, capacity, device=None):
        self.capacity, self.length = capacity, zeros(1, dtype=np.int64, device=device)
        self._places, self._kept = arange(capacity, device=device), None

    def append(self, key, value):
        """Keep keys (…, L, E) and values (…, L, F) of L more tokens; ValueError where there is no room for them.

        Returns the keys and values of all places, (…, capacity, E) and (…, capacity, F), and a mask (L, capacity): each
        of the L may attend to the tokens before it and to itself.
        """
        if self._kept is None:
            self._kept = [x.new_zeros(self.capacity, *x.shape[:-2], x.shape[-1]) for x in (key, value)]
            self._all = [kept.movedim(0, -2) for kept in self._kept]
        here = self._places[: key.shape[-2]] + self.length
        if not within(here._data, self.capacity):
            tokens = self.length.item() + key.shape[-2]
            raise ValueError(f"KVCache: wanted at most {self.capacity} tokens, got {tokens}")
        for kept, x in zip(self._kept, (key, value)):
            kept[here] = x.detach().movedim(-2, 0)
        self.length += key.shape[-2]
        return *self._all, self._places <= here.unsqueeze(1)

    def clear(self):
        """Forget all tokens."""
        self.length.zero_()
