"""The rules: each computes its output and a function that computes the gradients of its inputs.

A rule takes plain numbers and returns `out, backward`. `backward(g)` takes g, the gradient of the loss with respect to
out, and returns the gradients with respect to the inputs, in their order. It has no side effects and uses no graph.
A costly gradient is returned as a function of no arguments, which the engine calls only if the gradient is needed.
"""

from math import exp as _exp, fabs as _abs, log as _log, pow as _pow, tanh as _tanh
from operator import mul as _times

_maximum, _minimum = max, min


def add(x, y):
    """x + y;  d/dx = 1,  d/dy = 1."""
    return x + y, lambda g: (g, g)


def sub(x, y):
    """x − y;  d/dx = 1,  d/dy = −1."""
    return x - y, lambda g: (g, -g)


def mul(x, y):
    """x·y;  d/dx = y,  d/dy = x."""
    return x * y, lambda g: (g * y, g * x)


def div(x, y):
    """x/y;  d/dx = 1/y,  d/dy = −x/y²."""
    out = x / y
    return out, lambda g: (g / y, -g * out / y)


def pow(x, y):
    """xʸ;  d/dx = y·xʸ⁻¹, and 0 where y = 0;  d/dy = xʸ·log x, and 0 where x = 0 ≤ y."""
    out = _pow(x, y)
    return out, lambda g: (
        lambda: _where(y != 0, g * y * _pow(x, y - (y != 0))),
        lambda: g * out * _log(x + ((x == 0) & (y >= 0))),
    )


def _where(condition, g):
    """g where the condition holds, else 0; infinity times 0 would be NaN."""
    return g if condition else 0.0


def neg(x):
    """−x;  d/dx = −1."""
    return -x, lambda g: (-g,)


def exp(x):
    """eˣ;  d/dx = eˣ."""
    out = _exp(x)
    return out, lambda g: (g * out,)


def log(x):
    """log x, the natural logarithm;  d/dx = 1/x."""
    return _log(x), lambda g: (g / x,)


def tanh(x):
    """tanh x;  d/dx = 1 − tanh² x."""
    out = _tanh(x)
    return out, lambda g: (g * (1 - out * out),)


def sigmoid(x):
    """σ(x) = 1/(1 + e⁻ˣ), computed so that no exponential overflows;  d/dx = σ(x)·(1 − σ(x))."""
    out = _exp(_minimum(x, 0)) / (1 + _exp(-_abs(x)))
    return out, lambda g: (g * out * (1 - out),)


def relu(x):
    """max(x, 0);  d/dx = 1 where the output is not 0, else 0."""
    out = _maximum(x, 0.0)
    return out, lambda g: (_where(out != 0, g),)


def dot(x, y):
    """Σ xᵢyᵢ of two lists;  d/dxᵢ = yᵢ,  d/dyᵢ = xᵢ."""
    return sum(map(_times, x, y)), lambda g: [g * other for other in (*y, *x)]
