"""The loops that take time, compiled for the CPU: each function here stands in for the NumPy one of its name.

Images lie in memory as (N, H, W, C), channels last, so that a register holds channels; to the caller they are views
with the dims in PyTorch's order. A function at the end of a section is a door: it brings its arrays into the form that
the kernel above it wants, checks that they fit, makes room for the result and says among how many threads to share the
work, of which a kernel does the t-th part. What a door can't take it leaves to NumPy's function: `NotImplemented`.
"""

import math
from functools import cache, lru_cache, partial
from typing import NamedTuple

import numpy as np

from .jit import empty, jit, parallel, share
from .simd import (
    LANEWISE,
    LARGEST,
    LOW,
    LOW_ROWS,
    NARROW_ROWS,
    ONE,
    OUTER,
    ROWS,
    TWO,
    at_least,
    give,
    lanes,
    lanes_of,
    load,
    meet,
    rows_of,
    store,
    turn,
)

FIRST = np.zeros(1, np.int64)
LEAST = {  # how many numbers a first argument has at least where a kernel is faster than NumPy's function
    "affine": 2048,
    "affine_relu": 2048,
    "affine_to_bias": 8192,
    "affine_to_weight": 2048,
    "affine_to_x": 2048,
    "in_order": 8192,
    "rectify": 8193,
    "rectify_gradient": 2048,
    "sgd": 1024,
}
SPARE = max(ROWS, NARROW_ROWS)
EXTENT, WHOLE = 49152, 1 << 62  # about so many numbers of an image are looked at at once


def _plain(x):
    """The array itself, or a copy if a kernel can't take it as it lies in memory."""
    return x if x.flags.carray else np.require(x, None, "CAW")


def _fit(condition, *arrays):
    if not condition:
        raise ValueError(f"the arrays do not fit together: {', '.join(str(x.shape) for x in arrays)}")


@partial(jit, forceinline=True)  # else a tile goes to it and comes back through memory
def _meet_all(tile, x, places, p, starts, base, w, j, length, x_step, w_step):
    """The tile after `length` steps through x from each of the starts, and on and on through w."""
    for s in range(starts.size):
        i = base + starts[s]
        for _ in range(length):
            tile = meet(tile, x, places, p, i, w, j)
            i += x_step
            j += w_step
    return tile


# Convolution and pooling: a kernel that moves over images


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


def _table(positions):
    """The positions, and the last one again for the rows of a tile that are left over."""
    return np.pad(positions.ravel(), (0, SPARE), mode="edge")


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


@parallel
def _share_out(t, parts, g, x, best, gradient, scratch, places, spots, starts, views, floor, more):
    """g goes to the first number under the kernel that is equal to the best of them, if it is above the floor."""
    v, own = views[0], scratch[t]
    size, seen, line = v.height * v.width * v.channels, own.size // 2, v.seen_width * v.channels
    lane = lanes_of(x)
    for u in range(t * (x.size // size) // parts, (t + 1) * (x.size // size) // parts):
        image, base = _look(x, u, v, np.nan, own[:seen], u > t * (x.size // size) // parts)  # nothing is equal to NaN
        to = gradient if v.direct else own[seen:]
        if more:
            to[u * size if v.direct else 0 : (u + 1) * size if v.direct else seen] = 0
        for j in range(0, v.channels, lane):
            for p in range(0, places.size - SPARE, NARROW_ROWS):
                rows = min(NARROW_ROWS, places.size - SPARE - p)
                rest = load(g, spots, p, u * v.image + j, ONE, LARGEST)
                top = load(best, spots, p, u * v.image + j, ONE, LARGEST)
                for start in starts:
                    rest = give(rest, top, floor, image, to, places, p, rows, base + start + j, more)
        if not v.direct:
            gradient[u * size : (u + 1) * size] = 0
            count = min(v.width, v.seen_width + v.left) * v.channels
            for y in range(min(v.height, v.seen_height + v.top)):
                a, b = u * size + y * v.width * v.channels, (y - v.top) * line - v.left * v.channels
                for i in range(count):
                    gradient[a + i] = to[b + i]


@parallel
def _transpose(t, parts, x, out, rows, columns):
    """Matrices (rows, columns) one after the other, each transposed."""
    lane, size = lanes_of(x), rows * columns
    whole_rows, whole_columns = rows // lane * lane, columns // lane * lane
    for n in range(t * (x.size // size) // parts, (t + 1) * (x.size // size) // parts):
        of, to = x[n * size : (n + 1) * size], out[n * size : (n + 1) * size]
        for i in range(0, whole_rows, lane):
            for j in range(0, whole_columns, lane):
                turn(of, i * columns + j, columns, to, j * rows + i, rows)
        for i in range(rows):
            for j in range(whole_columns if i < whole_rows else 0, columns):
                to[j * rows + i] = of[i * columns + j]


def _transposed(x, shape):
    """(N, rows, columns) -> (N, columns, rows), in the given shape."""
    out = empty(shape, x.dtype)
    _transpose(share(x.size), x.reshape(-1), out.reshape(-1), *x.shape[1:])
    return out


def _last(x):
    """Images (N, C, H, W) as an array (N, H, W, C)."""
    n, c, h, w = x.shape
    if c > 1 and h * w > 1 and x.flags.carray and x.size:
        return _transposed(x.reshape(n, c, h * w), (n, h, w, c))
    return _plain(x.transpose(0, 2, 3, 1))


def _first(x):
    """Images (N, H, W, C) as the caller wants them."""
    return x.transpose(0, 3, 1, 2)


def in_order(x):
    if x.ndim != 4 or not x.size or x.flags.c_contiguous or not x.transpose(0, 2, 3, 1).flags.carray:
        return NotImplemented
    n, c, h, w = x.shape
    return _transposed(x.transpose(0, 2, 3, 1).reshape(n, h * w, c), x.shape)


def _whole(x, groups=1):
    """Images (N, H, W, C) with zeros after the channels of each group, up to a whole number of registers."""
    n, h, w, c = x.shape
    missing = -(c // groups) % lanes(x.dtype)
    if not missing:
        return x
    return np.pad(x.reshape(n, h, w, groups, c // groups), ((0, 0),) * 4 + ((0, missing),)).reshape(
        n, h, w, c + groups * missing
    )


def _panels(w, dtype):
    """(groups, n, k, KH, KW) -> (groups, panels, KH, KW, k, width): n in panels of two registers, zeros at the end."""
    groups, n, k, *kernel = w.shape
    width = 2 * lanes(dtype)
    whole, rest = divmod(n, width)
    out = empty((groups, whole + (rest > 0), *kernel, k, width), dtype)
    if whole:
        out[:, :whole] = w[:, : whole * width].reshape(groups, whole, width, k, *kernel).transpose(0, 1, 4, 5, 3, 2)
    if rest:
        out[:, whole, ..., :rest] = w[:, whole * width :].transpose(0, 3, 4, 2, 1)
        out[:, whole, ..., rest:] = 0
    return out


def _bias(bias, groups, n, dtype):
    """(groups·n,) or None -> (groups, panels, width)."""
    width = 2 * lanes(dtype)
    out = np.zeros((groups, -(-n // width) * width), dtype)
    if bias is not None:
        out[:, :n] = bias.reshape(groups, n)
    return out.reshape(groups, -1, width)


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


def _pooled(least, x, kernel_size, stride, padding, dilation, ceil_mode):
    """The largest number under each place of the kernel, or `least` where that is larger."""
    if not x.size:
        return NotImplemented
    x, c = _last(x), x.shape[1]
    layout = (1, 1, c, 2 * lanes(x.dtype), LARGEST)
    whole = _whole(x)
    places, plan = _forwards(whole.shape[1:], kernel_size, stride, padding, dilation, layout, EXTENT, ceil_mode)
    out = empty((len(x), *places, c), x.dtype)
    begin = np.full((1, -(-c // layout[3]), layout[3]), least, x.dtype)
    _run(whole, begin, begin, -np.inf, out, plan, LARGEST)
    return _first(out)


def max_pool(x, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled(-np.inf, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool_relu(x, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled(0, x, kernel_size, stride, padding, dilation, ceil_mode)


def _pooled_gradient(floor, g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    """The gradient of the numbers above the floor; of all, if that is NaN."""
    if not x.size or g.dtype != x.dtype or np.isnan(out.max(initial=0)):
        return NotImplemented  # which of several NaNs gets it is NumPy's affair
    c = x.shape[1]
    x, width = _whole(_last(x)), 2 * lanes(x.dtype)
    layout = (1, 1, x.shape[3], width, LARGEST)
    places, plan = _forwards(x.shape[1:], kernel_size, stride, padding, dilation, layout, WHOLE, ceil_mode)
    _fit(g.shape == out.shape == (len(x), c, *places), g, x, out)
    g, best = _whole(_last(g)), _whole(_last(out))
    gradient = empty(x.shape, x.dtype)
    parts = share(x.size)
    tables = empty((parts, 2 * plan.space), x.dtype), plan.places, plan.spots, plan.starts, plan.view
    covered = tuple(kernel_size) == tuple(stride) and all(n % k == 0 for n, k in zip(x.shape[1:3], kernel_size))
    more = not covered or any(padding) or tuple(dilation) != (1, 1)  # a number is not under the kernel just once
    arrays = (array.reshape(-1) for array in (g, x, best, gradient))
    _share_out(parts, *arrays, *tables, x.dtype.type(floor), int(more))
    return _first(gradient[..., :c])


def max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled_gradient(np.nan, g, x, out, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool_relu_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    return _pooled_gradient(0, g, x, out, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """A convolution of each channel with equal weights."""
    if not x.size or ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    weight = _share(x, x.shape[1], kernel_size, divisor_override)
    return convolve(x, weight, None, stride, padding, (1, 1), x.shape[1])[0]


def avg_pool_gradient(g, shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    if ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    weight = _share(g, shape[1], kernel_size, divisor_override)
    return convolve_to_x(g, weight, shape, stride, padding, (1, 1), shape[1])


def _share(x, channels, kernel_size, divisor):
    """Equal weights for each number under the kernel, for each channel."""
    return np.full((channels, 1, *kernel_size), 1 / (divisor or math.prod(kernel_size)), x.dtype)


# Matrix products


BLOCK = 5 * LOW_ROWS  # rows of a product that a thread computes at once


@jit
def _pack(b, j, n, k, lane_step, own, width, lines, own_lines):
    """Columns j to j + width of a matrix (k, n), zeros after the last one, side by side in own memory."""
    count, lane = min(width, n - j), width // 2
    if count < width:
        for i in range(k * width):
            own[i] = 0
    if lane_step == 1 and count == width:
        for i in range(0, k, ROWS):
            store(load(b, lines, i, j, TWO, OUTER), own, own_lines, i, min(ROWS, k - i), 0, width)
        return
    whole = k // lane * lane if count == width and lane_step > 1 else 0
    for i in range(0, whole, lane):
        turn(b, j * lane_step + i, lane_step, own, i * width, width)
        turn(b, (j + lane) * lane_step + i, lane_step, own, i * width + lane, width)
    for c in range(count):
        for i in range(whole, k):
            own[i * width + c] = b[lines[i] + (j + c) * lane_step]


@jit
def _rows_of_product(a, own, bias, out, places, spots, j, first, last, n, k, a_step, width, columns, floor):
    height = LOW_ROWS if columns == LOW else NARROW_ROWS
    for p in range(first, last, height):
        tile = rows_of(bias, j, columns, OUTER)
        tile = _meet_all(tile, a, places, p, FIRST, 0, own, 0, k, a_step, width)
        store(at_least(tile, floor), out, spots, p, min(height, last - p), j, n - j)


@parallel
def _multiply(t, parts, a, b, bias, out, scratch, places, spots, lines, own_lines, m, n, k, a_step, lane_step, floor):
    """A product (m, k) @ (k, n) + bias, or the floor: blocks of rows for each panel of columns, packed once."""
    own, width = scratch[t], scratch.shape[1] // k
    blocks, packed = -(-m // BLOCK), -1
    units = blocks * -(-n // width)
    for u in range(t * units // parts, (t + 1) * units // parts):
        j, first = u // blocks * width, u % blocks * BLOCK
        if j != packed:
            _pack(b, j, n, k, lane_step, own, width, lines, own_lines)
            packed = j
        last = min(first + BLOCK, m)
        if n - j > width // 2:
            _rows_of_product(a, own, bias, out, places, spots, j, first, last, n, k, a_step, width, LOW, floor)
        else:
            _rows_of_product(a, own, bias, out, places, spots, j, first, last, n, k, a_step, width, ONE, floor)


@lru_cache(maxsize=1024)
def _lines(n, step):
    """Where each of n rows begins."""
    return _table(np.arange(n) * step)


@lru_cache(maxsize=1024)
def _product_plan(m, n, k, a_in_rows, b_in_rows, width):
    """Where the rows of both matrices, of the product and of a packed panel begin; and the steps along a row."""
    a_row, a_step = (k, 1) if a_in_rows else (1, m)
    b_row, lane_step = (n, 1) if b_in_rows else (1, k)
    return (_lines(m, a_row), _lines(m, n), _lines(k, b_row), _lines(k, width)), (m, n, k, a_step, lane_step)


SMALL = 500_000  # products of two numbers; below that BLAS is faster


def _product(a, b, bias=None, floor=-np.inf):
    """a b + bias, where that isn't below the floor: (m, k), (k, n), (n,) or None -> (m, n)."""
    (m, k), n, width = a.shape, b.shape[1], 2 * lanes(a.dtype)
    a_in_rows, b_in_rows = a.flags.c_contiguous, b.flags.c_contiguous
    tables, sizes = _product_plan(m, n, k, a_in_rows, b_in_rows, width)
    a, b = _plain(a if a_in_rows else a.T).ravel(), _plain(b if b_in_rows else b.T).ravel()
    if bias is None or n % width or not bias.flags.carray:
        bias = _bias(bias, 1, n, a.dtype).ravel()
    parts = share(m * n * k // 16)
    out = empty((m, n), a.dtype)
    _multiply(parts, a, b, bias, out.ravel(), empty((parts, k * width), a.dtype), *tables, *sizes, floor)
    return out


def _affine(floor, x, weight, bias):
    if x.size * len(weight) < SMALL:
        return NotImplemented
    _fit(x.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1]), x, weight)
    return _product(x.reshape(-1, x.shape[-1]), weight.T, bias, floor).reshape(*x.shape[:-1], len(weight))


def affine(x, weight, bias):
    return _affine(-np.inf, x, weight, bias)


def affine_relu(x, weight, bias):
    return _affine(0.0, x, weight, bias)


def affine_to_x(g, weight):
    if g.size * weight.shape[1] < SMALL:
        return NotImplemented
    _fit(g.shape[-1] == len(weight), g, weight)
    return _product(g.reshape(-1, g.shape[-1]), weight).reshape(*g.shape[:-1], weight.shape[1])


def affine_to_weight(g, x):
    if g.size * x.shape[-1] < SMALL:
        return NotImplemented
    _fit(g.shape[:-1] == x.shape[:-1], g, x)
    return _product(g.reshape(-1, g.shape[-1]).T, x.reshape(-1, x.shape[-1]))


# Sums


@parallel
def _add_up(t, parts, x, sums):
    """The sums of the columns of a part of the rows."""
    total, rows = sums[t], x[t * len(x) // parts : (t + 1) * len(x) // parts]
    total[:] = 0
    for r in range(0, len(rows) - 3, 4):
        a, b, c, d = rows[r], rows[r + 1], rows[r + 2], rows[r + 3]
        for k in range(total.size):
            total[k] += (a[k] + b[k]) + (c[k] + d[k])
    for r in range(len(rows) // 4 * 4, len(rows)):
        total += rows[r]


def _column_sums(x):
    """(rows, columns) -> (columns,). Several rows are taken for one first: a loop over few columns is mostly ends."""
    n, c = x.shape
    together = math.gcd(n, 16)
    x = x.reshape(n // together, together * c)
    sums = np.empty((share(x.size), x.shape[1]))  # float64: there are many rows, and one after the other is added
    _add_up(len(sums), x, sums)
    return sums.reshape(-1, c).sum(axis=0).astype(x.dtype)


def affine_to_bias(g):
    return _column_sums(_plain(g.reshape(-1, g.shape[-1])))


def convolve_to_bias(g):
    return _column_sums(_last(g).reshape(-1, g.shape[1]))


# ReLU, softmax with cross-entropy


@parallel
def _rectify(t, parts, x, out):
    first, last = t * x.size // parts, (t + 1) * x.size // parts
    x, out = x[first:last], out[first:last]
    for i in range(x.size):
        out[i] = 0 if x[i] < 0 else x[i]


@parallel
def _rectify_gradient(t, parts, out, g, gradient):
    first, last = t * g.size // parts, (t + 1) * g.size // parts
    g, out, gradient = g[first:last], out[first:last], gradient[first:last]
    for i in range(g.size):
        gradient[i] = 0 if out[i] == 0 else g[i]


def _each(kernel, *arrays):
    """What a kernel makes of arrays of one shape that it goes through number by number."""
    first = arrays[0]
    images = first.ndim == 4 and not first.flags.c_contiguous
    arrays = [(_last if images else _plain)(x) for x in arrays]
    out = empty(arrays[0].shape, first.dtype)
    kernel(share(first.size), *[x.reshape(-1) for x in arrays], out.reshape(-1))
    return _first(out) if images else out


def rectify(x):
    return _each(_rectify, x)


def rectify_gradient(g, out):
    _fit(g.shape == out.shape, g, out)
    return _each(_rectify_gradient, out, g)


@parallel
def _nll(t, parts, x, target, losses, probabilities):
    for i in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, out = x[i], probabilities[i]
        out[0] = 0
        top, total = row[0], out[0]
        for k in range(row.size):
            top = row[k] if row[k] > top else top
        for k in range(row.size):
            out[k] = np.exp(row[k] - top)
            total += out[k]
        for k in range(row.size):
            out[k] /= total
        there = 0 <= target[i] < row.size
        losses[i] = np.log(total) - (row[target[i]] - top) if there else np.nan


@parallel
def _nll_gradient(t, parts, g, probabilities, target, gradient):
    for i in range(t * len(g) // parts, (t + 1) * len(g) // parts):
        row, out = probabilities[i], gradient[i]
        for k in range(row.size):
            out[k] = g[i] * row[k] - (g[i] if k == target[i] else 0)


def nll(x, target):
    _fit(x.ndim == 2 and target.shape == x.shape[:1] and x.shape[1], x, target)
    losses, probabilities = empty(len(x), x.dtype), empty(x.shape, x.dtype)
    target = _plain(target.astype(np.int64, copy=False))
    _nll(share(16 * x.size), _plain(x), target, losses, probabilities)
    return losses, probabilities


def nll_gradient(g, probabilities, target):
    _fit(probabilities.ndim == 2 and g.shape == target.shape == probabilities.shape[:1], g, probabilities, target)
    gradient = empty(probabilities.shape, g.dtype)
    target = _plain(target.astype(np.int64, copy=False))
    _nll_gradient(share(probabilities.size), _plain(g), _plain(probabilities), target, gradient)
    return gradient


# Batch norm: channels last, so that the numbers of a channel are a column


@parallel
def _add_up_squares(t, parts, x, mean, sums):
    """The sums of the columns' squared distances from their means, of a part of the rows."""
    total, rows = sums[t], x[t * len(x) // parts : (t + 1) * len(x) // parts]
    total[:] = 0
    for row in rows:
        for k in range(total.size):
            total[k] += (row[k] - mean[k]) * (row[k] - mean[k])


@parallel
def _normalized(t, parts, x, scale, shift, out):
    first, last = t * len(x) // parts, (t + 1) * len(x) // parts
    for r in range(first, last):
        row, to = x[r], out[r]
        for k in range(row.size):
            to[k] = row[k] * scale[k] + shift[k]


@parallel
def _add_up_products(t, parts, g, x, mean, scale, sums):
    """The sums of the columns of g, and of g·x̂, of a part of the rows."""
    plain, along = sums[t]
    plain[:] = 0
    along[:] = 0
    for r in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, to = x[r], g[r]
        for k in range(row.size):
            plain[k] += to[k]
            along[k] += to[k] * ((row[k] - mean[k]) * scale[k])


@parallel
def _normalized_gradient(t, parts, g, x, mean, scale, weight, plain, along, gradient):
    for r in range(t * len(x) // parts, (t + 1) * len(x) // parts):
        row, to, out = x[r], g[r], gradient[r]
        for k in range(row.size):
            unit = (row[k] - mean[k]) * scale[k]
            out[k] = (to[k] - plain[k] - unit * along[k]) * (weight[k] * scale[k])


def _by_channel(x, *others):
    """Whether the others are a number for each channel, dim 1 of x."""
    channels = (1, *x.shape[1:2], *(1,) * (x.ndim - 2))
    return x.ndim > 1 and x.size and all(other.shape == channels for other in others)


def _table_of(x):
    """x with its dim 1 last, as rows of channels."""
    return _plain(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def _image_of(table, x):
    """The rows of channels in the shape of x."""
    return np.moveaxis(table.reshape(*x.shape[:1], *x.shape[2:], x.shape[1]), -1, 1)


def moments(x, dim):
    if x.ndim < 2 or not x.size or sorted(dim) != [0, *range(2, x.ndim)]:
        return NotImplemented
    table, kept = _table_of(x), (1, x.shape[1], *(1,) * (x.ndim - 2))
    mean = _column_sums(table) / x.dtype.type(len(table))
    sums = np.empty((share(x.size), x.shape[1]))
    _add_up_squares(len(sums), table, mean, sums)
    return mean.reshape(kept), (sums.sum(axis=0) / len(table)).astype(x.dtype).reshape(kept)


def normalized(x, weight, bias, mean, var, eps):
    if not _by_channel(x, weight, bias, mean, var):
        return NotImplemented
    scale = weight / np.sqrt(var + eps)
    shift = bias - mean * scale
    table = _table_of(x)
    out = empty(table.shape, x.dtype)
    _normalized(share(x.size), table, *(v.ravel().astype(x.dtype) for v in (scale, shift)), out)
    return _image_of(out, x)


def normalized_gradient(g, x, weight, mean, var, eps, dim):
    if not _by_channel(x, weight, mean, var) or sorted(dim) != [0, *range(2, x.ndim)]:
        return NotImplemented
    _fit(g.shape == x.shape, g, x)
    rows, table = _table_of(g), _table_of(x)
    mean, scale, by = (v.ravel().astype(x.dtype) for v in (mean, 1 / np.sqrt(var + eps), weight))
    sums = np.empty((share(x.size), 2, x.shape[1]))
    _add_up_products(len(sums), rows, table, mean, scale, sums)
    plain, along = sums.sum(axis=0).astype(x.dtype)
    gradient = empty(table.shape, x.dtype)
    n = x.dtype.type(len(table))
    _normalized_gradient(share(x.size), rows, table, mean, scale, by, plain / n, along / n, gradient)
    return _image_of(gradient, x), along.reshape(weight.shape), plain.reshape(weight.shape)


# Optimizers. Where a step has no use for one of its arrays, the parameters stand there, and are not looked at


@parallel
def _sgd(t, parts, p, g, buffer, lr, momentum, share, weight_decay, nesterov, floor):
    first, last, real = t * p.size // parts, (t + 1) * p.size // parts, p.dtype.type
    p, g, buffer = p[first:last], g[first:last], buffer[first:last]
    lr, momentum, share, weight_decay = real(lr), real(momentum), real(share), real(weight_decay)
    if momentum == 0:
        for i in range(p.size):
            step = g[i] + weight_decay * p[i] if weight_decay != 0 else g[i]
            p[i] -= lr * step
    else:
        for i in range(p.size):
            step = g[i] + weight_decay * p[i] if weight_decay != 0 else g[i]
            b = momentum * buffer[i] + share * step
            buffer[i] = b if abs(b) > floor else b * 0
            p[i] -= lr * (step + momentum * b if nesterov else b)


@parallel
def _adam(t, parts, p, g, m, v, top, beta1, beta2, rate, scale, eps, decay, shrink, amsgrad, floor):
    first, last, real = t * p.size // parts, (t + 1) * p.size // parts, p.dtype.type
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
def _rmsprop(t, parts, p, g, v, m, buffer, lr, alpha, eps, momentum, centered, floor):
    first, last, real = t * p.size // parts, (t + 1) * p.size // parts, p.dtype.type
    p, g, v, m, buffer = p[first:last], g[first:last], v[first:last], m[first:last], buffer[first:last]
    lr, keep, new, eps, momentum = real(lr), real(alpha), real(1 - alpha), real(eps), real(momentum)
    for i in range(p.size):
        step = g[i]
        b = keep * v[i] + new * (step * step)
        v[i] = b if b > floor else b * 0
        if centered:
            a = m[i] + new * (step - m[i])
            m[i] = a if b > floor and abs(a) > floor else a * 0  # never is its square more than v
            b -= a * a
        step /= np.sqrt(b) + eps
        if momentum != 0:
            step += momentum * buffer[i]
            buffer[i] = step if abs(step) > floor else step * 0
        p[i] -= lr * step


@parallel
def _adagrad(t, parts, p, g, s, rate, eps, weight_decay, floor):
    first, last, real = t * p.size // parts, (t + 1) * p.size // parts, p.dtype.type
    p, g, s = p[first:last], g[first:last], s[first:last]
    rate, eps, weight_decay = real(rate), real(eps), real(weight_decay)
    for i in range(p.size):
        step = g[i] + weight_decay * p[i] if weight_decay != 0 else g[i]
        s[i] += step * step
        p[i] -= rate * step / (np.sqrt(s[i]) + eps)


@parallel
def _adadelta(t, parts, p, g, v, u, lr, rho, eps, weight_decay, floor):
    first, last, real = t * p.size // parts, (t + 1) * p.size // parts, p.dtype.type
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
    """Below that a number soon needs the processor's slow path for numbers next to 0, and counts for nothing."""
    return dtype.type(np.finfo(dtype).tiny / np.finfo(dtype).eps)


def _step(kernel, p, g, state, numbers, *flags):
    """A kernel's step, which changes p and the arrays of its state; those that are None it doesn't look at."""
    state = [p if x is None else x for x in state]
    _fit(all([x.shape == p.shape for x in (g, *state)]), p, g, *state)
    if not all([x.flags.carray for x in (p, *state)]):
        return NotImplemented
    arrays = [x.reshape(-1) for x in (p, _plain(g), *state)]
    kernel(share(p.size), *arrays, *map(float, numbers), *flags, _floor(p.dtype))


def sgd(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov):
    return _step(_sgd, p, g, [buffer], (lr, momentum, 1 - dampening, weight_decay), nesterov)


def adam(p, g, m, v, top, t, lr, betas, eps, weight_decay, decoupled):
    rate, scale = lr / (1 - betas[0] ** t), 1 / math.sqrt(1 - betas[1] ** t)
    decay, shrink = (0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1)
    return _step(_adam, p, g, [m, v, top], (*betas, rate, scale, eps, decay, shrink), top is not None)


def rmsprop(p, g, v, m, buffer, lr, alpha, eps, weight_decay, momentum):
    g = g + p.dtype.type(weight_decay) * p if weight_decay else g  # in the kernel it would cost all its vectors
    return _step(_rmsprop, p, g, [v, m, buffer], (lr, alpha, eps, momentum), m is not None)


def adagrad(p, g, s, t, lr, lr_decay, eps, weight_decay):
    return _step(_adagrad, p, g, [s], (lr / (1 + (t - 1) * lr_decay), eps, weight_decay))


def adadelta(p, g, v, u, lr, rho, eps, weight_decay):
    return _step(_adadelta, p, g, [v, u], (lr, rho, eps, weight_decay))
