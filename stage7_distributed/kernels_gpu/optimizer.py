"""The steps of optimizers. For an array that a step doesn't use, the gradient is passed, and not read."""

# ruff: noqa: F821 - a name in capitals, or `real`, is one that `specialized` adds

import math

import numpy as np
from numba import cuda

from ..kernels_cpu.layout import check_shapes
from .launch import ITEMS, THREADS, contiguous, device, grid_size, same_dtype, specialized

__all__ = ["adadelta", "adagrad", "adam", "rmsprop", "sgd"]


def _sgd(p, g, buffer, lr, momentum, dampening, weight_decay, n):
    """A step of SGD.

    Grid: a thread for each number. Shared memory: none. Bytes: g is read, p and the buffer are read and written once.
    """
    i = cuda.grid(1)
    if i < n:
        old = p[i]
        step = g[i] + real(weight_decay) * old if weight_decay != 0 else g[i]
        if MOMENTUM:
            b = real(momentum) * buffer[i] + real(1.0 - dampening) * step
            buffer[i] = b
            step = step + real(momentum) * b if NESTEROV else b
        p[i] = old - real(RATE(lr)) * step


def _adam(p, g, m, v, top, t, lr, beta1, beta2, eps, weight_decay, n):
    """A step of Adam or, DECOUPLED, AdamW.

    Grid: a block for 1024 numbers. A thread: 4 of them, 256 apart. Shared memory: what depends on t alone, which one
    thread computes for its block. Bytes: g is read, p, m, v and top are read and written once, the minimum.
    """
    shared = cuda.shared.array(2, np.float64)
    if cuda.threadIdx.x == 0:
        shared[0] = RATE(lr) / (1.0 - math.pow(beta1, np.float64(COUNT(t))))
        shared[1] = 1.0 / math.sqrt(1.0 - math.pow(beta2, np.float64(COUNT(t))))
    cuda.syncthreads()
    rate, scale = real(shared[0]), real(shared[1])
    keep = real(1.0 - RATE(lr) * weight_decay) if DECOUPLED else real(1)
    decay = real(0) if DECOUPLED else real(weight_decay)
    first = np.int64(cuda.blockIdx.x) * (ITEMS * THREADS) + cuda.threadIdx.x
    for k in range(ITEMS):
        i = first + k * THREADS
        if i < n:
            old = p[i]
            step = g[i] + decay * old if decay != 0 else g[i]
            a = m[i] + real(1.0 - beta1) * (step - m[i])
            b = real(beta2) * v[i] + real(1.0 - beta2) * (step * step)
            m[i], v[i] = a, b
            if AMSGRAD:
                b = b if not b <= top[i] and top[i] == top[i] else top[i]  # NaN stays
                top[i] = b
            p[i] = old * keep - rate * a / (math.sqrt(b) * scale + real(eps))


def _rmsprop(p, g, v, m, buffer, lr, alpha, eps, weight_decay, momentum, n):
    """A step of RMSprop.

    Grid: a thread for each number. Shared memory: none. Bytes: g is read, p, v, m and the buffer are read and written
    once, the minimum.
    """
    i = cuda.grid(1)
    if i < n:
        old = p[i]
        step = g[i] + real(weight_decay) * old if weight_decay != 0 else g[i]
        b = real(alpha) * v[i] + real(1.0 - alpha) * (step * step)
        v[i] = b
        if CENTERED:
            a = m[i] + real(1.0 - alpha) * (step - m[i])
            m[i] = a
            b -= a * a
        root = math.sqrt(b) if b >= 0 else real(math.nan)  # in the simulator a negative number's root is an error
        step /= root + real(eps)
        if MOMENTUM:
            step += real(momentum) * buffer[i]
            buffer[i] = step
        p[i] = old - real(RATE(lr)) * step


def _adagrad(p, g, s, t, lr, lr_decay, eps, weight_decay, n):
    """A step of Adagrad.

    Grid: a thread for each number. Shared memory: none. Bytes: g is read, p and s are read and written once.
    """
    i = cuda.grid(1)
    if i < n:
        old = p[i]
        step = g[i] + real(weight_decay) * old if weight_decay != 0 else g[i]
        b = s[i] + step * step
        s[i] = b
        rate = RATE(lr) / (1.0 + (np.float64(COUNT(t)) - 1.0) * lr_decay)
        p[i] = old - real(rate) * step / (math.sqrt(b) + real(eps))


def _adadelta(p, g, v, u, lr, rho, eps, weight_decay, n):
    """A step of Adadelta.

    Grid: a thread for each number. Shared memory: none. Bytes: g is read, p, v and u are read and written once.
    """
    i = cuda.grid(1)
    if i < n:
        old = p[i]
        step = g[i] + real(weight_decay) * old if weight_decay != 0 else g[i]
        b = real(rho) * v[i] + real(1.0 - rho) * (step * step)
        v[i] = b
        d = math.sqrt(u[i] + real(eps)) / math.sqrt(b + real(eps)) * step
        u[i] = real(rho) * u[i] + real(1.0 - rho) * (d * d)
        p[i] = old - real(RATE(lr)) * d


@device
def _by_value(number):
    return number


@device
def _by_pointer(number):
    return number[0]


def _number(x):
    """A number for a kernel, or an array on the device that holds it; and the function that reads it."""
    if isinstance(x, int | float | np.number):
        return float(x), _by_value
    return x.reshape(1), _by_pointer


def _step(kernel, p, g, state, numbers, items=1, **constants):
    """Launch a kernel, which changes p and the arrays of its state in place; those that are None aren't used.

    The first of the numbers, the learning rate and for some the count of steps, may be arrays on the device, so that a
    captured step can have others each time.
    """
    g = contiguous(g)
    state = [g if x is None else x for x in state]
    check_shapes(all([x.shape == p.shape for x in (g, *state)]), p, g, *state)
    if not (p.size and same_dtype(p, g, *state) and all([x.flags.c_contiguous for x in (p, *state)])):
        return NotImplemented
    launch = specialized(kernel, p.dtype, **constants)
    launch(grid_size(p.size, items * THREADS), p, g, *state, *numbers, p.size)


def sgd(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov):
    lr, rate = _number(lr)
    constants = {"MOMENTUM": momentum != 0, "NESTEROV": bool(nesterov), "RATE": rate}
    return _step(_sgd, p, g, [buffer], (lr, *map(float, (momentum, dampening, weight_decay))), **constants)


def adam(p, g, m, v, top, t, lr, betas, eps, weight_decay, decoupled):
    (t, count), (lr, rate) = _number(t), _number(lr)
    constants = {"COUNT": count, "RATE": rate, "DECOUPLED": bool(decoupled), "AMSGRAD": top is not None}
    return _step(_adam, p, g, [m, v, top], (t, lr, *map(float, (*betas, eps, weight_decay))), ITEMS, **constants)


def rmsprop(p, g, v, m, buffer, lr, alpha, eps, weight_decay, momentum):
    lr, rate = _number(lr)
    constants = {"RATE": rate, "CENTERED": m is not None, "MOMENTUM": momentum != 0}
    numbers = map(float, (alpha, eps, weight_decay, momentum))
    return _step(_rmsprop, p, g, [v, m, buffer], (lr, *numbers), **constants)


def adagrad(p, g, s, t, lr, lr_decay, eps, weight_decay):
    (t, count), (lr, rate) = _number(t), _number(lr)
    numbers = map(float, (lr_decay, eps, weight_decay))
    return _step(_adagrad, p, g, [s], (t, lr, *numbers), COUNT=count, RATE=rate)


def adadelta(p, g, v, u, lr, rho, eps, weight_decay):
    lr, rate = _number(lr)
    return _step(_adadelta, p, g, [v, u], (lr, *map(float, (rho, eps, weight_decay))), RATE=rate)
