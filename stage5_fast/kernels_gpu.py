"""The loops that take time, as CUDA kernels: each door here stands in for the NumPy function of its name.

A kernel runs once for every thread of a grid of blocks; the threads of a block share a little fast memory and can wait
for each other. Its docstring says what the grid is, what one thread computes, what lies in shared memory, and the bytes
moved against those that must be. Arrays reach a kernel as flat, C-contiguous memory, images as (N, C, H, W). What a
door can't take it leaves to NumPy's function, which CuPy runs: `NotImplemented`.

A kernel reads names in capitals, and `real`, the type of the numbers, as globals; `specialized` puts them there and has
it compiled anew for each choice. So what they decide is decided before it runs, and small loops over them are unrolled.
"""

# ruff: noqa: F821 - a name in capitals is one that `specialized` adds

import hashlib
import math
import os
import re
import sys
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FunctionType

import numpy as np
from numba import config, cuda, types

from .kernels_cpu import _fit, _places

SIMULATED = bool(config.ENABLE_CUDASIM)
TILED = SIMULATED  # whether linear layers use the matrix product that stands here, not the one of cuBLAS
THREADS = 256  # in each block, whatever the kernel
MOST = 2**31  # as many things to count as 32 bits hold, in which a division takes a quarter of the time

real = np.float32


def device(function):
    """A function that kernels call; the simulator can do without all that it would put around one."""
    return function if SIMULATED else cuda.jit(device=True)(function)


# How kernels are compiled and launched


@cache
def specialized(kernel, dtype, **constants):
    """`launch(blocks, *arguments)` for a kernel with these constants. The types of its arguments never change."""
    names = {**globals(), "real": dtype.type, **constants}
    source, run = FunctionType(kernel.__code__, names, kernel.__name__), None

    def launch(blocks, *arguments):
        nonlocal run
        if run is None:
            run = _load(source, arguments, constants)
        if type(arguments[-1]) is tuple:
            arguments = (*arguments[:-1], *map(int, arguments[-1]))
        run(blocks, (THREADS,), arguments)

    def simulate(blocks, *arguments):
        flat = [x.reshape(-1) if isinstance(x, np.ndarray) else x for x in arguments]
        cuda.jit(source)[blocks, THREADS](*flat)

    return simulate if SIMULATED else launch


def _load(source, arguments, constants):
    """The kernel on CuPy's current device: CuPy launches faster than Numba and on its own current stream.

    To a kernel an array is a pointer, an int and a float have 64 bits, and each is a parameter of its own, in order;
    so is each int of a tuple, which may come last.
    """
    import cupy
    from cuda.core import Linker, LinkerOptions, ObjectCode

    name, arch = source.__name__.strip("_"), cupy.cuda.Device().compute_capability
    signature = types.void(*map(_type, arguments))
    what = f"{_text()} {name} {signature} {arch} " + " ".join(f"{k}={_plainly(v)}" for k, v in constants.items())
    file = Path(os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache"))  # as CuPy's own
    file /= f"gradual_{name}_{hashlib.sha256(what.encode()).hexdigest()[:32]}.cubin"
    try:
        cubin = file.read_bytes()
    except OSError:
        print(f"{__package__}: compiling a kernel, once: {name.replace('_', ' ')}", file=sys.stderr, flush=True)
        options = {"abi": "numba", "cc": (int(arch[:-1]), int(arch[-1])), "launch_bounds": (THREADS, 2)}
        ptx, _ = cuda.compile(source, signature, device=False, **options)
        ptx = ptx.replace(re.search(r"\.entry\s+(\w+)", ptx)[1], name)  # else it has numbers that change
        linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=LinkerOptions(arch=f"sm_{arch}"))
        cubin = bytes(linker.link("cubin").code)
        _keep(file, cubin)
    module = cupy.cuda.Module()
    module.load(cubin)
    return module.get_function(name)


def _type(argument):
    if isinstance(argument, tuple):
        return types.UniTuple(types.int64, len(argument))
    if isinstance(argument, int | float):
        return types.int64 if isinstance(argument, int) else types.float64
    return types.CPointer(getattr(types, argument.dtype.name))


def _plainly(constant):
    return constant.__name__ if callable(constant) else repr(constant)


@cache
def _text():
    """What a compiled kernel depends on besides its own choices."""
    import numba_cuda

    return f"{numba_cuda.__version__} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"


def _keep(file, content):
    """Write a file whole or, where nothing can be written, not at all."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, delete=False) as part:
            part.write(content)
        os.replace(part.name, file)


def _empty(x, *shape, dtype=None):
    """An array beside x, of whatever stands in its memory. As `numpy.empty_like`, with less to find out first."""
    return type(x)(shape, dtype or x.dtype)


def _plain(x):
    """The array itself, or a copy in which its numbers lie in order."""
    return x if x.flags.c_contiguous else x.copy()


def _uniform(first, *others):
    """Whether all that are there have one dtype, as a kernel takes it for granted."""
    return all(x is None or x.dtype == first.dtype for x in others)


def _blocks(n, each=THREADS):
    return (-(-n // each),)


@device
def split(i, n):
    """i // n and i % n, of numbers that 32 bits hold."""
    q = np.uint32(i) // np.uint32(n)
    return np.int64(q), np.int64(np.uint32(i) - q * np.uint32(n))


# Number by number


ITEMS = 4  # so many numbers of each array does a thread ask for before it waits for the first


def _map(x, y, out, n):
    """out = FORMULA(x, y), number by number.

    Grid: a block for 1024 numbers. A thread: 4 numbers, 256 apart, so that the threads of a warp meet neighbours.
    Shared memory: none. Bytes: each array once, as must be.
    """
    xs = cuda.local.array(ITEMS, real)  # in registers, as all loops over them are unrolled
    ys = cuda.local.array(ITEMS, real)
    first = np.int64(cuda.blockIdx.x) * (ITEMS * THREADS) + cuda.threadIdx.x
    for k in range(ITEMS):
        i = first + k * THREADS
        if i < n:
            xs[k], ys[k] = x[i], y[i]
    for k in range(ITEMS):
        i = first + k * THREADS
        if i < n:
            out[i] = FORMULA(xs[k], ys[k])


@device
def _itself(x, y):
    return x


@device
def _positive(x, y):
    return 0 if x < 0 else x


@device
def _where_not_zero(g, out):
    return g if out != 0 else out


def _each(formula, x, y):
    if not x.size:
        return NotImplemented
    x, y = _plain(x), _plain(y)
    out = _empty(x, *x.shape)
    specialized(_map, x.dtype, FORMULA=formula)(_blocks(x.size, ITEMS * THREADS), x, y, out, x.size)
    return out


def rectify(x):
    return _each(_positive, x, x)


def rectify_gradient(g, out):
    _fit(g.shape == out.shape, g, out)
    return NotImplemented if not _uniform(g, out) else _each(_where_not_zero, g, out)


# Matrix products and convolution: tiles of a product, in shared memory and in registers


DEPTH = 8  # steps of a product whose numbers lie in shared memory at once
SIDES = 128, 64, 32  # that a tile may have
BUSY = 512  # so many blocks keep a large GPU busy


def _product(a, b, bias, out, rows, columns, depth, numbers):
    """out[r, c] = Σ a[r, k]·b[k, c] over the steps k, + bias; constants say what rows, columns and steps are in memory.

    Grid: a block for each tile of ROWS × COLUMNS numbers of out, times groups of channels and parts of the steps.
    A thread: DOWN × ACROSS numbers of the tile, which stay in registers from the first step to the last; up to four
    neighbours each, which one instruction loads. It also fetches its share of what all threads of the block need.
    Shared memory: DEPTH steps of ROWS numbers of a and of COLUMNS of b, twice: while all work on the one half, what is
    fetched goes into the other. The four numbers between two steps keep threads that write out of each other's banks.
    Bytes: a is read once for each tile of columns and b for each tile of rows; once each and out would be needed.
    """
    a_row, a_step, b_column, b_step, out_row, out_column = numbers[:6]
    a_group, b_group, out_group, out_part, parts, size = numbers[6:12]
    view = numbers[12:]
    a_tile = cuda.shared.array(A_TILE, real)
    b_tile = cuda.shared.array(B_TILE, real)
    a_next = cuda.local.array(A_SHARE, real)
    b_next = cuda.local.array(B_SHARE, real)
    a_first = cuda.local.array(A_SHARE, np.int64)  # where a thread's rows begin, or -1
    b_first = cuda.local.array(B_SHARE, np.int64)
    b_place = cuda.local.array((B_SHARE, 2), np.int32)
    left = cuda.local.array(DOWN, real)
    top = cuda.local.array(ACROSS, real)
    sums = cuda.local.array((DOWN, ACROSS), real)

    t = cuda.threadIdx.x & 255  # so that the compiler knows it isn't negative
    tiles = (rows + ROWS - 1) // ROWS
    row = np.int64(cuda.blockIdx.x) % tiles * ROWS
    column = np.int64(cuda.blockIdx.x) // tiles * COLUMNS
    group = cuda.blockIdx.y // parts
    part = cuda.blockIdx.y % parts
    last = min((part + 1) * size, depth)
    for e in range(A_SHARE):
        r = row + across(t + e * THREADS, A_ALONG, ROWS)
        a_first[e] = group * a_group + A_ROW(r, a_row, WINDOW, view)[0] if r < rows else -1
    for e in range(B_SHARE):
        c = column + across(t + e * THREADS, B_ALONG, COLUMNS)
        start, y, x = B_COLUMN(c, b_column, WINDOW, view)
        b_first[e] = group * b_group + start if c < columns else -1
        b_place[e, 0], b_place[e, 1] = y, x
    for i in range(DOWN):
        for j in range(ACROSS):
            sums[i, j] = 0

    half = 1
    for now in range(part * size - DEPTH, last, DEPTH):  # the first time only the next steps' numbers are fetched
        ahead = now + DEPTH
        for e in range(A_SHARE):
            k = ahead + along(t + e * THREADS, A_ALONG, ROWS)
            a_next[e] = 0
            if k < last and a_first[e] >= 0:
                a_next[e] = a[a_first[e] + A_STEP(k, a_step, WINDOW, view)[0]]
        for e in range(B_SHARE):
            k = ahead + along(t + e * THREADS, B_ALONG, COLUMNS)
            b_next[e] = 0
            if k < last and b_first[e] >= 0:
                start, y, x = B_STEP(k, b_step, WINDOW, view)
                i, there = LOOK(b_first[e] + start, b_place[e, 0] + y, b_place[e, 1] + x, GAP, view)
                if there:
                    b_next[e] = b[i]
        if ahead > part * size:
            for k in range(DEPTH):
                for i in range(DOWN):
                    left[i] = a_tile[half, k, own(i, t // 16, A_NEAR)]
                for j in range(ACROSS):
                    top[j] = b_tile[half, k, own(j, t % 16, B_NEAR)]
                for i in range(DOWN):
                    for j in range(ACROSS):
                        sums[i, j] += left[i] * top[j]
        half = 1 - half
        for e in range(A_SHARE):
            k, r = along(t + e * THREADS, A_ALONG, ROWS), across(t + e * THREADS, A_ALONG, ROWS)
            a_tile[half, k, r] = a_next[e]
        for e in range(B_SHARE):
            k, c = along(t + e * THREADS, B_ALONG, COLUMNS), across(t + e * THREADS, B_ALONG, COLUMNS)
            b_tile[half, k, c] = b_next[e]
        cuda.syncthreads()

    for j in range(ACROSS):
        c = column + own(j, t % 16, B_NEAR)
        start = group * out_group + part * out_part + OUT_COLUMN(c, out_column, WINDOW, view)[0]
        for i in range(DOWN):
            r = row + own(i, t // 16, A_NEAR)
            if r < rows and c < columns:
                total = sums[i, j]
                if ROW_BIAS and part == 0:
                    total += bias[group * rows + r]
                if COLUMN_BIAS and part == 0:
                    total += bias[c]
                out[start + r * out_row] = total


@device
def along(t, steps_first, side):
    """The step that thread t fetches, where numbers that lie side by side belong to steps or else to rows (columns)."""
    return t % DEPTH if steps_first else t // side


@device
def across(t, steps_first, side):
    """The row (column) of the tile whose number thread t fetches."""
    return t // DEPTH if steps_first else t % side


@device
def own(i, t, near):
    """Which row (column) of the tile is the i-th of a thread's own."""
    return i // near * 16 * near + t * near + i % near


# What a row, a column or a step means: where it begins in memory and, of an image, at which pixel


@device
def line(i, step, window, view):
    """The i-th of rows or columns of a matrix."""
    return i * step, 0, 0


@device
def channel(i, step, window, view):
    """A number of the kernels, counted as filters · places of the kernel, where filters lie `step` apart."""
    f, r = split(i, window[0] * window[1])
    return f * step + r, 0, 0


@device
def spot(i, step, window, view):
    """The i-th place in a batch of planes that lie `step` apart."""
    n, r = split(i, view[2] * view[3])
    return n * step + r, 0, 0


@device
def place(i, step, window, view):
    """What the kernel sees first at its i-th place in a batch of images that lie `step` apart."""
    n, r = split(i, view[2] * view[3])
    y, x = split(r, view[3])
    return n * step, y * view[4] + view[6], x * view[5] + view[7]


@device
def tap(i, step, window, view):
    """The i-th number under the kernel, counted as channels · places of the kernel; channels lie `step` apart."""
    c, r = split(i, window[0] * window[1])
    y, x = split(r, window[1])
    return c * step, y * view[8], x * view[9]


@device
def plainly(start, y, x, gap, view):
    """The position of a number of a matrix, and that it is there."""
    return start, True


@device
def inside(start, y, x, gap, view):
    """The position of pixel (y, x)/gap in the plane that begins at start, and whether it is there."""
    there = y >= 0 and x >= 0 and y % gap[0] == 0 and x % gap[1] == 0
    y, x = y // gap[0], x // gap[1]
    return start + y * view[1] + x, there and y < view[0] and x < view[1]


MATRICES = {"A_ROW": line, "A_STEP": line, "B_COLUMN": line, "B_STEP": line, "OUT_COLUMN": line, "LOOK": plainly}
FORWARD = {"A_ROW": line, "A_STEP": line, "B_COLUMN": place, "B_STEP": tap, "OUT_COLUMN": spot, "LOOK": inside}
TO_X = {"A_ROW": line, "A_STEP": channel, "B_COLUMN": place, "B_STEP": tap, "OUT_COLUMN": spot, "LOOK": inside}
TO_WEIGHT = {"A_ROW": line, "A_STEP": spot, "B_COLUMN": tap, "B_STEP": place, "OUT_COLUMN": line, "LOOK": inside}
KINDS = {"matrices": MATRICES, "forward": FORWARD, "to x": TO_X, "to weight": TO_WEIGHT}


def _side(n, most):
    """The side of tiles over n rows or columns: large ones load less, but more of the last may lie beyond the end."""
    return min([side for side in SIDES if side <= most], key=lambda side: -(-n // side) * (side + 16))


@lru_cache(maxsize=1024)
def _tiling(rows, columns, depth, count, most):
    """The sides of tiles, how many there are, and in how many parts to take the steps where that are too few."""
    for side in (side for side in SIDES if side <= most):
        sides = _side(rows, side), _side(columns, side)
        tiles = -(-rows // sides[0]) * -(-columns // sides[1])
        if tiles * count * max(1, depth // 1024) >= BUSY // 4:  # smaller tiles cost less than parts, if those are short
            break
    parts = max(1, min(BUSY // (tiles * count), depth // 128)) if tiles * count < BUSY // 4 else 1
    return sides, tiles, parts


@cache
def _product_kernel(dtype, kind, rows, columns, a_along, b_along, with_bias, window, gap):
    sides = {"ROWS": rows, "A_TILE": (2, DEPTH, rows + 4), "A_SHARE": rows * DEPTH // THREADS, "DOWN": rows // 16}
    sides |= {"COLUMNS": columns, "B_TILE": (2, DEPTH, columns + 4), "B_SHARE": columns * DEPTH // THREADS}
    sides |= {"ACROSS": columns // 16, "A_NEAR": min(4, rows // 16), "B_NEAR": min(4, columns // 16)}
    biases = {"ROW_BIAS": with_bias and kind != "matrices", "COLUMN_BIAS": with_bias and kind == "matrices"}
    how = {"A_ALONG": a_along, "B_ALONG": b_along, "WINDOW": window, "GAP": gap}
    return specialized(_product, dtype, **KINDS[kind], **sides, **biases, **how)


def _multiply(kind, a, b, bias, shape, sizes, steps, groups=(0, 0, 0), view=(), window=(), gap=(), along=(True, False)):
    """A product of `sizes` = rows, columns, depth and how many groups. Parts of the steps are added up afterwards."""
    rows, columns, depth, count = sizes
    sides, tiles, parts = _tiling(*sizes, SIDES[a.dtype.itemsize > 4])
    size = -(-depth // (parts * DEPTH)) * DEPTH
    out = _empty(a, parts, *shape)
    launch = _product_kernel(a.dtype, kind, *sides, *along, bias is not None, window, gap)
    numbers = (*steps, *groups, rows * columns * count, parts, size, *view)
    a, b, bias = _plain(a), _plain(b), _plain(a if bias is None else bias)  # a stands for one that isn't looked at
    launch((tiles, count * parts), a, b, bias, out, rows, columns, depth, numbers)
    return out[0] if parts == 1 else _sums(out.reshape(parts, -1, 1)).reshape(shape)


def matmul(a, b, bias=None):
    """a b + bias: (m, k), (k, n), (n,) or None -> (m, n), by tiles. Either may be a transposed view."""
    _fit(a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and _uniform(a, b, bias), a, b)
    _fit(bias is None or bias.shape == b.shape[1:], a, b)
    (m, k), n = a.shape, b.shape[1]
    if not m * n:
        return _empty(a, m, n)
    (a, *a_steps), (b, *b_steps) = _steps(a), _steps(b)
    steps, along = (*a_steps, *b_steps[::-1], n, 1), (a_steps[1] == 1, b_steps[0] == 1)
    return _multiply("matrices", a, b, bias, (m, n), (m, n, k, 1), steps, along=along)


def _steps(x):
    """A matrix as it lies in order in memory, and the steps there from row to row and from column to column."""
    if x.T.flags.c_contiguous and not x.flags.c_contiguous:
        return x.T, 1, x.shape[0]
    return _plain(x), x.shape[1], 1


def _affine(formula, x, weight, bias):
    _fit(x.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1]), x, weight)
    if not (x.size and weight.size and _uniform(x, weight, bias)) or x.size // x.shape[-1] * len(weight) >= MOST:
        return NotImplemented
    rows = x.reshape(-1, x.shape[-1])
    out = matmul(rows, weight.T, bias) if TILED else rows.dot(weight.T)
    if not TILED and bias is not None:
        add_bias = specialized(_add_bias, out.dtype, FORMULA=formula)
        add_bias(_blocks(out.size), _plain(bias), out, out.size, out.shape[1])
    elif formula is _positive:
        out = rectify(out)
    return out.reshape(*x.shape[:-1], len(weight))


def affine(x, weight, bias):
    return _affine(_itself, x, weight, bias)


def affine_relu(x, weight, bias):
    return _affine(_positive, x, weight, bias)


def affine_to_x(g, weight):
    _fit(g.shape[-1] == len(weight), g, weight)
    if not (TILED and g.size and weight.size and _uniform(g, weight)):
        return NotImplemented  # as cuBLAS does it, there is nothing to add
    return matmul(g.reshape(-1, g.shape[-1]), weight).reshape(*g.shape[:-1], weight.shape[1])


def affine_to_weight(g, x):
    _fit(g.shape[:-1] == x.shape[:-1], g, x)
    if not (TILED and g.size and x.size and _uniform(g, x)):
        return NotImplemented
    return matmul(g.reshape(-1, g.shape[-1]).T, x.reshape(-1, x.shape[-1]))


def _add_bias(bias, out, n, columns):
    """out[r, c] = FORMULA(out[r, c] + bias[c]).

    Grid: a thread for each number. Shared memory: none. Bytes: out is read and written, as must be.
    """
    i = cuda.grid(1)
    if i < n:
        out[i] = FORMULA(out[i] + bias[split(i, columns)[1]], out[i])


def convolve(x, weight, bias, stride, padding, dilation, groups):
    """NumPy's columns are what the gradient of the weights needs; here it needs x itself."""
    f, c, *kernel = weight.shape
    _fit(x.ndim == 4 and x.shape[1] == c * groups and f % groups == 0, x, weight)
    _fit(bias is None or bias.shape == (f,), x, weight)
    n, _, *size = x.shape
    places = _places(size, kernel, stride, padding, dilation)
    if not (x.size and weight.size and _uniform(x, weight, bias)) or _too_many(n, size, places, groups):
        return NotImplemented
    pixels, spots, taps = math.prod(size), math.prod(places), c * math.prod(kernel)
    sizes, steps = (f // groups, n * spots, taps, groups), (taps, 1, x.shape[1] * pixels, pixels, spots, f * spots)
    starts, view = (f // groups * taps, c * pixels, f // groups * spots), _view(size, places, stride, padding, dilation)
    out = _multiply("forward", weight, x, bias, (n, f, *places), sizes, steps, starts, view, tuple(kernel), (1, 1))
    return out, (x, stride, padding, dilation)


def convolve_to_x(g, weight, shape, stride, padding, dilation, groups):
    """A product for each pixel, with those of the kernel's places at which it was seen."""
    n, c, *size = shape
    f, k, *kernel = weight.shape
    places = _places(size, kernel, stride, padding, dilation)
    _fit(c == k * groups and f % groups == 0 and g.shape == (n, f, *places), g, weight)
    if not (g.size and weight.size and _uniform(g, weight)) or _too_many(n, size, places, groups):
        return NotImplemented
    pixels, spots, area = math.prod(size), math.prod(places), math.prod(kernel)
    sizes, steps = (k, n * pixels, f // groups * area, groups), (area, k * area, f * spots, spots, pixels, c * pixels)
    starts, view = (f // groups * k * area, f // groups * spots, k * pixels), (*places, *size, 1, 1, *padding)
    view = (*view, *(-d for d in dilation))
    return _multiply("to x", weight, g, None, shape, sizes, steps, starts, view, tuple(kernel), tuple(stride))


def convolve_to_weight(g, columns, shape, groups):
    """The steps are places."""
    if not isinstance(columns, tuple):
        return NotImplemented  # NumPy's function has made them
    x, stride, padding, dilation = columns
    f, c, *kernel = shape
    n, _, *size = x.shape
    places = _places(size, kernel, stride, padding, dilation)
    _fit(x.shape[1] == c * groups and f % groups == 0 and g.shape == (n, f, *places), g, x)
    if not (g.size and _uniform(g, x)):
        return NotImplemented
    pixels, spots, taps = math.prod(size), math.prod(places), c * math.prod(kernel)
    sizes, steps = (f // groups, taps, n * spots, groups), (spots, f * spots, pixels, x.shape[1] * pixels, taps, 1)
    starts, view = (f // groups * spots, c * pixels, f // groups * taps), _view(size, places, stride, padding, dilation)
    how = view, tuple(kernel), (1, 1), (True, True)
    return _multiply("to weight", g, x, None, shape, sizes, steps, starts, *how)


def _too_many(n, size, places, groups):
    """Whether there are more places, pixels or groups than a product counts."""
    return n * max(math.prod(size), math.prod(places)) >= MOST or groups >= 1 << 16


def _view(size, places, stride, padding, dilation):
    """How a kernel sees images, as `place`, `tap` and `inside` want it."""
    return (*size, *places, *stride, *(-p for p in padding), *dilation)


# Pooling: a thread for each result, which gathers what it needs


def _pool(x, out, n, sizes):
    """The largest, or the mean, of the numbers under the kernel at each of its places.

    Grid: a thread for each place of each plane. Shared memory: none. Bytes: x is read once for each place that sees it,
    mostly from the cache; x and out once each would be needed.
    """
    i = cuda.grid(1)
    if i < n:
        height, width, high, wide, top, left, down, over = sizes
        plane, r = split(i, high * wide)
        row, column = split(r, wide)
        row, column = row * STRIDE[0] - top, column * STRIDE[1] - left
        best = real(BEGIN)
        for k in range(KERNEL[0]):
            for m in range(KERNEL[1]):
                y, u = row + k * down, column + m * over
                if 0 <= y < height and 0 <= u < width:
                    best = MEET(best, x[(plane * height + y) * width + u])
        out[i] = best / real(SHARE)


def _pool_gradient(g, x, best, gradient, n, sizes):
    """Each pixel's sum, over the places of the kernel that see it, of what of g is its own.

    Grid: a thread for each pixel. Shared memory: none. Bytes: g and best are read once for each number under the
    kernel, and x again where a pixel may be the first of the largest; mostly from the cache. Once each would be needed.
    """
    i = cuda.grid(1)
    if i < n:
        height, width, high, wide, top, left, down, over = sizes
        plane, r = split(i, height * width)
        row, column = split(r, width)
        total = real(0)
        for k in range(KERNEL[0]):
            for m in range(KERNEL[1]):
                y, u = row + top - k * down, column + left - m * over  # of the place that sees the pixel there
                if y >= 0 and u >= 0 and y % STRIDE[0] == 0 and u % STRIDE[1] == 0:
                    y, u = y // STRIDE[0], u // STRIDE[1]
                    if y < high and u < wide:
                        w = (plane * high + y) * wide + u
                        if TAKES(i, k, m, x, best[w], row - k * down, column - m * over, KERNEL, sizes):
                            total += g[w]
        gradient[i] = total / real(SHARE)


@device
def _larger(best, value):
    return value if value > best or value != value else best


@device
def _plus(best, value):
    return best + value


@device
def _always(i, k, m, x, best, row, column, kernel, sizes):
    return True


@device
def _is_chosen(i, k, m, x, best, row, column, kernel, sizes):
    """Whether pixel i, number (k, m) under the kernel, is the first equal to the best or, if that is NaN, the last."""
    height, width = sizes[0], sizes[1]
    down, over = sizes[6], sizes[7]
    nan = best != best
    if (x[i] == x[i]) if nan else (x[i] != best):
        return False
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            y, u = row + a * down, column + b * over
            first = a < k or (a == k and b < m)
            last = a > k or (a == k and b > m)
            if (last if nan else first) and 0 <= y < height and 0 <= u < width:
                other = x[i + (a - k) * down * width + (b - m) * over]
                if other == best or (nan and other != other):
                    return False
    return True


def max_pool(x, kernel_size, stride, padding, dilation, ceil_mode):
    how = {"MEET": _larger, "BEGIN": -math.inf, "SHARE": 1}
    return _pooled(x, kernel_size, stride, padding, dilation, ceil_mode, **how)


def avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    if ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    how = {"MEET": _plus, "BEGIN": 0, "SHARE": divisor_override or math.prod(kernel_size)}
    return _pooled(x, kernel_size, stride, padding, (1, 1), False, **how)


def _pooled(x, kernel_size, stride, padding, dilation, ceil_mode, **how):
    places = _places(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    out = _empty(x, *x.shape[:2], *places)
    if not out.size or out.size >= MOST:
        return NotImplemented
    launch = specialized(_pool, x.dtype, KERNEL=tuple(kernel_size), STRIDE=tuple(stride), **how)
    launch(_blocks(out.size), _plain(x), out, out.size, (*x.shape[2:], *places, *padding, *dilation))
    return out


def max_pool_gradient(g, x, out, kernel_size, stride, padding, dilation, ceil_mode):
    _fit(g.shape == out.shape and g.shape[:2] == x.shape[:2], g, x, out)
    moves = (kernel_size, stride, padding, dilation, ceil_mode)
    return _shared_out(g, _plain(x), _plain(out), x.shape, *moves, 1, _is_chosen)


def avg_pool_gradient(g, shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    if ceil_mode or not count_include_pad and any(padding):
        return NotImplemented
    g, share = _plain(g), divisor_override or math.prod(kernel_size)
    return _shared_out(g, g, g, shape, kernel_size, stride, padding, (1, 1), False, share, _always)


def _shared_out(g, x, best, shape, kernel_size, stride, padding, dilation, ceil_mode, share, takes):
    places = _places(shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    _fit(g.shape == (*shape[:2], *places), g, x, best)
    gradient = _empty(g, *shape)
    if not gradient.size or gradient.size >= MOST or not _uniform(g, x, best):
        return NotImplemented
    how = {"KERNEL": tuple(kernel_size), "STRIDE": tuple(stride), "SHARE": share, "TAKES": takes}
    sizes = (*shape[2:], *places, *padding, *dilation)
    specialized(_pool_gradient, g.dtype, **how)(
        _blocks(gradient.size), _plain(g), x, best, gradient, gradient.size, sizes
    )
    return gradient


# Sums over all but the channels, and batch norm. An array is looked at as images · channels · pixels


def _add_up(x, g, mean, var, sums, one, two, images, channels, pixels, parts, eps):
    """For each channel the sums of the two TERMS of its numbers, in float64, and what FINISH makes of them.

    Grid: a block for LANES channels, or a part of them. With LANES = 32 (where a pixel is all there is) the threads of
    a warp meet numbers of neighbouring channels, else with LANES = 1 those of neighbouring pixels.
    A thread: every so many-th number of its channel. Shared memory: the sums of all threads, added up by halves.
    Bytes: each array once, as must be.
    """
    first = cuda.shared.array(THREADS, np.float64)
    second = cuda.shared.array(THREADS, np.float64)
    t = cuda.threadIdx.x & 255
    c = np.int64(cuda.blockIdx.x) * LANES + t % LANES
    a, b = 0.0, 0.0
    if c < channels:
        n, p = split(cuda.blockIdx.y * (THREADS // LANES) + t // LANES, pixels)
        images_on, pixels_on = split(parts * (THREADS // LANES), pixels)
        while n < images:
            i = (n * channels + c) * pixels + p
            more, too = TERMS(x, g, mean, i, c, c * pixels)
            a += more
            b += too
            n += images_on
            p += pixels_on
            if p >= pixels:
                p -= pixels
                n += 1
    first[t], second[t] = a, b
    cuda.syncthreads()
    half = THREADS // 2
    while half >= LANES:
        if t < half:
            first[t] += first[t + half]
            second[t] += second[t + half]
        cuda.syncthreads()
        half //= 2
    if t < LANES and c < channels:
        if parts == 1:
            one[c], two[c] = FINISH(first[t], second[t], x, var, c, c * pixels, images * pixels, eps)
        else:
            sums[(cuda.blockIdx.y * channels + c) * 2] = first[t]
            sums[(cuda.blockIdx.y * channels + c) * 2 + 1] = second[t]


def _add_up_parts(x, var, sums, one, two, images, channels, pixels, parts, eps):
    """The sums of all parts, always in the same order, and what FINISH makes of them.

    Grid: a thread for each channel. Shared memory: none. Bytes: the sums once, as must be.
    """
    c = cuda.grid(1)
    if c < channels:
        a, b = 0.0, 0.0
        for part in range(parts):
            a += sums[(part * channels + c) * 2]
            b += sums[(part * channels + c) * 2 + 1]
        one[c], two[c] = FINISH(a, b, x, var, c, c * pixels, images * pixels, eps)


@device
def _plain_term(x, g, mean, i, c, start):
    return np.float64(x[i]), 0.0


@device
def _from_first(x, g, mean, i, c, start):
    """How far a number is from the channel's first, and its square: of these, sums lose no digits."""
    d = np.float64(x[i]) - _start(x, start)
    return d, d * d


@device
def _start(x, start):
    first = np.float64(x[start])
    return first if first - first == 0 else 0.0  # where it is infinite or NaN


@device
def _times_centred(x, g, mean, i, c, start):
    return np.float64(g[i]), np.float64(g[i]) * (np.float64(x[i]) - np.float64(mean[c]))


@device
def _as_they_are(a, b, x, var, c, start, n, eps):
    return a, b


@device
def _as_moments(a, b, x, var, c, start, n, eps):
    """The mean and the variance."""
    variance = b / n - a / n * (a / n)
    return _start(x, start) + a / n, 0.0 if variance < 0 else variance


@device
def _as_scaled(a, b, x, var, c, start, n, eps):
    return a, b / math.sqrt(np.float64(var[c]) + eps)


def _both_sums(x, g, mean, var, eps, terms, finish):
    """What `finish` makes of the sums of both terms, over the dims 0 and 2 of x: (N, C, P) -> (C,) twice."""
    images, channels, pixels = x.shape
    lanes = 32 if pixels == 1 else 1
    parts = max(
        1, min(images * pixels * lanes // (16 * THREADS), 64)
    )  # a thread adds up about 16 numbers, if that will do
    sums = _empty(x, parts * channels * 2 if parts > 1 else 1, dtype=np.float64)
    one, two = out = _empty(x, 2, channels)
    size = images, channels, pixels, parts, eps
    add_up = specialized(_add_up, x.dtype, LANES=lanes, TERMS=terms, FINISH=finish)
    add_up((-(-channels // lanes), parts), x, g, mean, var, sums, one, two, *size)
    if parts > 1:
        specialized(_add_up_parts, x.dtype, FINISH=finish)(_blocks(channels), x, var, sums, one, two, *size)
    return out


def _sums(x):
    """(N, C, P) -> (C,)."""
    return _both_sums(x, x, x, x, 0.0, _plain_term, _as_they_are)[0]


def affine_to_bias(g):
    if not g.size:
        return NotImplemented
    return _sums(_plain(g).reshape(-1, g.shape[-1], 1))


def convolve_to_bias(g):
    _fit(g.ndim == 4, g)
    if not g.size or math.prod(g.shape[2:]) >= MOST:
        return NotImplemented
    return _sums(_plain(g).reshape(*g.shape[:2], -1))


def _normalized(x, weight, bias, mean, var, out, n, channels, pixels, eps):
    """weight·(x − mean)/√(var + ε) + bias of each number's channel.

    Grid: a thread for each number. Shared memory: none. Bytes: x and out once each, as must be.
    """
    i = cuda.grid(1)
    if i < n:
        c = split(split(i, pixels)[0], channels)[1]
        out[i] = (x[i] - mean[c]) * (weight[c] / real(math.sqrt(var[c] + real(eps)))) + bias[c]


def _normalized_gradient(g, x, weight, mean, var, to_bias, to_weight, out, n, channels, pixels, eps):
    """(g − mean g − x̂·mean(g·x̂))·weight/√(var + ε), where to_bias is Σg and to_weight Σg·x̂.

    Grid: a thread for each number. Shared memory: none. Bytes: g, x and out once each, as must be.
    """
    i = cuda.grid(1)
    if i < n:
        c = split(split(i, pixels)[0], channels)[1]
        count = real(n // channels)
        scale = real(1) / real(math.sqrt(var[c] + real(eps)))
        unit = (x[i] - mean[c]) * scale
        out[i] = (g[i] - to_bias[c] / count - unit * (to_weight[c] / count)) * (weight[c] * scale)


def _by_channel(x, *others):
    """Whether the others are a number for each channel, dim 1 of x."""
    channels = (1, *x.shape[1:2], *(1,) * (x.ndim - 2))
    return x.ndim > 1 and 0 < x.size < MOST and all(other.shape == channels for other in others)


def _over_the_rest(x, dim):
    return isinstance(dim, tuple) and sorted(dim) == [0, *range(2, x.ndim)]


def _as_planes(x):
    return _plain(x).reshape(*x.shape[:2], -1)


def _vectors(x, *others):
    return [_plain(other.astype(x.dtype, copy=False)) for other in others]


def moments(x, dim):
    if not _by_channel(x) or not _over_the_rest(x, dim):
        return NotImplemented
    x, shape = _as_planes(x), (1, x.shape[1], *(1,) * (x.ndim - 2))
    mean, var = _both_sums(x, x, x, x, 0.0, _from_first, _as_moments)
    return mean.reshape(shape), var.reshape(shape)


def normalized(x, weight, bias, mean, var, eps):
    if not _by_channel(x, weight, bias, mean, var):
        return NotImplemented
    planes, out = _as_planes(x), _empty(x, *x.shape)
    size = x.size, *planes.shape[1:], float(eps)
    specialized(_normalized, x.dtype)(_blocks(x.size), planes, *_vectors(x, weight, bias, mean, var), out, *size)
    return out


def normalized_gradient(g, x, weight, mean, var, eps, dim):
    if not _by_channel(x, weight, mean, var) or not _over_the_rest(x, dim):
        return NotImplemented
    _fit(g.shape == x.shape, g, x)
    if not _uniform(x, g):
        return NotImplemented
    g, planes, out = _as_planes(g), _as_planes(x), _empty(x, *x.shape)
    by, mean, var = _vectors(x, weight, mean, var)
    to_bias, to_weight = _both_sums(planes, g, mean, var, float(eps), _times_centred, _as_scaled)
    arrays = g, planes, by, mean, var, to_bias, to_weight, out
    specialized(_normalized_gradient, x.dtype)(_blocks(x.size), *arrays, x.size, *planes.shape[1:], float(eps))
    return out, to_weight.reshape(weight.shape), to_bias.reshape(weight.shape)


# Softmax with cross-entropy


def _nll(x, target, losses, probabilities, rows, columns):
    """−log softmax(x)[target] of each row, and softmax(x).

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. Shared memory: what each thread found,
    the largest or a sum, of which those of a row then take the largest or the sum by halves.
    Bytes: x is read three times, twice of them from the cache, and the probabilities written; once each is needed.
    """
    found = cuda.shared.array(THREADS, real)
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    begin, end = (row * columns, (row + 1) * columns) if row < rows else (0, 0)
    top = real(-math.inf)
    for i in range(begin + t % LANES, end, LANES):
        top = max(top, x[i])
    found[t] = top
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            found[t] = max(found[t], found[t + half])
        cuda.syncthreads()
        half //= 2
    top = found[t - t % LANES]
    cuda.syncthreads()
    total = real(0)
    for i in range(begin + t % LANES, end, LANES):
        total += math.exp(x[i] - top)
    found[t] = total
    cuda.syncthreads()
    half = LANES // 2
    while half:
        if t % LANES < half:
            found[t] += found[t + half]
        cuda.syncthreads()
        half //= 2
    total = found[t - t % LANES]
    for i in range(begin + t % LANES, end, LANES):
        probabilities[i] = math.exp(x[i] - top) / total
    if row < rows and t % LANES == 0:
        there = 0 <= target[row] < columns
        losses[row] = math.log(total) - (x[begin + target[row]] - top) if there else real(math.nan)


def _nll_gradient(g, probabilities, target, gradient, rows, columns):
    """g·(probabilities − 1 at the target) of each row.

    Grid: a block for 256/LANES rows. A thread: every LANES-th number of a row. Shared memory: none.
    Bytes: the probabilities and the gradient once each, as must be.
    """
    t = cuda.threadIdx.x & 255
    row = np.int64(cuda.blockIdx.x) * (THREADS // LANES) + t // LANES
    if row < rows:
        factor, chosen = g[row], row * columns + target[row]
        for i in range(row * columns + t % LANES, (row + 1) * columns, LANES):
            out = factor * probabilities[i]
            gradient[i] = out - factor if i == chosen else out


def _by_rows(kernel, x, *arguments):
    """Launch a kernel whose threads share rows of x: about one for eight numbers, and a power of two of them."""
    rows, columns = x.shape
    lanes = min(THREADS, 1 << ((columns - 1) // 8).bit_length())
    specialized(kernel, x.dtype, LANES=lanes)(_blocks(rows, THREADS // lanes), *arguments, rows, columns)


def nll(x, target):
    _fit(x.ndim == 2 and target.shape == x.shape[:1] and x.shape[1], x, target)
    if not x.size:
        return NotImplemented
    losses, probabilities = _empty(x, len(x)), _empty(x, *x.shape)
    target = _plain(target.astype(np.int64, copy=False))
    _by_rows(_nll, x, _plain(x), target, losses, probabilities)
    return losses, probabilities


def nll_gradient(g, probabilities, target):
    _fit(probabilities.ndim == 2 and g.shape == target.shape == probabilities.shape[:1], g, probabilities, target)
    if not (probabilities.size and _uniform(g, probabilities)):
        return NotImplemented
    gradient, target = _empty(g, *probabilities.shape), _plain(target.astype(np.int64, copy=False))
    _by_rows(_nll_gradient, probabilities, _plain(g), _plain(probabilities), target, gradient)
    return gradient


# Optimizers. Where a step has no use for one of its arrays, the gradient stands there, and is not looked at


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

    Grid: a block for 1024 numbers. A thread: 4 of them, 256 apart. Shared memory: what follows from t alone, which one
    thread works out for its block. Bytes: g is read, p, m, v and top are read and written once, as must be.
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
    once, as must be.
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
        root = math.sqrt(b) if b >= 0 else real(math.nan)  # the simulator's root of what is below 0 is an error
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
def _given(number):
    return number


@device
def _on_device(number):
    return number[0]


def _number(x):
    """A number for a kernel, or an array on the device that holds it; and how the kernel gets at it."""
    if isinstance(x, int | float | np.number):
        return float(x), _given
    return x.reshape(1), _on_device


def _step(kernel, p, g, state, numbers, items=1, **constants):
    """A kernel's step, which changes p and the arrays of its state; those that are None it doesn't look at.

    The first of the numbers, the learning rate and for some the count of steps, may be arrays on the device, so that a
    captured step can have others each time.
    """
    g = _plain(g)
    state = [g if x is None else x for x in state]
    _fit(all([x.shape == p.shape for x in (g, *state)]), p, g, *state)
    if not (p.size and _uniform(p, g, *state) and all([x.flags.c_contiguous for x in (p, *state)])):
        return NotImplemented
    launch = specialized(kernel, p.dtype, **constants)
    launch(_blocks(p.size, items * THREADS), p, g, *state, *numbers, p.size)


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
