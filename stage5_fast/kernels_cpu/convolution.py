"""Convolution and both its gradients: a kernel that moves over images."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .jit import empty, jit, parallel, share
from .layout import _first, _fit, _last, _whole
from .micro_kernel import SPARE, _meet_all
from .packing import _bias, _lines, _panels, _table
from .registers import LANEWISE, NARROW_ROWS, ONE, OUTER, ROWS, TWO, lanes, load, rows_of, store

__all__ = ["convolve", "convolve_to_weight", "convolve_to_x"]

EXTENT, WHOLE = 49152, 1 << 62  # about so many numbers of an image are looked at at once
VIEW = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("height", "width", "channels"),  # of an image that is looked at
            *("direct", "top", "left", "step", "step_x", "seen_height", "seen_width"),  # how it is looked at
            *("high", "wide", "band", "bands"),  # how many places there are: rows, in a row, rows in a band, bands
            *("groups", "fan_in", "fan_out", "length", "panel"),
            *("image", "row", "corner"),  # where results go: numbers in an image, from row to row, before the first
        )
    ]
)


class Plan(NamedTuple):
    """Where a kernel reads and writes, as positions in arrays."""

    view: np.ndarray  # one VIEW
    space: int  # how many numbers of scratch memory a part needs
    places: np.ndarray  # of a band's places: the first pixel that each sees
    spots: np.ndarray  # where the result of each goes
    starts: np.ndarray  # of each run of pixels under the kernel, counted from the first one
    taps: np.ndarray  # of each number under the kernel
    rows: np.ndarray  # of a band's rows of places


def _plan(size, dy, dx, step, target, phase, out_step, layout, extent):
    """The plan for a kernel that at place (i, j) sees the pixels (i, j)·step + (dy, dx) of images (H, W, C) = `size`.

    The result of place (i, j) goes to (i, j)·out_step + phase of the target (H', W', F).
    """
    height, width, channels = size
    groups, fan_in, fan_out, panel, kind = layout
    high, wide = (-(-(n - first) // s) for n, first, s in zip(target, phase, out_step))
    top, left = min(dy), min(dx)
    reach = max(dy) - top + 1, max(dx) - left + 1
    direct = top >= 0 and left >= 0 and top + (high - 1) * step[0] + reach[0] <= height
    direct = direct and left + (wide - 1) * step[1] + reach[1] <= width
    across = width if direct else (wide - 1) * step[1] + reach[1]
    line = across * channels
    most = max(1, extent // (line * step[0]))
    band = -(-high // -(-high // most))  # about equal ones: the last begins earlier, and does some rows again
    down = (band - 1) * step[0] + reach[0]

    starts = np.add.outer((np.array(dy) - top) * line, (np.array(dx) - left) * channels)
    length = fan_in if kind == OUTER else 1
    taps = np.add.outer(starts, np.arange(length))
    if length < 4:  # too short for a loop of its own
        starts, length = taps, 1
    elif kind == OUTER and groups == 1 and dx == tuple(range(left, left + len(dx))):
        starts, length = starts[:, 0], length * len(dx)
    i, j = np.ogrid[:band, :wide]
    places = i * (step[0] * line) + j * (step[1] * channels)
    spots = (i * (out_step[0] * target[1]) + j * out_step[1]) * target[2]
    corner = (phase[0] * target[1] + phase[1]) * target[2]
    view = (*size, direct, top, left, step[0], step[1] * channels, down, across, high, wide, band, -(-high // band))
    view += (groups, fan_in, fan_out, length, panel, math.prod(target), out_step[0] * target[1] * target[2], corner)
    space = 0 if direct else down * line
    tables = _table(places), _table(spots), starts.ravel().copy(), _table(taps), np.arange(band) * (step[0] * line)
    return Plan(np.array([view], VIEW), space, *tables)


@jit
def _look(x, u, v, fill, own, again):
    """Bring the pixels that band u sees into own memory, if some lie outside the image: (array, its first position).

    What stands around an image is there already where a band of the same images was looked at before: `again`.
    """
    n, y = u // v.bands, min(u % v.bands * v.band, v.high - v.band) * v.step + v.top
    if v.direct:
        return x, ((n * v.height + y) * v.width + v.left) * v.channels
    line = v.seen_width * v.channels
    first = min(max(-v.left, 0), v.seen_width) * v.channels
    last = max(min(v.width - v.left, v.seen_width) * v.channels, first)
    if not again or v.bands > 1:
        for i in range(v.seen_height * line):
            own[i] = fill
    for k in range(max(-y, 0), min(v.height - y, v.seen_height)):
        start = ((n * v.height + y + k) * v.width + v.left) * v.channels
        to, of = own[k * line + first : k * line + last], x[start + first : start + last]
        for i in range(to.size):
            to[i] = of[i]
    return own, 0


@jit
def _walk(image, start, v, places, starts, w, j, bias, b, out, spots, f, n, columns, kind):
    """Let tiles meet what lies under the kernel at all places of a band, and write the first n numbers of each."""
    pixels = places.size - SPARE
    height = ROWS if columns == TWO else NARROW_ROWS
    for p in range(0, pixels, height):
        tile = rows_of(bias, b, columns, kind)
        tile = _meet_all(tile, image, places, p, starts, start, w, j, v.length, 1, v.panel)
        store(tile, out, spots, p, min(height, pixels - p), f, n)


@parallel
def _correlate(t, parts, x, w, bias, fill, out, scratch, places, spots, starts, views, kind):
    """At every place of the kernel `out` gets what a tile makes of the numbers under it, beginning from the bias."""
    v, own = views[0], scratch[t]
    _, panels, width = bias.shape
    bias, depth = bias.reshape(-1), starts.size * v.length * width
    units = x.size // (v.height * v.width * v.channels) * v.bands
    for u in range(t * units // parts, (t + 1) * units // parts):
        image, base = _look(x, u, v, fill, own, u > t * units // parts)
        end = u // v.bands * v.image + min(u % v.bands * v.band, v.high - v.band) * v.row + v.corner
        for q in range(v.groups * panels):
            group, j = q // panels, q % panels * width
            start, f, n = base + (group * v.fan_in if kind == OUTER else j), end + group * v.fan_out + j, v.fan_out - j
            if n > width // 2:
                _walk(image, start, v, places, starts, w, q * depth, bias, q * width, out, spots, f, n, TWO, kind)
            else:
                _walk(image, start, v, places, starts, w, q * depth, bias, q * width, out, spots, f, n, ONE, kind)


@jit
def _gather(image, start, v, taps, rows, g, f, across, sums, lines, line, columns, kind):
    """Let tiles of sums meet all places of a band, for every number under the kernel."""
    depth = taps.size - SPARE
    height = ROWS if columns == TWO else NARROW_ROWS
    for p in range(0, depth, height):
        tile = load(sums, lines, p, line, columns, kind)
        tile = _meet_all(tile, image, taps, p, rows, start, g, f, v.wide, v.step_x, across)
        store(tile, sums, lines, p, min(height, depth - p), line, v.panel)


@parallel
def _correlate_to_weight(t, parts, x, g, sums, scratch, taps, lines, rows, views, kind):
    """Each part's own sums, of the products of g with all that lay under the kernel."""
    v, own = views[0], scratch[t]
    _, panels, depth, width = sums[t].shape
    sums = sums[t].reshape(-1)
    sums[:] = 0
    units = x.size // (v.height * v.width * v.channels) * v.bands
    for u in range(t * units // parts, (t + 1) * units // parts):
        image, base = _look(x, u, v, 0.0, own, u > t * units // parts)
        done = u % v.bands * v.band
        new = rows[done - min(done, v.high - v.band) :]  # a last band may have begun earlier, to be a whole one
        across = v.groups * v.fan_out
        end = (u // v.bands * v.high + done) * v.wide * across
        for q in range(v.groups * panels):
            group, j = q // panels, q % panels * width
            start, f, n = base + (group * v.fan_in if kind == OUTER else j), end + group * v.fan_out + j, v.fan_out - j
            if n > width // 2:
                _gather(image, start, v, taps, new, g, f, across, sums, lines, q * depth * width, TWO, kind)
            else:
                _gather(image, start, v, taps, new, g, f, across, sums, lines, q * depth * width, ONE, kind)


@lru_cache(maxsize=1024)
def _forwards(size, kernel, stride, padding, dilation, layout, extent=EXTENT, ceil_mode=False):
    """How many places a kernel has on images (H, W, C) = `size`, in rows and columns, and the plan for them."""
    places = _places(size, kernel, stride, padding, dilation, ceil_mode)
    under = (tuple(i * d - p for i in range(k)) for k, p, d in zip(kernel, padding, dilation))
    target = *places, layout[0] * layout[2]
    return places, _plan(size, *under, stride, target, (0, 0), (1, 1), layout, extent)


@lru_cache(maxsize=1024)
def _backwards(size, kernel, stride, padding, dilation, layout, target):
    """The same from the results to the images: a plan for each of the phases in which the kernel met pixels.

    With it come the first pixel of the phase and, as slices, the places of the kernel that met them; there may be none.
    """
    phases = []
    for a in range(min(stride[0], target[0])):
        for b in range(min(stride[1], target[1])):
            (dy, rows), (dx, columns) = (_phase(*one) for one in zip((a, b), kernel, stride, padding, dilation))
            plan = _plan(size, dy, dx, (1, 1), target, (a, b), stride, layout, EXTENT) if dy and dx else None
            phases.append(((a, b), (..., rows, columns), plan))
    return phases


def _phase(a, kernel, stride, padding, dilation):
    """Which of a kernel's places met the pixels a, a + stride, …: at which outputs, in ascending order, and a slice."""
    met = [k for k in range(kernel) if (a + padding - k * dilation) % stride == 0][::-1]
    step = met[1] - met[0] if len(met) > 1 else -1
    stop = met[-1] + step if met else 0
    places = slice(met[0], stop if stop >= 0 else None, step) if met else slice(0)
    return tuple((a + padding - k * dilation) // stride for k in met), places


def _places(size, kernel, stride, padding, dilation, ceil_mode=False):
    """How many places the kernel has on images (H, W, …): rows and columns.

    In ceil mode the last may reach beyond the padding, if it begins before that.
    """
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation):
        steps = n + 2 * p - d * (k - 1) - 1
        more = ceil_mode and -(-steps // s) * s < n + p
        out.append((-(-steps // s) if more else steps // s) + 1)
    if min(out) < 1:
        size = tuple(n + 2 * p for n, p in zip(size, padding))
        raise ValueError(f"a kernel of {tuple(kernel)} with dilation {dilation} does not fit {size}, the padded image")
    return tuple(out)


def _run(x, w, bias, fill, out, plan, kind):
    parts = share(out.size * plan.starts.size)
    tables = empty((parts, plan.space), x.dtype), plan.places, plan.spots, plan.starts, plan.view
    _correlate(parts, x.reshape(-1), w.reshape(-1), bias, fill, out.reshape(-1), *tables, kind)


def convolve(x, weight, bias, stride, padding, dilation, groups):
    """NumPy's columns are what the gradient of the weights needs; here it needs x itself."""
    f, c, *kernel = weight.shape
    _fit(
        x.ndim == 4 and x.shape[1] == c * groups and f % groups == 0 and (bias is None or bias.shape == (f,)), x, weight
    )
    if not x.size:
        return NotImplemented
    x, width = _last(x), 2 * lanes(x.dtype)
    if c == 1 and groups > 1:  # each channel for itself
        x = _whole(x if f == groups else x.repeat(f // groups, axis=3))
        w, layout = weight.reshape(1, f, 1, *kernel), (1, 1, f, width, LANEWISE)
    else:
        w, layout = weight.reshape(groups, f // groups, c, *kernel), (groups, c, f // groups, width, OUTER)
    places, plan = _forwards(x.shape[1:], weight.shape[2:], stride, padding, dilation, layout)
    out = empty((len(x), *places, f), x.dtype)
    begin = _bias(bias, layout[0], layout[2], x.dtype)
    _run(x, _panels(w, x.dtype), begin, 0.0, out, plan, layout[-1])
    return _first(out), (x, stride, padding, dilation)


def convolve_to_x(g, weight, shape, stride, padding, dilation, groups):
    """A convolution of g with the kernel turned round: one for each of the phases in which the kernel met pixels."""
    n, c, h, w = shape
    f, k, *kernel = weight.shape
    _fit(c == k * groups and g.shape == (n, f, *_places((h, w), kernel, stride, padding, dilation)), g, weight)
    if not g.size or not np.isfinite(weight).all():  # around g are zeros, which times infinity are NaN
        return NotImplemented
    g, width = _last(g), 2 * lanes(g.dtype)
    if k == 1 and groups > 1:
        g, weight, layout = _whole(g), weight.reshape(1, f, 1, *kernel), (1, 1, f, width, LANEWISE)
    else:
        weight = weight.reshape(groups, f // groups, k, *kernel).swapaxes(1, 2)
        layout = groups, f // groups, k, width, OUTER
    out = empty((n, h, w, layout[0] * layout[2]), g.dtype)
    begin = _bias(None, layout[0], layout[2], g.dtype)
    phases = _backwards(g.shape[1:], tuple(kernel), stride, padding, dilation, layout, out.shape[1:])
    for (a, b), met, plan in phases:
        if plan:
            _run(g, _panels(weight[met], g.dtype), begin, 0.0, out, plan, layout[-1])
        else:
            out[:, a :: stride[0], b :: stride[1]] = 0
    return _first(out.reshape(n, h, w, c, f // c).sum(axis=4) if out.shape[3] > c else out)


def convolve_to_weight(g, columns, shape, groups):
    if not isinstance(columns, tuple):
        return NotImplemented  # NumPy's function has made them
    x, *moves = columns
    f, c, *kernel = shape
    kind, width = LANEWISE if c == 1 and groups > 1 else OUTER, 2 * lanes(x.dtype)
    if kind == LANEWISE:
        groups = 1
    each = f // groups + -(f // groups) % lanes(x.dtype)  # kernels in a group, with those that fill a register
    places, plan = _forwards(x.shape[1:], shape[2:], *moves, (groups, c, each, width, kind))
    _fit(g.shape == (len(x), f, *places), g, x)
    g, depth = _whole(_last(g), groups), len(plan.taps) - SPARE
    parts = share(g.size)
    sums = empty((parts, groups, -(-each // width), depth, width), x.dtype)
    tables = empty((parts, plan.space), x.dtype), plan.taps, _lines(depth, width), plan.rows, plan.view
    _correlate_to_weight(parts, x.reshape(-1), g.reshape(-1), sums, *tables, kind)
    out = sums.sum(axis=0).swapaxes(2, 3).reshape(groups, -1, *kernel, c)
    return out[:, : f // groups].transpose(0, 1, 4, 2, 3).reshape(shape)
