"""The cases of recurrent layers, of attention and of what is made of it, next to those of cases.py."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .case import Case, ModuleCase

inf = math.inf


@dataclass(frozen=True, eq=False)
class SequenceCase(ModuleCase):
    """A module that is called by `call`, with what else it takes cut from its input, and all that it gives."""

    call: Callable = lambda engine, module, x: module(x)

    def forward(self, engine, module, array):
        x = engine.tensor(array)
        return together(engine.F, self.call(engine, module, x)), x


def parts(out):
    """The tensors of an output, which may be a tensor, a tuple of them, or None."""
    return [part for each in out for part in parts(each)] if isinstance(out, tuple) else [] if out is None else [out]


def together(F, out):
    """All numbers of an output, in one dim."""
    return F.cat([part.reshape(-1) for part in parts(out)])


# Recurrent layers


def with_first(engine, layer, x):
    """A layer and what is kept before its first step, cut from x."""
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    n, h = x.shape[0 if layer.batch_first else 1], layer.hidden_size
    first = [x.reshape(-1)[k * rows * h : (k + 1) * rows * h].reshape(rows, 1, h).expand(rows, n, h) for k in (0, 1)]
    return layer(x, tuple(first) if layer.mode == "LSTM" else first[0])


LAYERS = {
    "": {},
    "of two layers": {"num_layers": 2},
    "both ways": {"bidirectional": True},
    "of two layers both ways": {"num_layers": 2, "bidirectional": True},
    "without biases": {"bias": False},
    "with the batch first": {"batch_first": True},
    "of every option": {"num_layers": 2, "bias": False, "batch_first": True, "bidirectional": True},
}
KINDS = {"RNN": {}, "RNN of relu": {"nonlinearity": "relu"}, "LSTM": {}, "GRU": {}}


def layers():
    for kind, own in KINDS.items():
        name = kind.split()[0]
        for words, options in LAYERS.items():
            body = lambda nn, name=name, options=own | options: getattr(nn, name)(3, 4, **options)  # noqa: E731
            for shape in [(5, 2, 3)] if words else [(5, 2, 3), (1, 1, 3), (5, 3)]:
                yield SequenceCase(f"{kind} {words} {shape}", body, shapes=[shape])
            yield SequenceCase(f"{kind} {words} from a first state", body, shapes=[(5, 6, 3)], call=with_first)
        square = lambda nn, name=name, own=own: getattr(nn, name)(4, 4, 1, **own)  # noqa: E731
        yield SequenceCase(f"{kind} of equal sizes", square, shapes=[(4, 4, 4)])
        long = lambda nn, name=name, own=own: getattr(nn, name)(2, 3, 1, **own)  # noqa: E731
        yield SequenceCase(f"{kind} of many steps", long, shapes=[(40, 2, 2)])


def stepped(engine, cell, x):
    """A cell run over x, each step from what the one before has kept; all that was kept."""
    kept, out = None, []
    for row in (x[t] for t in range(x.shape[0])):
        kept = cell(row, kept)
        out.append(kept)
    return tuple(out)


def cells():
    for kind, own in (("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}), ("GRUCell", {})):
        for bias in (True, False):
            options = {**own, "bias": bias}
            body = lambda nn, kind=kind, options=options: getattr(nn, kind)(3, 4, **options)  # noqa: E731
            for shape in [(4, 2, 3), (4, 3), (1, 1, 3)]:
                yield SequenceCase(f"{kind} {options} {shape}", body, shapes=[shape], call=stepped)


# Attention


def seen(shape):
    """Random booleans: each query may attend to the first key, and to half of the others."""
    out = np.random.default_rng(3).integers(0, 2, shape) > 0
    out[..., 0] = True
    return out


def added(shape):
    """Random numbers to be added to scores, half of them −∞."""
    return np.where(seen(shape), np.random.default_rng(4).standard_normal(shape), -inf)


SHAPES = {
    "": [(2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)],
    "of one sequence": [(5, 4), (6, 4), (6, 4)],
    "of values of another size": [(2, 5, 4), (2, 6, 4), (2, 6, 7)],
    "of equal sizes": [(4, 4, 4, 4)] * 3,
    "of one token": [(2, 3, 1, 4), (2, 3, 6, 4), (2, 3, 6, 4)],
    "of keys for several": [(2, 3, 5, 4), (1, 3, 6, 4), (1, 3, 6, 4)],
    "of many tokens": [(2, 300, 4), (2, 260, 4), (2, 260, 4)],
    "of more keys than a tile": [(1, 3, 4), (1, 130, 4), (1, 130, 4)],
    "of keys without numbers": [(2, 3, 0), (2, 4, 0), (2, 4, 5)],
}


def attention():
    for words, shapes in SHAPES.items():
        yield Case(
            f"scaled_dot_product_attention {words}",
            lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v),
            shapes=shapes,
        )
        if words == "of one token":
            continue  # it has one key then, and gradients that are 0 but for rounding
        yield Case(
            f"scaled_dot_product_attention, causal, {words}",
            lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            shapes=shapes,
        )
    yield Case(
        "scaled_dot_product_attention scale",
        lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3),
        shapes=SHAPES[""],
    )
    yield Case(
        "scaled_dot_product_attention with heads for several queries",
        lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        shapes=[(2, 6, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4)],
    )
    numbers = [np.random.default_rng(5).standard_normal(shape) for shape in SHAPES[""]]
    nowhere = seen((5, 6))
    nowhere[2] = False
    for words, mask in {
        "of booleans": seen((5, 6)),
        "of numbers": added((5, 6)),
        "for each sequence": seen((2, 1, 1, 6)),
        "for each head": added((2, 3, 5, 6)),
        "that leaves a query nothing": nowhere,
    }.items():
        yield Case(
            f"scaled_dot_product_attention, a mask {words}",
            lambda F, q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask),
            values=[*numbers, mask],
            constant=[3],
        )
    yield Case(
        "scaled_dot_product_attention, a mask that requires grad",
        lambda F, q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask),
        shapes=[*SHAPES[""], (5, 6)],
    )
    for words, options in ATTENDING.items():
        body = lambda nn, options=options: nn.MultiheadAttention(6, 3, **options)  # noqa: E731
        yield SequenceCase(f"MultiheadAttention {words}", body, shapes=[(5, 2, 6)], call=to_itself())
        yield SequenceCase(f"MultiheadAttention {words} to others", body, shapes=[(5, 2, 6)], call=to_others)
        fast = to_itself(need_weights=False)
        yield SequenceCase(f"MultiheadAttention {words} without weights", body, shapes=[(5, 2, 6)], call=fast)
    for words, options in MASKED.items():
        for dtype in (bool, float):
            body = lambda nn: nn.MultiheadAttention(4, 2)  # noqa: E731
            name = f"MultiheadAttention, {dtype.__name__}, {words}"
            yield SequenceCase(name, body, shapes=[(5, 3, 4)], call=to_itself(dtype, **options))
            body = lambda nn: nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True)  # noqa: E731
            yield SequenceCase(f"{name}, more keys", body, shapes=[(5, 3, 4)], call=to_itself(dtype, **options))
    yield SequenceCase(
        "MultiheadAttention of one sequence", lambda nn: nn.MultiheadAttention(4, 2), shapes=[(5, 4)], call=to_itself()
    )
    yield SequenceCase(
        "MultiheadAttention of no queries",
        lambda nn: nn.MultiheadAttention(4, 2),
        shapes=[(3, 2, 4)],
        call=lambda engine, module, x: module(x[:0], x, x),
    )
    sizes = {"kdim": 3, "vdim": 2}
    yield SequenceCase(
        "MultiheadAttention of other sizes",
        lambda nn: nn.MultiheadAttention(4, 2, **sizes),
        shapes=[(5, 2, 4)],
        call=lambda e, m, x: m(x, x[:3, :, 1:], x[:3, :, 2:]),
    )
    for shape, eps in [((4,), None), ((3, 4), 0.1)]:
        yield ModuleCase(f"RMSNorm {shape}", lambda nn, s=shape, e=eps: nn.RMSNorm(s, e), shapes=[(2, 3, 4)])
    plain = lambda nn: nn.RMSNorm(4, elementwise_affine=False)  # noqa: E731
    yield ModuleCase("RMSNorm without a weight", plain, shapes=[(2, 4)])
    yield Case("rms_norm", lambda F, x, w: F.rms_norm(x, (4,), w, 1e-3), shapes=[(2, 3, 4), (4,)])


ATTENDING = {
    "": {},
    "without biases": {"bias": False},
    "with more keys": {"add_bias_kv": True, "add_zero_attn": True},
    "with a key of zeros": {"add_zero_attn": True},
}
MASKED = {  # the shapes of masks, of 5 tokens, 3 sequences and 2 heads
    "with padding": {"key_padding_mask": (3, 5)},
    "with a mask": {"attn_mask": (5, 5)},
    "with masks of all heads": {"attn_mask": (6, 5, 5), "average_attn_weights": False},
    "with both": {"attn_mask": (5, 5), "key_padding_mask": (3, 5)},
    "with both, without weights": {"attn_mask": (5, 5), "key_padding_mask": (3, 5), "need_weights": False},
    "with padding, without weights": {"key_padding_mask": (3, 5), "need_weights": False},
}


def to_itself(dtype=bool, **options):
    """Attention of a sequence to itself, with masks where the options have their shapes."""

    def call(engine, module, x):
        arrays = {name: shape for name, shape in options.items() if isinstance(shape, tuple)}
        return module(x, x, x, **{**options, **{name: mask(engine, x, dtype, arrays[name]) for name in arrays}})

    return call


def mask(engine, x, dtype, shape):
    """A mask for a module: True is what is left out, and numbers are added."""
    array = added(shape).astype(str(x.dtype).removeprefix("torch.")) if dtype is float else ~seen(shape)
    return engine.F.as_tensor(engine.constant(array))


def to_others(engine, module, x):
    return module(x[:2], x[1:], x[1:] * 2)


# Transformers

LAYER = {
    "": {},
    "with norms first": {"norm_first": True},
    "with GELU": {"activation": "gelu"},
    "without biases, with the batch first": {"bias": False, "batch_first": True},
    "of another eps": {"layer_norm_eps": 0.1},
}


def quietly(body):
    """The body, in which PyTorch doesn't say that it could be faster."""

    def build(nn):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return body(nn)

    return build


def causal(engine, x, n):
    return mask_of(engine, x, np.triu(np.full((n, n), -inf), 1))


def mask_of(engine, x, array):
    return engine.F.as_tensor(engine.constant(array.astype(str(x.dtype).removeprefix("torch."))))


def transformers():
    for words, own in LAYER.items():
        options = {"dim_feedforward": 7, "dropout": 0.0, **own}
        layer = lambda nn, o=options: nn.TransformerEncoderLayer(4, 2, **o)  # noqa: E731
        yield SequenceCase(f"TransformerEncoderLayer {words}", layer, shapes=[(5, 2, 4)])
        layer = lambda nn, o=options: nn.TransformerDecoderLayer(4, 2, **o)  # noqa: E731
        yield SequenceCase(
            f"TransformerDecoderLayer {words}", layer, shapes=[(5, 5, 4)], call=lambda e, m, x: m(x, x * 2)
        )
        both = lambda nn, o=options: nn.Transformer(4, 2, 2, 1, **o)  # noqa: E731
        yield SequenceCase(f"Transformer {words}", quietly(both), shapes=[(5, 5, 4)], call=lambda e, m, x: m(x, x * 2))
    small = {"dim_feedforward": 7, "dropout": 0.0}

    def encoder(nn):
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, **small), 2, nn.LayerNorm(4))

    def decoder(nn):
        return nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, **small), 2)

    calls = {
        "": lambda e, m, x: m(x),
        "with a causal mask": lambda e, m, x: m(x, causal(e, x, 5)),
        "that is said to be causal": lambda e, m, x: m(x, causal(e, x, 5), is_causal=True),
        "with another mask": lambda e, m, x: m(x, mask(e, x, float, (5, 5))),
        "with padding": lambda e, m, x: m(x, None, mask(e, x, bool, (2, 5))),
        "with both": lambda e, m, x: m(x, causal(e, x, 5), mask(e, x, float, (2, 5))),
    }
    for words, call in calls.items():
        yield SequenceCase(
            f"TransformerEncoder {words}", quietly(encoder), shapes=[(5, 2, 4)], call=call, modes=("train",)
        )
    calls = {
        "": lambda e, m, x: m(x, x[1:] * 2),
        "with a causal mask": lambda e, m, x: m(x, x[1:] * 2, causal(e, x, 5)),
        "with both": lambda e, m, x: m(x, x * 2, causal(e, x, 5), mask(e, x, float, (5, 5))),
        "with padding": lambda e, m, x: m(x, x * 2, None, None, mask(e, x, bool, (2, 5)), mask(e, x, bool, (2, 5))),
    }
    for words, call in calls.items():
        yield SequenceCase(f"TransformerDecoder {words}", decoder, shapes=[(5, 2, 4)], call=call, modes=("train",))
    yield SequenceCase("TransformerEncoder of one sequence", quietly(encoder), shapes=[(5, 4)])


GROUPS = {
    "recurrent layers": [*[replace(case, float32="two layers" not in case.name) for case in layers()], *cells()],
    "attention": [*attention()],
    "transformers": [replace(case, float32=False) for case in transformers()],
}
