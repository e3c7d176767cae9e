"""The rules of activation functions: elementwise, and most of them piecewise.

`np.where` selects the pieces; in a product with a mask, 0 times infinity would be NaN.
"""

import math

import numpy as np

from .device import elementwise
from .ops import expit

_ROOT, _CUBE = math.sqrt(2 / math.pi), 0.044715  # of gelu_tanh


def leaky_relu(x, slope):
    """x where x > 0, else slope·x;  d/dx = 1 or slope."""
    return np.where(x > 0, x, slope * x), lambda g: (np.where(x > 0, g, slope * g),)


def prelu(x, weight):
    """x where x > 0, else weight·x;  d/dx = 1 or weight,  d/dweight = 0 or x."""
    return np.where(x > 0, x, weight * x), lambda g: (
        lambda: np.where(x > 0, g, weight * g),
        lambda: np.where(x > 0, 0, g * x),
    )


def threshold(x, least, value):
    """x where x > least, else value;  d/dx = 1 or 0."""
    return np.where(x <= least, value, x).astype(x.dtype), lambda g: (np.where(x <= least, 0, g),)


def hardtanh(x, low, high):
    """min(max(x, low), high);  d/dx = 1 between the two, else 0."""
    out = np.clip(x, low, high).astype(x.dtype, copy=False)
    return out, lambda g: (np.where((x > low) & (x < high), g, 0),)


def hardsigmoid(x):
    """min(max(x + 3, 0), 6)/6;  d/dx = 1/6 between −3 and 3, else 0."""
    return np.clip(x + 3, 0, 6) / 6, lambda g: (np.where((x > -3) & (x < 3), g / 6, 0),)


def hardswish(x):
    """x·min(max(x + 3, 0), 6)/6;  d/dx = 0 up to −3, x/3 + 1/2, and 1 from 3 on."""
    out = x * np.clip(x + 3, 0, 6) / 6
    return out, lambda g: (np.where(x <= -3, 0, np.where(x >= 3, g, g * (x / 3 + 0.5))),)


def elu(x, alpha, scale, stretch):
    """scale·x where x > 0, else scale·α(e^(stretch·x) − 1);  d/dx = scale, or scale·α·stretch·e^(stretch·x)."""
    return elu_values(x, alpha, scale, stretch), lambda g: (elu_gradient(g, x, alpha, scale, stretch),)


@elementwise
def elu_values(x, alpha, scale, stretch):
    """scale·x where x > 0, else scale·α(e^(stretch·x) − 1)."""
    return np.where(x > 0, scale * x, scale * alpha * np.expm1(np.minimum(x, 0) * stretch))


@elementwise
def elu_gradient(g, x, alpha, scale, stretch):
    """g·scale where x > 0, else g·scale·α·stretch·e^(stretch·x)."""
    return np.where(x > 0, scale * g, g * (scale * alpha * stretch * np.exp(np.minimum(x, 0) * stretch)))


def silu(x):
    """x·σ(x);  d/dx = σ(x)·(1 + x·(1 − σ(x)))."""
    return silu_values(x), lambda g: (silu_gradient(g, x),)


@elementwise
def silu_values(x):
    """x·σ(x)."""
    return x * expit(x)


@elementwise
def silu_gradient(g, x):
    """g·σ(x)·(1 + x·(1 − σ(x)))."""
    out = expit(x)
    return g * (out * (1 + x * (1 - out)))


def mish(x):
    """x·t, where t = tanh(softplus(x));  d/dx = t + x·σ(x)·(1 − t²)."""
    return mish_values(x), lambda g: (mish_gradient(g, x),)


@elementwise
def mish_values(x):
    """x·tanh(softplus(x))."""
    return x * np.tanh(softplus_values(x, 1.0, 20.0))


@elementwise
def mish_gradient(g, x):
    """g·(t + x·σ(x)·(1 − t²)), where t = tanh(softplus(x))."""
    t = np.tanh(softplus_values(x, 1.0, 20.0))
    return g * (t + x * expit(x) * (1 - t * t))


def softplus(x, beta, threshold):
    """log(1 + eᵝˣ)/β, which is x where βx > threshold;  d/dx = σ(βx)."""
    return softplus_values(x, beta, threshold), lambda g: (softplus_gradient(g, x, beta, threshold),)


@elementwise
def softplus_values(x, beta, threshold):
    """log(1 + eᵝˣ)/β, or x where βx > threshold."""
    log = np.maximum(x * beta, 0) + np.log1p(np.exp(-np.abs(x * beta)))  # so that no exponential overflows
    return np.where(x * beta > threshold, x, log / beta)


@elementwise
def softplus_gradient(g, x, beta, threshold):
    """g·σ(βx), or g where βx > threshold."""
    return np.where(x * beta > threshold, g, g * expit(x * beta))


def softshrink(x, size):
    """x − size where x > size, x + size where x < −size, else 0;  d/dx = 1 or 0."""
    out = np.where(np.abs(x) <= size, 0, x - np.copysign(size, x))
    return out, lambda g: (np.where(np.abs(x) > size, g, 0),)


def hardshrink(x, size):
    """x, and 0 where |x| ≤ size;  d/dx = 1 or 0."""
    return np.where(np.abs(x) <= size, 0, x), lambda g: (np.where(np.abs(x) > size, g, 0),)


def gelu_tanh(x):
    """x·(1 + t)/2, where t = tanh(√(2/π)·(x + 0.0447·x³));  d/dx = (1 + t + x·(1 − t²)·√(2/π)·(1 + 0.134·x²))/2."""
    return gelu_tanh_values(x), lambda g: (gelu_tanh_gradient(g, x),)


@elementwise
def gelu_tanh_values(x):
    """x·(1 + t)/2, where t = tanh(√(2/π)·(x + 0.0447·x³))."""
    return x * (1 + np.tanh(_ROOT * (x + _CUBE * x * x * x))) / 2


@elementwise
def gelu_tanh_gradient(g, x):
    """g·(1 + t + x·(1 − t²)·√(2/π)·(1 + 0.134·x²))/2."""
    t = np.tanh(_ROOT * (x + _CUBE * x * x * x))
    return g * (1 + t + x * (1 - t * t) * (_ROOT * (1 + 3 * _CUBE * x * x))) / 2
