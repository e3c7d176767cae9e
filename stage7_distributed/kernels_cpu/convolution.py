"""Convolution and both its gradients, as implicit GEMM: tiles of output pixels read the images themselves."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .jit import inner
from .layout import channels_first, channels_last, check_shapes, pad_channels
from .memory import empty
from .micro_kernel import TAIL, micro_kernel
from .packing import offset_table, pack_bias, pack_weight, row_offsets
from .registers import LANEWISE, NARROW_ROWS, ONE, OUTER, ROWS, TWO, broadcast_row, lanes, load, store
from .threads import parallel, thread_count

__all__ = ["convolve", "convolve_to_weight", "convolve_to_x"]

BAND, ANY_SIZE = 49152, 1 << 62  # numbers of an image in a band, about
VIEW = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("height", "width", "channels"),  # of an image
            *("direct", "top", "left", "step", "step_x", "seen_height", "seen_width"),  # which pixels a band reads
            *("high", "wide", "band", "bands"),  # output pixels: rows, in a row, rows in a band, bands
            *("groups", "fan_in", "fan_out", "length", "panel"),
            *("image", "row", "corner"),  # where results go: numbers in an image, from row to row, before the first
        )
    ]
)


class Plan(NamedTuple):
    """Where a kernel reads and writes, as positions in arrays."""

    view: np.ndarray  # one VIEW
    space: int  # how many numbers of scratch memory a thread needs
    x_offsets: np.ndarray  # of a band's output pixels: the first pixel of x that each reads
    out_offsets: np.ndarray  # where the result of each goes
    starts: np.ndarray  # of each run of pixels under the kernel, counted from the first one
    taps: np.ndarray  # of each number under the kernel
    rows: np.ndarray  # of a band's rows of output pixels, in x


def _plan(size, dy, dx, step, target, phase, out_step, layout, extent):
    """The plan for a kernel that at output (i, j) reads the pixels (i, j)·step + (dy, dx) of images (H, W, C) = `size`.

    The result goes to (i, j)·out_step + phase of the target (H', W', F).
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
    band = -(-high // -(-high // most))  # of about equal height: the last begins earlier, and computes some rows again
    down = (band - 1) * step[0] + reach[0]

    starts = np.add.outer((np.array(dy) - top) * line, (np.array(dx) - left) * channels)
    length = fan_in if kind == OUTER else 1
    taps = np.add.outer(starts, np.arange(length))
    if length < 4:  # too short for a loop of its own
        starts, length = taps, 1
    elif kind == OUTER and groups == 1 and dx == tuple(range(left, left + len(dx))):
        starts, length = starts[:, 0], length * len(dx)
    i, j = np.ogrid[:band, :wide]
    x_offsets = i * (step[0] * line) + j * (step[1] * channels)
    out_offsets = (i * (out_step[0] * target[1]) + j * out_step[1]) * target[2]
    corner = (phase[0] * target[1] + phase[1]) * target[2]
    view = (*size, direct, top, left, step[0], step[1] * channels, down, across, high, wide, band, -(-high // band))
    view += (groups, fan_in, fan_out, length, panel, math.prod(target), out_step[0] * target[1] * target[2], corner)
    space = 0 if direct else down * line
    tables = offset_table(x_offsets), offset_table(out_offsets), starts.ravel().copy(), offset_table(taps)
    return Plan(np.array([view], VIEW), space, *tables, np.arange(band) * (step[0] * line))


@inner
def load_band(x, u, v, fill, band, reuse):
    """The pixels that band u reads, copied into `band` if some lie outside the image: (array, its first position).

    The padding is written once: it is there already if a band of images of this size was loaded before, `reuse`.
    """
    n, y = u // v.bands, min(u % v.bands * v.band, v.high - v.band) * v.step + v.top
    if v.direct:
        return x, ((n * v.height + y) * v.width + v.left) * v.channels
    line = v.seen_width * v.channels
    first = min(max(-v.left, 0), v.seen_width) * v.channels
    last = max(min(v.width - v.left, v.seen_width) * v.channels, first)
    if not reuse or v.bands > 1:
        for i in range(v.seen_height * line):
            band[i] = fill
    for k in range(max(-y, 0), min(v.height - y, v.seen_height)):
        start = ((n * v.height + y + k) * v.width + v.left) * v.channels
        target, source = band[k * line + first : k * line + last], x[start + first : start + last]
        for i in range(target.size):
            target[i] = source[i]
    return band, 0


@inner
def _macro_kernel(image, start, v, x_offsets, starts, w, j, bias, b, out, out_offsets, f, n, columns, kind):
    """The loop around the micro-kernel: tiles of output pixels of a band, of which each writes its first n channels."""
    pixels = x_offsets.size - TAIL
    height = ROWS if columns == TWO else NARROW_ROWS
    for p in range(0, pixels, height):
        tile = broadcast_row(bias, b, columns, kind)
        tile = micro_kernel(tile, image, x_offsets, p, starts, start, w, j, v.length, 1, v.panel)
        store(tile, out, out_offsets, p, min(height, pixels - p), f, n)


@parallel
def _correlate(t, threads, x, w, bias, fill, out, scratch, x_offsets, out_offsets, starts, views, kind):
    """For every output pixel, what a tile accumulates of the numbers under the kernel, beginning from the bias."""
    v, band = views[0], scratch[t]
    _, panels, width = bias.shape
    bias, depth = bias.reshape(-1), starts.size * v.length * width
    units = x.size // (v.height * v.width * v.channels) * v.bands
    for u in range(t * units // threads, (t + 1) * units // threads):
        image, base = load_band(x, u, v, fill, band, u > t * units // threads)
        end = u // v.bands * v.image + min(u % v.bands * v.band, v.high - v.band) * v.row + v.corner
        for q in range(v.groups * panels):
            group, j = q // panels, q % panels * width
            start, f, n = base + (group * v.fan_in if kind == OUTER else j), end + group * v.fan_out + j, v.fan_out - j
            if n > width // 2:
                _macro_kernel(
                    image, start, v, x_offsets, starts, w, q * depth, bias, q * width, out, out_offsets, f, n, TWO, kind
                )
            else:
                _macro_kernel(
                    image, start, v, x_offsets, starts, w, q * depth, bias, q * width, out, out_offsets, f, n, ONE, kind
                )


@inner
def _macro_kernel_to_weight(image, start, v, taps, rows, g, f, across, sums, lines, line, columns, kind):
    """The loop around the micro-kernel: tiles of weights, to which all output pixels of a band are accumulated."""
    depth = taps.size - TAIL
    height = ROWS if columns == TWO else NARROW_ROWS
    for p in range(0, depth, height):
        tile = load(sums, lines, p, line, columns, kind)
        tile = micro_kernel(tile, image, taps, p, rows, start, g, f, v.wide, v.step_x, across)
        store(tile, sums, lines, p, min(height, depth - p), line, v.panel)


@parallel
def _correlate_to_weight(t, threads, x, g, sums, scratch, taps, lines, rows, views, kind):
    """The sums of each thread, of the products of g with the numbers under the kernel."""
    v, band = views[0], scratch[t]
    _, panels, depth, width = sums[t].shape
    sums = sums[t].reshape(-1)
    sums[:] = 0
    units = x.size // (v.height * v.width * v.channels) * v.bands
    for u in range(t * units // threads, (t + 1) * units // threads):
        image, base = load_band(x, u, v, 0.0, band, u > t * units // threads)
        done = u % v.bands * v.band
        new = rows[done - min(done, v.high - v.band) :]  # the last band begins earlier, to be of full height
        across = v.groups * v.fan_out
        end = (u // v.bands * v.high + done) * v.wide * across
        for q in range(v.groups * panels):
            group, j = q // panels, q % panels * width
            start, f, n = base + (group * v.fan_in if kind == OUTER else j), end + group * v.fan_out + j, v.fan_out - j
            if n > width // 2:
                _macro_kernel_to_weight(
                    image, start, v, taps, new, g, f, across, sums, lines, q * depth * width, TWO, kind
                )
            else:
                _macro_kernel_to_weight(
                    image, start, v, taps, new, g, f, across, sums, lines, q * depth * width, ONE, kind
                )


@lru_cache(maxsize=1024)
def forward_plan(size, kernel, stride, padding, dilation, layout, extent=BAND, ceil_mode=False):
    """The output's height and width for images (H, W, C) = `size`, and the plan to compute it."""
    size_out = output_size(size, kernel, stride, padding, dilation, ceil_mode)
    under = (tuple(i * d - p for i in range(k)) for k, p, d in zip(kernel, padding, dilation))
    target = *size_out, layout[0] * layout[2]
    return size_out, _plan(size, *under, stride, target, (0, 0), (1, 1), layout, extent)


@lru_cache(maxsize=1024)
def _backward_plans(size, kernel, stride, padding, dilation, layout, target):
    """The same from the results to the images: a plan for each phase of the stride.

    Each comes with the first pixel of the phase and, as slices, the taps that reach its pixels; there may be none.
    """
    phases = []
    for a in range(min(stride[0], target[0])):
        for b in range(min(stride[1], target[1])):
            (dy, rows), (dx, columns) = (_phase(*one) for one in zip((a, b), kernel, stride, padding, dilation))
            plan = _plan(size, dy, dx, (1, 1), target, (a, b), stride, layout, BAND) if dy and dx else None
            phases.append(((a, b), (..., rows, columns), plan))
    return phases


def _phase(a, kernel, stride, padding, dilation):
    """Which of a kernel's taps reach the pixels a, a + stride, …: from which outputs, ascending, and as a slice."""
    reaching = [k for k in range(kernel) if (a + padding - k * dilation) % stride == 0][::-1]
    step = reaching[1] - reaching[0] if len(reaching) > 1 else -1
    stop = reaching[-1] + step if reaching else 0
    taps = slice(reaching[0], stop if stop >= 0 else None, step) if reaching else slice(0)
    return tuple((a + padding - k * dilation) // stride for k in reaching), taps


def output_size(size, kernel, stride, padding, dilation, ceil_mode=False):
    """The height and width of the output for images (H, W, …).

    In ceil mode the last window may reach beyond the padding, if it begins before that.
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


def correlate(x, w, bias, fill, out, plan, kind):
    """Compute what `plan` says into `out`, in several threads; `fill` pads the images."""
    threads = thread_count(out.size * plan.starts.size)
    tables = empty((threads, plan.space), x.dtype), plan.x_offsets, plan.out_offsets, plan.starts, plan.view
    _correlate(threads, x.reshape(-1), w.reshape(-1), bias, fill, out.reshape(-1), *tables, kind)


def convolve(x, weight, bias, stride, padding, dilation, groups):
    """NumPy's columns are what the gradient of the weights needs; here it needs x itself."""
    f, c, *kernel = weight.shape
    check_shapes(
        x.ndim == 4 and x.shape[1] == c * groups and f % groups == 0 and (bias is None or bias.shape == (f,)), x, weight
    )
    if not x.size:
        return NotImplemented
    x, width = channels_last(x), 2 * lanes(x.dtype)
    if c == 1 and groups > 1:  # depthwise
        x = pad_channels(x if f == groups else x.repeat(f // groups, axis=3))
        w, layout = weight.reshape(1, f, 1, *kernel), (1, 1, f, width, LANEWISE)
    else:
        w, layout = weight.reshape(groups, f // groups, c, *kernel), (groups, c, f // groups, width, OUTER)
    size_out, plan = forward_plan(x.shape[1:], weight.shape[2:], stride, padding, dilation, layout)
    out = empty((len(x), *size_out, f), x.dtype)
    begin = pack_bias(bias, layout[0], layout[2], x.dtype)
    correlate(x, pack_weight(w, x.dtype), begin, 0.0, out, plan, layout[-1])
    return channels_first(out), (x, stride, padding, dilation)


def convolve_to_x(g, weight, shape, stride, padding, dilation, groups):
    """A convolution of g with the kernel rotated by 180°: one for each phase of the stride."""
    n, c, h, w = shape
    f, k, *kernel = weight.shape
    check_shapes(
        c == k * groups and g.shape == (n, f, *output_size((h, w), kernel, stride, padding, dilation)), g, weight
    )
    if not g.size or not np.isfinite(weight).all():  # around g are zeros, which times infinity are NaN
        return NotImplemented
    g, width = channels_last(g), 2 * lanes(g.dtype)
    if k == 1 and groups > 1:
        g, weight, layout = pad_channels(g), weight.reshape(1, f, 1, *kernel), (1, 1, f, width, LANEWISE)
    else:
        weight = weight.reshape(groups, f // groups, k, *kernel).swapaxes(1, 2)
        layout = groups, f // groups, k, width, OUTER
    out = empty((n, h, w, layout[0] * layout[2]), g.dtype)
    begin = pack_bias(None, layout[0], layout[2], g.dtype)
    phases = _backward_plans(g.shape[1:], tuple(kernel), stride, padding, dilation, layout, out.shape[1:])
    for (a, b), reaching, plan in phases:
        if plan:
            correlate(g, pack_weight(weight[reaching], g.dtype), begin, 0.0, out, plan, layout[-1])
        else:
            out[:, a :: stride[0], b :: stride[1]] = 0
    return channels_first(out.reshape(n, h, w, c, f // c).sum(axis=4) if out.shape[3] > c else out)


def convolve_to_weight(g, columns, shape, groups):
    if not isinstance(columns, tuple):
        return NotImplemented  # NumPy's function has made them
    x, *moves = columns
    f, c, *kernel = shape
    kind, width = LANEWISE if c == 1 and groups > 1 else OUTER, 2 * lanes(x.dtype)
    if kind == LANEWISE:
        groups = 1
    each = f // groups + -(f // groups) % lanes(x.dtype)  # kernels in a group, with those that fill a register
    size_out, plan = forward_plan(x.shape[1:], shape[2:], *moves, (groups, c, each, width, kind))
    check_shapes(g.shape == (len(x), f, *size_out), g, x)
    g, depth = pad_channels(channels_last(g), groups), len(plan.taps) - TAIL
    threads = thread_count(g.size)
    sums = empty((threads, groups, -(-each // width), depth, width), x.dtype)
    tables = empty((threads, plan.space), x.dtype), plan.taps, row_offsets(depth, width), plan.rows, plan.view
    _correlate_to_weight(threads, x.reshape(-1), g.reshape(-1), sums, *tables, kind)
    out = sums.sum(axis=0).swapaxes(2, 3).reshape(groups, -1, *kernel, c)
    return out[:, : f // groups].transpose(0, 1, 4, 2, 3).reshape(shape)
