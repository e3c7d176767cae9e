"""The steps of optimizers. For an array that a step doesn't use, the parameters are passed, and not read."""

import math
from functools import cache

import numpy as np

from .layout import check_shapes, contiguous
from .threads import parallel, thread_count

__all__ = ["adadelta", "adagrad", "adam", "rmsprop", "sgd"]
THRESHOLDS = {"sgd": 1024}


@parallel
def _sgd(t, threads, p, g, buffer, lr, momentum, new, weight_decay, nesterov, floor):
    first, last, real = t * p.size // threads, (t + 1) * p.size // threads, p.dtype.type
    p, g, buffer = p[first:last], g[first:last], buffer[first:last]
    lr, momentum, new, weight_decay = real(lr), real(momentum), real(new), real(weight_decay)
    if momentum == 0:
        for i in range(p.size):
            step = g[i] + weight_decay * p[i] if weight_decay != 0 else g[i]
            p[i] -= lr * step
    else:
        for i in range(p.size):
            step = g[i] + weight_decay * p[i] if weight_decay != 0 else g[i]
            b = momentum * buffer[i] + new * step
            buffer[i] = b if abs(b) > floor else b * 0
            p[i] -= lr * (step + momentum * b if nesterov else b)


@parallel
def _adam(t, threads, p, g, m, v, top, beta1, beta2, rate, scale, eps, decay, shrink, amsgrad, floor):
    first, last, real = t * p.size // threads, (t + 1) * p.size // threads, p.dtype.type
    p, g, m, v, top = p[first:last], g[first:last], m[first:last], v[first:last], top[first:last]
    to_m, keep, to_v, rate, scale = real(1 - beta1), real(beta2), real(1 - beta2), real(rate), real(scale)
    eps, decay, shrink = real(eps), real(decay), real(shrink)
    for i in range(p.size):
        step = g[i] + decay * p[i] if decay != 0 else g[i]
        a = m[i] + to_m * (step - m[i])
        b = keep * v[i] + to_v * (step * step)
        m[i] = a if abs(a) > floor else a * 0
        v[i] = b if b > floor else b * 0
        if amsgrad:
            b = b if not b <= top[i] and top[i] == top[i] else top[i]  # NaN stays
            top[i] = b
        p[i] = p[i] * shrink - rate * a / (np.sqrt(b) * scale + eps)


@parallel
def _rmsprop(t, threads, p, g, v, m, buffer, lr, alpha, eps, momentum, centered, floor):
    first, last, real = t * p.size // threads, (t + 1) * p.size // threads, p.dtype.type
    p, g, v, m, buffer = p[first:last], g[first:last], v[first:last], m[first:last], buffer[first:last]
    lr, keep, new, eps, momentum = real(lr), real(alpha), real(1 - alpha), real(eps), real(momentum)
    for i in range(p.size):
        step = g[i]
        b = keep * v[i] + new * (step * step)
        v[i] = b if b > floor else b * 0
        if centered:
            a = m[i] + new * (step - m[i])
            m[i] = a if b > floor and abs(a) > floor else a * 0  # its square is never larger than v
            b -= a * a
        step /= np.sqrt(b) + eps
        if momentum != 0:
            step += momentum * buffer[i]
            buffer[i] = step if abs(step) > floor else step * 0
        p[i] -= lr * step


@parallel
def _adagrad(t, threads, p, g, s, rate, eps, weight_decay, floor):
    first, last, real = t * p.size // threads, (t + 1) * p.size // threads, p.dtype.type
    p, g, s = p[first:last], g[first:last], s[first:last]
    rate, eps, weight_decay = real(rate), real(eps), real(weight_decay)
    for i in range(p.size):
        step = g[i] + weight_decay * p[i] if weight_decay != 0 else g[i]
        s[i] += step * step
        p[i] -= rate * step / (np.sqrt(s[i]) + eps)


@parallel
def _adadelta(t, threads, p, g, v, u, lr, rho, eps, weight_decay, floor):
    first, last, real = t * p.size // threads, (t + 1) * p.size // threads, p.dtype.type
    p, g, v, u = p[first:last], g[first:last], v[first:last], u[first:last]
    lr, keep, new, eps, weight_decay = real(lr), real(rho), real(1 - rho), real(eps), real(weight_decay)
    for i in range(p.size):
        step = g[i] + weight_decay * p[i] if weight_decay != 0 else g[i]
        b = keep * v[i] + new * (step * step)
        v[i] = b if b > floor else b * 0
        d = np.sqrt(u[i] + eps) / np.sqrt(b + eps) * step
        b = keep * u[i] + new * (d * d)
        u[i] = b if b > floor else b * 0
        p[i] -= lr * d


@cache
def _floor(dtype):
    """Numbers below this are flushed to 0: they would soon become denormal, which is slow, and change no result."""
    return dtype.type(np.finfo(dtype).tiny / np.finfo(dtype).eps)


def _step(kernel, p, g, state, numbers, *flags):
    """Run a kernel, which changes p and the arrays of its state in place; those that are None aren't used."""
    arrays = [p, contiguous(g), *[p if x is None else x for x in state]]
    check_shapes(all([x.shape == p.shape for x in arrays]), *arrays)
    if not all([x.flags.carray for x in arrays]):
        return NotImplemented
    arrays = [x.ravel() for x in arrays]
    kernel(thread_count(p.size), *arrays, *map(float, numbers), *flags, _floor(p.dtype))


def sgd(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov):
    return _step(_sgd, p, g, [buffer], (lr, momentum, 1 - dampening, weight_decay), nesterov)


def adam(p, g, m, v, top, t, lr, betas, eps, weight_decay, decoupled):
    rate, scale = lr / (1 - betas[0] ** t), 1 / math.sqrt(1 - betas[1] ** t)
    decay, shrink = (0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1)
    return _step(_adam, p, g, [m, v, top], (*betas, rate, scale, eps, decay, shrink), top is not None)


def rmsprop(p, g, v, m, buffer, lr, alpha, eps, weight_decay, momentum):
    g = g + p.dtype.type(weight_decay) * p if weight_decay else g  # in the kernel it would prevent vectorization
    return _step(_rmsprop, p, g, [v, m, buffer], (lr, alpha, eps, momentum), m is not None)


def adagrad(p, g, s, t, lr, lr_decay, eps, weight_decay):
    return _step(_adagrad, p, g, [s], (lr / (1 + (t - 1) * lr_decay), eps, weight_decay))


def adadelta(p, g, v, u, lr, rho, eps, weight_decay):
    return _step(_adadelta, p, g, [v, u], (lr, rho, eps, weight_decay))
