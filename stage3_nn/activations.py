"""The calculus of what stands between layers: each number for itself, most of them straight on one side of 0.

`np.where` chooses between the sides rather than a product with a mask, in which 0 times infinity would be NaN.
"""

import math

import numpy as np

from .ops import sigmoid


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
    return np.clip(x, low, high), lambda g: (np.where((x > low) & (x < high), g, 0),)


def hardsigmoid(x):
    """min(max(x + 3, 0), 6)/6;  d/dx = 1/6 between −3 and 3, else 0."""
    return np.clip(x + 3, 0, 6) / 6, lambda g: (np.where((x > -3) & (x < 3), g / 6, 0),)


def hardswish(x):
    """x·min(max(x + 3, 0), 6)/6;  d/dx = 0 up to −3, x/3 + 1/2, and 1 from 3 on."""
    out = x * np.clip(x + 3, 0, 6) / 6
    return out, lambda g: (np.where(x <= -3, 0, np.where(x >= 3, g, g * (x / 3 + 0.5))),)


def elu(x, alpha, scale, stretch):
    """scale·x where x > 0, else scale·α(e^(stretch·x) − 1);  d/dx = scale, or scale·α·stretch·e^(stretch·x)."""
    below = np.minimum(x, 0) * stretch
    out = np.where(x > 0, scale * x, scale * alpha * np.expm1(below))
    return out, lambda g: (np.where(x > 0, scale * g, g * (scale * alpha * stretch * np.exp(below))),)


def silu(x):
    """x·σ(x);  d/dx = σ(x)·(1 + x·(1 − σ(x)))."""
    share = sigmoid(x)[0]
    return x * share, lambda g: (g * (share * (1 + x * (1 - share))),)


def mish(x):
    """x·t, where t = tanh(softplus(x));  d/dx = t + x·σ(x)·(1 − t²)."""
    t = np.tanh(softplus(x, 1.0, 20.0)[0])
    return x * t, lambda g: (g * (t + x * sigmoid(x)[0] * (1 - t * t)),)


def softplus(x, beta, threshold):
    """log(1 + eᵝˣ)/β, which is x where βx > threshold;  d/dx = σ(βx)."""
    scaled = x * beta
    straight = scaled > threshold
    out = np.where(straight, x, np.log1p(np.exp(np.where(straight, 0, scaled))) / beta)
    return out, lambda g: (np.where(straight, g, g * sigmoid(scaled)[0]),)


def softshrink(x, size):
    """x nearer to 0 by size, and 0 where |x| ≤ size;  d/dx = 1 or 0."""
    out = np.where(np.abs(x) <= size, 0, x - np.copysign(size, x))
    return out, lambda g: (np.where(np.abs(x) > size, g, 0),)


def hardshrink(x, size):
    """x, and 0 where |x| ≤ size;  d/dx = 1 or 0."""
    return np.where(np.abs(x) <= size, 0, x), lambda g: (np.where(np.abs(x) > size, g, 0),)


def gelu_tanh(x):
    """x·(1 + t)/2, where t = tanh(√(2/π)·(x + 0.0447·x³));  d/dx = (1 + t + x·(1 − t²)·√(2/π)·(1 + 0.134·x²))/2."""
    root, share = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(root * (x + share * x * x * x))
    return x * (1 + t) / 2, lambda g: (g * (1 + t + x * (1 - t * t) * (root * (1 + 3 * share * x * x))) / 2,)
