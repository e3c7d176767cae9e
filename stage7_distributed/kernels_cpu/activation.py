"""Elementwise activations."""

from .layout import channels_first, channels_last, check_shapes, contiguous
from .memory import empty
from .threads import parallel, thread_count

__all__ = ["rectify", "rectify_gradient"]
THRESHOLDS = {"rectify": 8193, "rectify_gradient": 2048}


@parallel
def _rectify(t, threads, x, out):
    first, last = t * x.size // threads, (t + 1) * x.size // threads
    x, out = x[first:last], out[first:last]
    for i in range(x.size):
        out[i] = 0 if x[i] < 0 else x[i]


@parallel
def _rectify_gradient(t, threads, out, g, gradient):
    first, last = t * g.size // threads, (t + 1) * g.size // threads
    g, out, gradient = g[first:last], out[first:last], gradient[first:last]
    for i in range(g.size):
        gradient[i] = 0 if out[i] == 0 else g[i]


def _elementwise(kernel, *arrays):
    """The result of an elementwise kernel on arrays of one shape."""
    first = arrays[0]
    images = first.ndim == 4 and not first.flags.c_contiguous
    arrays = [(channels_last if images else contiguous)(x) for x in arrays]
    out = empty(arrays[0].shape, first.dtype)
    kernel(thread_count(first.size), *[x.reshape(-1) for x in arrays], out.reshape(-1))
    return channels_first(out) if images else out


def rectify(x):
    return _elementwise(_rectify, x)


def rectify_gradient(g, out):
    check_shapes(g.shape == out.shape, g, out)
    return _elementwise(_rectify_gradient, out, g)
