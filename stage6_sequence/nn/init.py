"""Initialization: each function fills a Tensor of shape (out, in, …) and returns it."""

import math

import numpy as np

from ..creation import empty
from ..device import moved
from ..grad_mode import no_grad

_GAINS = {"sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4, "linear": 1}
_GAINS |= {f"conv{kind}{n}d": 1 for kind in ("", "_transpose") for n in (1, 2, 3)}


def calculate_gain(nonlinearity, param=None):
    """How much larger weights are to be, so that the layer after this function sees variance 1; param is its slope."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"calculate_gain: wanted one of {', '.join(_GAINS)} and leaky_relu, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


@no_grad()
def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Uniform from a to b."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Normal around mean with the standard deviation std."""
    return tensor.normal_(mean, std, generator=generator)


@no_grad()
def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Normal, with values outside a to b drawn again. The bounds are numbers, not multiples of std."""
    if not a - 8 * std < mean < b + 8 * std:
        raise ValueError(f"trunc_normal_: next to nothing of mean {mean} and std {std} lies from {a} to {b}")
    tensor.normal_(mean, std, generator=generator)
    while (outside := (tensor._data < a) | (tensor._data > b)).any():
        tensor[outside] = tensor.new_empty(int(outside.sum())).normal_(mean, std, generator=generator)
    return tensor


@no_grad()
def constant_(tensor, val):
    """The same number everywhere."""
    return tensor.fill_(val)


def ones_(tensor):
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor):
    """0 everywhere."""
    return constant_(tensor, 0.0)


@no_grad()
def eye_(tensor):
    """The identity matrix, cut or padded with zeros to the shape."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: wanted a matrix, got {tuple(tensor.shape)}")
    return _copied(tensor, np.eye(*tensor.shape))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """Uniform with variance 2·gain²/(fan_in + fan_out), for layers before a tanh (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    """Normal with variance 2·gain²/(fan_in + fan_out), for layers before a tanh (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Uniform with variance gain²/fan, for layers before that function, a leaky ReLU of slope a (He et al. 2015)."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Normal with variance gain²/fan, for layers before that function, a leaky ReLU of slope a (He et al. 2015)."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


@no_grad()
def orthogonal_(tensor, gain=1, generator=None):
    """Rows, or columns where they are fewer, of length gain and at right angles to each other (Saxe et al. 2013)."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: wanted weights (out, in, …), got {tuple(tensor.shape)}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if not rows * columns:
        return tensor
    drawn = empty(max(rows, columns), min(rows, columns)).normal_(0, 1, generator=generator)
    q, r = np.linalg.qr(drawn.numpy())
    q = q * np.sign(np.diagonal(r))  # so that every such matrix is equally likely
    return _copied(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def _copied(tensor, array):
    tensor[...] = moved(array.astype(tensor.dtype), tensor.device)
    return tensor


def _fans(tensor):
    """fan_in, the number of inputs of each output, and fan_out, the number of outputs of each input."""
    if tensor.ndim < 2:
        raise ValueError(f"wanted weights (out, in, …), got {tuple(tensor.shape)}")
    return math.prod(tensor.shape[1:]), tensor.shape[0] * math.prod(tensor.shape[2:])


def _fan(tensor, mode):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"wanted 'fan_in' or 'fan_out', got {mode!r}")
    return _fans(tensor)[mode == "fan_out"]
