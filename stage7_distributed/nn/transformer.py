"""The Transformer (Vaswani et al. 2017): layers of attention and of two linear layers, each added to what it read."""

import copy
import math

from ..creation import full
from . import functional as F, init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm


class _Layer(Module):
    """The base class of layers: attention, as often as `sources` says, and then the two linear layers.

    Each part reads x and is added to it; the norm comes after that or, with `norm_first`, before the part.
    """

    sources = ("self_attn",)

    def __init__(
        self,
        d_model,
        nhead,
        dim_feedforward=2048,
        dropout=0.1,
        activation=F.relu,
        layer_norm_eps=1e-5,
        batch_first=False,
        norm_first=False,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise RuntimeError(f"activation should be relu/gelu, not {activation}")
        there = {"device": device, "dtype": dtype}
        for name in self.sources:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **there))
        self.linear1 = Linear(d_model, dim_feedforward, bias, **there)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **there)
        self.norm_first = norm_first
        parts = range(1, len(self.sources) + 2)
        for i in parts:
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, **there))
        for i in parts:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation

    def _through(self, x, *parts):
        for i, part in enumerate(parts, 1):
            norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
            x = x + dropout(part(norm(x))) if self.norm_first else norm(x + dropout(part(x)))
        return x

    def _feed_forward(self, x):
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


def _attending(module, memory, mask, padding_mask, is_causal):
    """The part of a layer that attends to memory or, without one, to what it reads."""

    def part(x):
        source = x if memory is None else memory
        return module(x, source, source, padding_mask, False, mask, is_causal=is_causal)[0]

    return part


class TransformerEncoderLayer(_Layer):
    """Attention to itself, and two linear layers: (T, N, d_model) in and out, or (N, T, d_model) with `batch_first`."""

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        attend = _attending(self.self_attn, None, src_mask, src_key_padding_mask, is_causal)
        return self._through(src, attend, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Attention to itself and to what an encoder made, and two linear layers: (T, N, d_model) in and out."""

    sources = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal=False,
        memory_is_causal=False,
    ):
        attend = _attending(self.self_attn, None, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        to_memory = _attending(self.multihead_attn, memory, memory_mask, memory_key_padding_mask, memory_is_causal)
        return self._through(tgt, attend, to_memory, self._feed_forward)


def _clones(layer, num_layers):
    return ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])


def _is_causal(mask, is_causal, layers, x):
    """Whether a mask is the causal one: as was said or, with None, as its numbers show."""
    if is_causal is not None or mask is None:
        return bool(is_causal)
    size = x.shape[1 if layers[0].self_attn.batch_first and x.ndim == 3 else 0]
    if mask.shape != (size, size):
        return False
    wanted = Transformer.generate_square_subsequent_mask(size, mask.device)
    return bool((mask == (wanted if mask.dtype.kind == "f" else wanted != 0)).all())


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after the other, and a norm. The last two arguments do nothing."""

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__()
        self.layers, self.num_layers, self.norm = _clones(encoder_layer, num_layers), num_layers, norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        is_causal = _is_causal(mask, is_causal, self.layers, src)
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after the other, and a norm."""

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__()
        self.layers, self.num_layers, self.norm = _clones(decoder_layer, num_layers), num_layers, norm

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal=None,
        memory_is_causal=False,
    ):
        masks = tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask
        tgt_is_causal = _is_causal(tgt_mask, tgt_is_causal, self.layers, tgt)
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder of one sequence, and a decoder of another that attends to it: (S, N, E), (T, N, E) -> (T, N, E)."""

    def __init__(
        self,
        d_model=512,
        nhead=8,
        num_encoder_layers=6,
        num_decoder_layers=6,
        dim_feedforward=2048,
        dropout=0.1,
        activation=F.relu,
        custom_encoder=None,
        custom_decoder=None,
        layer_norm_eps=1e-5,
        batch_first=False,
        norm_first=False,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        sizes = d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias
        there = {"device": device, "dtype": dtype}

        def norm():
            return LayerNorm(d_model, layer_norm_eps, bias=bias, **there)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*sizes, **there), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*sizes, **there), num_decoder_layers, norm()
        )
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self):
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    @staticmethod
    def generate_square_subsequent_mask(sz, device=None, dtype=None):
        """(sz, sz) of 0, and of −∞ where a key comes after the query."""
        return full((sz, sz), -math.inf, device=device, dtype=dtype).triu(1)

    def forward(
        self,
        src,
        tgt,
        src_mask=None,
        tgt_mask=None,
        memory_mask=None,
        src_key_padding_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        src_is_causal=None,
        tgt_is_causal=None,
        memory_is_causal=False,
    ):
        for name, x in (("src", src), ("tgt", tgt)):
            if x.ndim not in (2, 3) or x.shape[-1] != self.d_model:
                raise RuntimeError(f"Transformer: {name}: wanted last dims of {self.d_model}, got {tuple(x.shape)}")
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask
        return self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
