"""The cases of recurrent layers, of attention and of what is made of it, next to those of cases.py."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .case import Case, ModuleCase

inf = math.inf


@dataclass(frozen=True, eq=False)
class SequenceCase(ModuleCase):
    """A module that is called by `call`, with what else it takes cut from its input, and all that it gives."""

    call: Callable = lambda F, module, x: module(x)

    def forward(self, engine, module, array):
        x = engine.tensor(array)
        return together(engine.F, self.call(engine.F, module, x)), x


def parts(out):
    """The tensors of an output, which may be a tensor, a tuple of them, or None."""
    return [part for each in out for part in parts(each)] if isinstance(out, tuple) else [] if out is None else [out]


def together(F, out):
    """All numbers of an output, in one dim."""
    return F.cat([part.reshape(-1) for part in parts(out)])


# Recurrent layers


def with_first(F, layer, x):
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


def stepped(F, cell, x):
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


def mask_of(shape, kind):
    """A mask in which each query may attend to a key at least: of booleans or of numbers, of which some are −∞."""
    rng = np.random.default_rng(3)
    seen = rng.integers(0, 2, shape) > 0
    seen[..., 0] = True
    return seen if kind == "bool" else np.where(seen, rng.standard_normal(shape), -inf)


SHAPES = {
    "": [(2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)],
    "of one sequence": [(5, 4), (6, 4), (6, 4)],
    "of values of another size": [(2, 5, 4), (2, 6, 4), (2, 6, 7)],
    "of equal sizes": [(4, 4, 4, 4)] * 3,
    "of one token": [(2, 3, 1, 4), (2, 3, 6, 4), (2, 3, 6, 4)],
    "of keys for several": [(2, 3, 5, 4), (1, 3, 6, 4), (1, 3, 6, 4)],
    "of many tokens": [(2, 300, 4), (2, 260, 4), (2, 260, 4)],
    "of more keys than a tile": [(1, 3, 4), (1, 130, 4), (1, 130, 4)],
}


def attention():
    for words, shapes in SHAPES.items():
        yield Case(
            f"scaled_dot_product_attention {words}",
            lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v),
            shapes=shapes,
        )
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
    yield Case(
        "scaled_dot_product_attention mask that requires grad",
        lambda F, q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask),
        shapes=[*SHAPES[""], (5, 6)],
    )


GROUPS = {
    "recurrent layers": [*layers(), *cells()],
    "attention": [*attention()],
}
