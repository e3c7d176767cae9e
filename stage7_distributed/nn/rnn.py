"""Sequences of several lengths in one tensor, as `torch.nn.utils.rnn`."""

import sys

from ..creation import full_like
from ..engine import cat, stack
from . import utils


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Tensors (Tᵢ, …), filled up to the longest, side by side: (T, N, …) or, with `batch_first`, (N, T, …)."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: wanted padding_side 'left' or 'right', got {padding_side!r}")
    sequences = list(sequences)
    longest = max([len(x) for x in sequences])
    padded = []
    for x in sequences:
        rest = full_like(x[:1].expand(longest - len(x), *x.shape[1:]), padding_value) if len(x) < longest else x[:0]
        padded.append(cat([x, rest] if padding_side == "right" else [rest, x]))
    return stack(padded, dim=0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The tensors that were filled up, as a list."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(n)] for row, n in zip(rows, lengths)]


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Refused: layers read padded sequences."""
    raise NotImplementedError(
        "pack_padded_sequence: packed sequences are not supported; give a layer the padded one, and read its output at "
        "each sequence's last step"
    )


def pack_sequence(sequences, enforce_sorted=True):
    """Refused: layers read padded sequences."""
    raise NotImplementedError("pack_sequence: packed sequences are not supported; pad_sequence pads them")


utils.rnn = sys.modules[__name__]  # where PyTorch has it
