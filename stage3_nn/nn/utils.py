"""Functions of all parameters or all gradients of a network."""

import math
from functools import reduce

import numpy as np

from ..engine import Tensor, cat, constant
from ..grad_mode import no_grad
from ..inplace import changed, memory


def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The norm of all Tensors as if they were one vector: (Σ|x|ᵖ)^(1/p) or, for p = ±∞, the largest or least |x|."""
    tensors = [tensors] if isinstance(tensors, Tensor) else tensors
    return _total_norm([x._data for x in tensors], float(norm_type), error_if_nonfinite)


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scale all gradients so that their total norm is at most max_norm; returns the norm before."""
    gradients = _gradients(parameters)
    norm = _total_norm(gradients, float(norm_type), error_if_nonfinite)
    _scale(gradients, max_norm, norm)
    return norm


def clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """Scale all gradients by max_norm/total_norm, if that is below 1."""
    _scale(_gradients(parameters), max_norm, total_norm)


def clip_grad_value_(parameters, clip_value, foreach=None):
    """Clamp every gradient to between −clip_value and clip_value."""
    for g in _gradients(parameters):
        np.clip(g, -clip_value, clip_value, out=g)
        changed(g)


def parameters_to_vector(parameters):
    """All parameters, in order, as one vector."""
    return cat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vec, parameters):
    """Copy the numbers of one vector into the parameters, in order."""
    begin = 0
    for p in parameters:
        end = begin + math.prod(p.shape)
        p[...] = vec[begin:end].reshape(p.shape)
        begin = end


def _gradients(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [memory(p, "_grad") for p in parameters if p._grad is not None]


@np.errstate(all="ignore")
def _total_norm(arrays, p, error_if_nonfinite):
    sizes = [np.abs(x.astype(np.float64)) for x in arrays if x.size]
    if not sizes:
        return constant(np.zeros((), np.float32))
    if math.isinf(p):
        extreme = np.maximum if p > 0 else np.minimum
        norm = reduce(extreme, [extreme.reduce(x, axis=None) for x in sizes])
    else:
        norm = sum([(x**p).sum() for x in sizes]) ** (1 / p)
    if error_if_nonfinite and not np.isfinite(norm):
        raise RuntimeError(f"the total norm of order {p} of the gradients is {norm}, so they can't be clipped")
    return constant(norm.astype(arrays[0].dtype))


@np.errstate(all="ignore")
def _scale(gradients, max_norm, norm):
    scale = np.minimum(max_norm / (norm._data + 1e-6), 1)
    for g in gradients:
        g *= scale.astype(g.dtype)
        changed(g)
