"""The kernels of rung 5: compared with NumPy and PyTorch; arguments, threads, processes, memory and cache.

Most numbers are small integers. Their sums are exact even in float32, so that no tolerance hides a mistake.
"""

import hashlib
import inspect
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from .engines import torch_engine

kernels = pytest.mark.capability("compiled kernels")
threads = pytest.mark.capability("threads")
cache = pytest.mark.capability("compile cache")
dtypes = pytest.mark.parametrize("dtype", [np.dtype("float64"), np.dtype("float32")], ids=str)
MOSTLY_FLOAT32 = [np.dtype("float32"), pytest.param(np.dtype("float64"), marks=pytest.mark.whole)]

ROOT = Path(__file__).parent.parent
PARTS = (
    "ops",
    "pointwise",
    "activations",
    "conv",
    "pooling",
    *[f"optim.{kind}" for kind in ("sgd", "adam", "rmsprop", "adagrad", "adadelta")],
)
SIZES = [1, 2, 3, 5, 16, 17, 33]
HOLES = [np.nan, np.inf, -np.inf]


@pytest.fixture(scope="module", autouse=True)
def compiled(stage):
    """All functions that have a kernel of their name: name -> function."""
    if os.environ.get("GRADUAL_KERNELS") == "numpy":
        pytest.skip("not there: GRADUAL_KERNELS=numpy, so no kernel runs")
    return {name: function for name, function in counterparts(stage) if hasattr(stage.part("kernels_cpu"), name)}


def counterparts(stage):
    """The functions in whose place something compiled runs, with their names."""
    for part in PARTS:
        for name, function in vars(stage.part(part)).items():
            if inspect.isfunction(function) and hasattr(function, "numpy"):
                yield name, function


# Random arguments


@st.composite
def arrays(draw, shape, dtype, low=-2, high=3, holes=False, writable=False):
    """Integers from low up to, not including, high, anyhow in memory; with holes, a few are infinite or NaN.

    Hypothesis draws no more than a seed, an even one for the usual order in memory: each choice of its takes a while.
    """
    seed = draw(st.integers(0, 9999))
    rng = np.random.default_rng(seed)
    x = rng.integers(low, high, shape).astype(dtype)
    for hole in rng.choice(HOLES, rng.integers(4) if holes and x.size else 0):
        x[np.unravel_index(rng.integers(x.size), x.shape)] = hole
    return laid_out(x, rng, writable) if seed % 2 else x


def laid_out(x, rng, writable=False):
    """x with its dims in another order in memory, backwards, with gaps, misaligned, read-only, or one repeated."""
    dims = list(range(x.ndim))
    orders = dims, dims[:1] + dims[2:] + dims[1:2], rng.permutation(dims)  # the second has the channels last
    order = orders[rng.integers(3)]
    steps = rng.choice([1, 2, -1], x.ndim) if rng.integers(2) else np.ones(x.ndim, int)
    shift = rng.choice([0, 0, 0, x.itemsize, 1])
    room = [x.shape[i] * abs(steps[i]) for i in order]
    memory = np.zeros(math.prod(room) * x.itemsize + shift, np.uint8)[shift:].view(x.dtype).reshape(room)
    out = memory.transpose(np.argsort(order))[(*(slice(None, None, step) for step in steps), ...)]
    out[...] = x
    if not writable and rng.integers(2):
        out.flags.writeable = False
        dim = rng.integers(x.ndim + 1) - 1
        if dim >= 0 and x.shape[dim]:
            out = np.broadcast_to(out.take([0], dim), x.shape)
    return out


def pairs(*numbers):
    return st.tuples(st.sampled_from(numbers), st.sampled_from(numbers))


@st.composite
def elementwise(draw, dtype):
    """x and g of one shape, at times large enough for all threads."""
    shape = draw(st.lists(st.sampled_from([0, *SIZES]), max_size=4).filter(lambda shape: math.prod(shape) < 50_000))
    shape = draw(st.sampled_from([shape, (67, 5, 16, 17)]))
    return {name: draw(arrays(shape, dtype, holes=True)) for name in "xg"}


@st.composite
def layers(draw, dtype):
    """A linear layer's x, weight and bias, and g; at times with a product too large for a single thread."""
    inside, outside = draw(st.sampled_from([*SIZES, 64, 130])), draw(st.sampled_from([*SIZES, 64, 130]))
    rows = draw(st.sampled_from([(), (0,), (1,), (2, 3), (33,), (1_000_000 // (inside * outside) + 1,)]))
    holes = inside * outside > 1  # by a single 0 BLAS doesn't multiply, so NumPy gives 0 for ∞·0
    return {
        "x": draw(arrays((*rows, inside), dtype, holes=holes)),
        "weight": draw(arrays((outside, inside), dtype)),
        "bias": draw(st.none() | arrays((outside,), dtype)),
        "g": draw(arrays((*rows, outside), dtype, holes=holes)),
    }


@st.composite
def logits(draw, dtype):
    """Logits x, class indices and g, at times large enough for all threads."""
    n, classes = draw(st.sampled_from([0, 1, 2, 33, 2048])), draw(st.sampled_from(SIZES))
    integer = draw(st.sampled_from([np.int64, np.int32, np.uint8]))
    return {
        "x": draw(arrays((n, classes), dtype, low=-9, high=10, holes=True)),
        "target": draw(arrays((n,), integer, low=0, high=classes)),
        "g": draw(arrays((n,), dtype)),
    }


@st.composite
def norms(draw, dtype):
    """What a batch norm or a layer norm has; mean and variance may be any, as the formulas don't ask."""
    n, c, h = draw(st.sampled_from([1, 2, 7, 64])), draw(st.sampled_from(SIZES)), draw(st.sampled_from([1, 3, 8]))
    shape, dim, shared = draw(
        st.sampled_from(
            [
                ((n, c), (0,), (1, c)),
                ((n, c, h), (0, 2), (1, c, 1)),
                ((n, c, h, 5), (0, 2, 3), (1, c, 1, 1)),
                ((n, c), (-1,), (c,)),
                ((n, h, c), (-2, -1), (h, c)),
                ((0, 3, c), (-1,), (c,)),
            ]
        )
    )
    kept = [1 if i in dim or i - len(shape) in dim else size for i, size in enumerate(shape)]
    return {
        "x": draw(arrays(shape, dtype, holes=True)),
        "weight": draw(arrays(shared, dtype)),
        "bias": draw(arrays(shared, dtype)),
        "mean": draw(arrays(kept, dtype)),
        "var": draw(arrays(kept, dtype, low=1, high=4)),
        "g": draw(arrays(shape, dtype)),
        "eps": draw(st.sampled_from([1e-5, 0.1])),
        "dim": dim,
    }


@st.composite
def tables(draw, dtype):
    """x, g and something of their shape in (0, 1], at times large enough for all threads, and one of their dims."""
    shape = draw(st.lists(st.sampled_from([0, *SIZES]), min_size=1, max_size=4).filter(lambda s: math.prod(s) < 50_000))
    shape = draw(st.sampled_from([shape, (67, 5, 16, 17), (3, 300, 33), (40, 2, 300)]))
    x, g = (draw(arrays(shape, dtype, low=-9, high=10, holes=True)) for _ in "xg")
    out = draw(arrays(shape, dtype, low=1, high=5)) / 4
    return {"x": x, "g": g, "out": out.astype(dtype), "dim": draw(st.integers(-len(shape), len(shape) - 1))}


@st.composite
def products(draw, dtype):
    """Matrices, or batches of them, of which one may be one for all; at times with enough to do for all threads."""
    n, k, m = draw(st.tuples(*[st.sampled_from([*SIZES, 64, 130])] * 3))
    batch = draw(st.sampled_from([(), (1,), (2, 3), (0,), (500_000 // (n * k * m) + 1,)]))
    second = draw(st.sampled_from([batch, (), batch[1:]]))
    return {"x": draw(arrays((*batch, n, k), dtype, holes=True)), "y": draw(arrays((*second, k, m), dtype))}


@st.composite
def sums(draw, dtype):
    """Many numbers, and some of their dims."""
    shape, dim = draw(
        st.sampled_from(
            [((700, 33), (0,)), ((30, 20, 17), (0, 1)), ((300, 5, 16), (-3,)), ((40, 300), (1,)), ((9,), (0,))]
        )
    )
    return {"x": draw(arrays(shape, dtype)), "dim": dim, "keepdim": draw(st.booleans())}


IN_MEMORY = [  # ways in which the same integers are an index
    lambda index: index,
    lambda index: np.broadcast_to(index, index.shape),  # read-only
    lambda index: np.repeat(index, 2, axis=-1)[..., ::2],
    lambda index: index.astype(np.int16),
    lambda index: index.astype(">i8"),
]


@st.composite
def indexings(draw, dtype):
    """x, to parts of which g is added: an index with arrays of integers, or masks, before, between or after slices."""
    rng, every = np.random.default_rng(draw(st.integers(0, 9999))), slice(None)
    x = draw(arrays(draw(st.sampled_from([(5, 3, 4), (17, 40, 2), (300, 33, 2)])), dtype, writable=True))
    places = draw(st.sampled_from([(7,), (2, 3), (0,), (900,)]))
    in_memory = draw(st.sampled_from(IN_MEMORY))
    some = [in_memory(rng.integers(-n, n, places)) for n in x.shape]
    mask = rng.integers(0, 2, x.shape[1:]).astype(bool)
    index = draw(
        st.sampled_from(
            [(some[0], every, every), (every, some[1], every), (some[0], some[1], every), (some[0], every, some[2])]
            + [(every, some[1], some[2]), tuple(some), (every, mask), (some[0], some[1][..., :1], every)]
        )
    )
    return {"x": x, "index": index, "g": draw(arrays(x[index].shape, dtype))}


@st.composite
def masked(draw, dtype):
    """x, a mask that broadcasts to its shape, at times of its last dims, and a number or an array of one."""
    shape = draw(st.sampled_from([(5, 4, 20, 20), (67, 5, 16, 17), (1, 40_000), (3, 0)]))
    mask = draw(st.sampled_from([shape, shape[1:], shape[-1:], (1, *shape[1:]), (*shape[:-1], 1), (1, 1), ()]))
    value = draw(st.sampled_from([-np.inf, np.nan, 2, np.array(0.5), np.float64(1.5)]))
    return {"x": draw(arrays(shape, dtype, holes=True)), "mask": draw(arrays(mask, np.dtype(bool))), "value": value}


@st.composite
def windows(draw, dilation=(1, 2)):
    """A kernel, how it moves, an image size that it fits with a few places to spare, and how many there are."""
    kernel, stride, dilation = draw(pairs(1, 2, 3, 5)), draw(pairs(1, 2, 3)), draw(pairs(*dilation))
    padding = tuple(min(p, k // 2) for p, k in zip(draw(pairs(0, 1, 2)), kernel))  # PyTorch pools with no more
    reach = [d * (k - 1) + 1 - 2 * p for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(max(1, r) + more for r, more in zip(reach, draw(st.tuples(st.integers(0, 8), st.integers(0, 8)))))
    places = tuple((n - r) // s + 1 for n, r, s in zip(size, reach, stride))
    return kernel, {"stride": stride, "padding": padding, "dilation": dilation}, size, places


@st.composite
def convolutions(draw, dtype):
    """A convolution's x, weight and bias, and g."""
    kernel, sizes, size, places = draw(windows())
    groups, c, f = draw(
        st.tuples(st.just(1), st.sampled_from(SIZES), st.sampled_from(SIZES))
        | st.tuples(st.sampled_from([2, 3]), st.sampled_from([1, 3, 16]), st.sampled_from([1, 2, 5, 17]))
        | st.tuples(st.sampled_from([3, 16, 33]), st.just(1), st.sampled_from([1, 1, 2]))
    )
    n = draw(st.sampled_from([0, 1, 2, 5, 33]))
    return {
        "x": draw(arrays((n, groups * c, *size), dtype, holes=True)),
        "weight": draw(arrays((groups * f, c, *kernel), dtype)),
        "bias": draw(st.none() | arrays((groups * f,), dtype)),
        "g": draw(arrays((n, groups * f, *places), dtype, holes=True)),
        **sizes,
        "groups": groups,
    }


@st.composite
def poolings(draw, dtype, dilation=(1, 2)):
    """A pooling's x and g."""
    kernel, sizes, size, places = draw(windows(dilation))
    n, c = draw(st.sampled_from([0, 1, 2, 5, 33])), draw(st.sampled_from(SIZES))
    ceil_mode = draw(st.booleans())
    if ceil_mode:
        places = tuple(begins_within(*one) for one in zip(size, kernel, *sizes.values()))
    x, g = draw(arrays((n, c, *size), dtype, holes=True)), draw(arrays((n, c, *places), dtype))
    return {"x": x, "g": g, "kernel_size": kernel, **sizes, "ceil_mode": ceil_mode}


def begins_within(n, kernel, stride, padding, dilation):
    """How many places a kernel has in ceil mode: one after the other until all is seen, or it would begin behind n."""
    places = 1
    while (places - 1) * stride + dilation * (kernel - 1) + 1 < n + 2 * padding and places * stride < n + padding:
        places += 1
    return places


@st.composite
def means(draw, dtype):
    """An average pooling, which has no dilation."""
    arguments = draw(poolings(dtype, dilation=(1,)))
    del arguments["dilation"]
    divisor = draw(st.sampled_from([None, None, 3, -2]))
    return {**arguments, "count_include_pad": draw(st.booleans()), "divisor_override": divisor}


@st.composite
def steps(draw, dtype):
    """What a step of an optimizer has, at times large enough for all threads."""
    shape = draw(st.sampled_from([(), (0,), (1,), (17,), (3, 4), (33, 5, 3, 3), (130, 257)]))
    return {
        **{name: draw(arrays(shape, dtype, writable=True)) for name in ("p", "buffer", "m")},
        **{name: draw(arrays(shape, dtype, low=1, high=4, writable=True)) for name in ("v", "u", "top")},
        "g": draw(arrays(shape, dtype, holes=True)),
        "t": draw(st.integers(1, 1000)),
        "lr": draw(st.sampled_from([0.0, 0.1])),
        "momentum": draw(st.sampled_from([0.0, 0.9])),
        "dampening": draw(st.sampled_from([0.0, 0.3])),
        "betas": draw(st.sampled_from([(0.9, 0.999), (0.0, 0.5)])),
        "eps": 1e-3,
        "weight_decay": draw(st.sampled_from([0.0, 0.2])),
        "flag": draw(st.booleans()),
        "other": draw(st.booleans()),
    }


CHANGED = {"p", "buffer", "m", "v", "u", "top"}  # in place, by a step


def add_at(k, x, index, g):
    x = x.copy(order="K")
    k.add_at(x, index, g)
    return x


def sgd(k, p, g, buffer, lr, momentum, dampening, weight_decay, flag, **others):
    k.sgd(p, g, buffer if momentum else None, lr, momentum, dampening, weight_decay, flag)
    return p, buffer


def adam(k, p, g, m, v, top, t, lr, betas, eps, weight_decay, flag, other, **others):
    k.adam(p, g, m, v, top if other else None, t, lr, betas, eps, weight_decay, flag)
    return p, m, v, top


def rmsprop(k, p, g, m, v, buffer, lr, betas, eps, weight_decay, momentum, flag, **others):
    k.rmsprop(p, g, v, m if flag else None, buffer if momentum else None, lr, betas[1], eps, weight_decay, momentum)
    return p, v, m, buffer


def adagrad(k, p, g, v, t, lr, eps, weight_decay, dampening, **others):
    k.adagrad(p, g, v, t, lr, dampening, eps, weight_decay)
    return p, v


def adadelta(k, p, g, v, u, lr, betas, eps, weight_decay, **others):
    k.adadelta(p, g, v, u, lr, betas[0], eps, weight_decay)
    return p, v, u


class Row(NamedTuple):
    """A kernel: how its arguments are drawn, and what it makes of them, k being the kernels or what they stand for."""

    arguments: callable
    results: callable
    exact: bool = True  # with sums and products of small integers alone


def nll_gradient(k, x, target, g):
    return k.nll_gradient(g, x, target)  # for which x may be anything


def normalized(k, x, weight, bias, mean, var, eps, **others):
    return k.normalized(x, weight, bias, mean, var, eps)


def normalized_gradient(k, x, weight, bias, mean, var, g, eps, dim):
    return k.normalized_gradient(g, x, weight, mean, var, eps, dim)


def convolve_to_weight(k, x, weight, bias, g, **sizes):
    columns = k.convolve(x, weight, bias, *sizes.values())[1]
    return k.convolve_to_weight(g, columns, weight.shape, sizes["groups"])


KERNELS = {
    "rectify": Row(elementwise, lambda k, x, g: k.rectify(x)),
    "reshaped": Row(elementwise, lambda k, x, g: k.reshaped(x, x.size)),
    "rectify_gradient": Row(elementwise, lambda k, x, g: k.rectify_gradient(g, x)),
    "affine": Row(layers, lambda k, x, weight, bias, g: k.affine(x, weight, bias)),
    "affine_relu": Row(layers, lambda k, x, weight, bias, g: k.affine_relu(x, weight, bias)),
    "affine_to_x": Row(layers, lambda k, x, weight, bias, g: k.affine_to_x(g, weight)),
    "affine_to_weight": Row(layers, lambda k, x, weight, bias, g: k.affine_to_weight(g, x)),
    "affine_to_bias": Row(layers, lambda k, x, weight, bias, g: k.affine_to_bias(g)),
    "product": Row(products, lambda k, x, y: k.product(x, y)),
    "float64_total": Row(sums, lambda k, x, dim, keepdim: k.float64_total(x, dim, keepdim)),
    "add_at": Row(indexings, add_at),
    "filled": Row(masked, lambda k, x, mask, value: k.filled(x, mask, value)),
    "softmax_values": Row(tables, lambda k, x, dim, **others: k.softmax_values(x, dim), exact=False),
    "softmax_gradient": Row(tables, lambda k, g, out, dim, **others: k.softmax_gradient(g, out, dim), exact=False),
    "log_softmax_values": Row(tables, lambda k, x, dim, **others: k.log_softmax_values(x, dim), exact=False),
    "log_softmax_gradient": Row(
        tables, lambda k, g, out, dim, **others: k.log_softmax_gradient(g, out, dim), exact=False
    ),
    "nll": Row(logits, lambda k, x, target, g: k.nll(x, target), exact=False),
    "nll_gradient": Row(logits, nll_gradient),
    "moments": Row(norms, lambda k, x, dim, **others: k.moments(x, dim), exact=False),
    "normalized": Row(norms, normalized, exact=False),
    "normalized_gradient": Row(norms, normalized_gradient, exact=False),
    "convolve": Row(
        convolutions, lambda k, x, weight, bias, g, **sizes: k.convolve(x, weight, bias, *sizes.values())[0]
    ),
    "convolve_to_x": Row(
        convolutions, lambda k, x, weight, bias, g, **sizes: k.convolve_to_x(g, weight, x.shape, *sizes.values())
    ),
    "convolve_to_weight": Row(convolutions, convolve_to_weight),
    "convolve_to_bias": Row(convolutions, lambda k, g, **others: k.convolve_to_bias(g)),
    "max_pool": Row(poolings, lambda k, x, g, **sizes: k.max_pool(x, *sizes.values())),
    "max_pool_gradient": Row(
        poolings, lambda k, x, g, **sizes: k.max_pool_gradient(g, x, k.max_pool(x, *sizes.values()), *sizes.values())
    ),
    "max_pool_relu": Row(poolings, lambda k, x, g, **sizes: k.max_pool_relu(x, *sizes.values())),
    "max_pool_relu_gradient": Row(
        poolings,
        lambda k, x, g, **sizes: k.max_pool_relu_gradient(g, x, k.max_pool_relu(x, *sizes.values()), *sizes.values()),
    ),
    "avg_pool": Row(means, lambda k, x, g, **sizes: k.avg_pool(x, *sizes.values()), exact=False),
    "avg_pool_gradient": Row(
        means, lambda k, x, g, **sizes: k.avg_pool_gradient(g, x.shape, *sizes.values()), exact=False
    ),
    "sgd": Row(steps, sgd, exact=False),
    "adam": Row(steps, adam, exact=False),
    "rmsprop": Row(steps, rmsprop, exact=False),
    "adagrad": Row(steps, adagrad, exact=False),
    "adadelta": Row(steps, adadelta, exact=False),
}
every_kernel = pytest.mark.parametrize("name", KERNELS, scope="module")  # all of one in a row: none waits for its lock


# Beside NumPy


def results(name, functions, arguments):
    """What the functions make of the arguments, as a list of arrays."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing
        out = KERNELS[name].results(SimpleNamespace(**functions), **arguments)
    return list(out) if isinstance(out, tuple) else [out]


def bodies(compiled):
    """The functions that the kernels stand for."""
    return {name: function.numpy for name, function in compiled.items()}


def plain(arguments):
    """The arguments with copies of the arrays, in the usual order in memory."""
    return {name: np.array(x, order="C") if isinstance(x, np.ndarray) else x for name, x in arguments.items()}


def plain_arrays(given):
    return [np.array(x, order="C") for x in given]


def agree(got, wanted, exact=False):
    """AssertionError unless the arrays are the same, but for rounding: they were made of numbers about 1 in size."""
    assert [x.shape for x in got] == [x.shape for x in wanted]
    assert [x.dtype for x in got] == [x.dtype for x in wanted]
    for ours, theirs in zip(got, wanted):
        tolerance = 0 if exact else {4: 2e-5, 8: 1e-9}[theirs.itemsize]
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@kernels
def test_every_kernel_is_tested(compiled):
    assert compiled.keys() == KERNELS.keys()


@kernels
@every_kernel
def test_a_kernel_has_the_name_and_the_parameters_of_its_numpy_body(stage, compiled, name):
    body = compiled[name].numpy
    kernel = getattr(stage.part("kernels_cpu"), name)
    assert compiled[name].__name__ == kernel.__name__ == body.__name__ == name
    assert inspect.signature(compiled[name]) == inspect.signature(kernel) == inspect.signature(body)


@kernels
@every_kernel
@dtypes
@given(data=st.data())
def test_a_kernel_gives_what_its_numpy_body_gives(compiled, name, dtype, data):
    """And of its arguments it changes only what it is there to change."""
    arguments = data.draw(KERNELS[name].arguments(dtype))
    copies = plain(arguments)
    wanted = results(name, bodies(compiled), copies)
    agree(results(name, compiled, arguments), wanted, KERNELS[name].exact)
    for key, x in arguments.items():
        if isinstance(x, np.ndarray) and key not in CHANGED:
            np.testing.assert_array_equal(x, copies[key], err_msg=f"{key} was changed")


ELEMENTWISE = {  # the functions of one array, or of two, whose own text is compiled, and the numbers that follow
    **dict.fromkeys(("_exp", "_tanh", "_erf", "expit", "log_expit", "normal_cdf", "gelu_gradient"), ()),
    **dict.fromkeys(("error_function", "error_function_gradient", "gelu_values"), ()),
    **dict.fromkeys(("gelu_tanh_values", "gelu_tanh_gradient", "silu_values", "silu_gradient"), ()),
    **dict.fromkeys(("mish_values", "mish_gradient"), ()),
    **dict.fromkeys(("softplus_values", "softplus_gradient"), (0.5, 20.0)),
    **dict.fromkeys(("elu_values", "elu_gradient"), (1.5, 0.5, 2.0)),
}


@kernels
def test_every_elementwise_function_is_tested(stage, compiled):
    assert {name for name, _ in counterparts(stage)} == compiled.keys() | ELEMENTWISE.keys()


@kernels
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", MOSTLY_FLOAT32, ids=str)
@settings(max_examples=20)
@given(data=st.data())
def test_an_elementwise_function_gives_what_its_text_gives(stage, compiled, name, dtype, data):
    function = dict(counterparts(stage))[name]
    shape = data.draw(st.sampled_from([(2048,), (67, 5, 16, 17), (1, 3000), (0,), (5,), ()]))
    count = {"gelu_gradient": 3}.get(name, 2 if name.endswith("gradient") else 1)
    given = [data.draw(arrays(shape, dtype, low=-9, high=10, holes=True)) / dtype.type(3) for _ in range(count)]
    with np.errstate(all="ignore"):
        found = function(*given, *ELEMENTWISE[name]), function.numpy(*plain_arrays(given), *ELEMENTWISE[name])
        agree(*[list(out) if isinstance(out, tuple) else [out] for out in found])


@kernels
@pytest.mark.parametrize("name", ["exp", "exp_below_0", "expm1", "log1p", "tanh", "erf"])
@dtypes
def test_elementary_functions_are_exact_to_a_few_last_digits(stage, compiled, name, dtype):
    """From the least to the largest number that each is not constant for, beside mpmath's 40 digits."""
    mpmath = pytest.importorskip("mpmath")
    import numba

    function = stage.part("kernels_cpu.elementary").specialized(
        getattr(stage.part("kernels_cpu.elementary"), name), dtype
    )
    low, high = {
        "exp": (np.log(np.finfo(dtype).tiny), np.log(np.finfo(dtype).max)),
        "exp_below_0": (stage.part("kernels_cpu.elementary").NORMAL[dtype], 0),
        "expm1": (-40, np.log(np.finfo(dtype).max)),
        "log1p": (-1 + 2 * np.finfo(dtype).eps, 1e6),
    }.get(name, (-10, 10))
    rng = np.random.default_rng(0)
    x = [rng.uniform(low, high, 500) * 0.999, rng.uniform(-0.9, 0.9, 500), rng.uniform(-1, 1, 100) * 1e-5]
    x = np.concatenate(x).astype(dtype)

    @numba.njit
    def run(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    out, special = np.empty_like(x), np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e30, -1e30], dtype)
    special = -np.abs(special) if name == "exp_below_0" else special
    run(x, out)
    with mpmath.workdps(40), np.errstate(all="ignore"):
        exact = [getattr(mpmath, name.removesuffix("_below_0"))(mpmath.mpf(float(number))) for number in x]
        last_digits = np.array([np.spacing(np.abs(dtype.type(float(number)))) for number in exact], float)
        wrong = np.array([float(mpmath.mpf(float(ours)) - number) for ours, number in zip(out, exact)])
        assert np.abs(wrong / last_digits).max() < 4.5
        run(special, special)
        wanted = {
            "exp": [np.inf, 0, np.nan, 1, 1, np.inf, 0],
            "exp_below_0": [0, 0, np.nan, 1, 1, 0, 0],
            "expm1": [np.inf, -1, np.nan, 0.0, -0.0, np.inf, -1],
            "log1p": [np.inf, np.nan, np.nan, 0.0, -0.0, np.log(1e30), np.nan],
        }.get(name, [1, -1, np.nan, 0.0, -0.0, 1, -1])
    np.testing.assert_allclose(special, np.array(wanted, dtype), rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(np.signbit(special[3:5]), np.signbit(np.array(wanted[3:5])))


@kernels
@dtypes
@pytest.mark.parametrize(
    "m, k, n",
    [
        *[(40, 1700, 48), (40, 1700, 64), (1100, 1000, 32), (1100, 1000, 33), (20, 300, 200), (7, 1700, 16)],
        *[(65, 900, 9), (13, 129, 640), (40, 300, 1030), (700, 1300, 1056), (3, 162_401, 32)],
    ],
)
def test_large_products_are_exact(stage, dtype, m, k, n):
    """In chunks of k, blocks of rows or of columns, and with rows that are packed: the sums of integers are exact."""
    part = stage.part("kernels_cpu.matrix_product")
    rng = np.random.default_rng(0)
    a, b, bias = (rng.integers(-2, 3, shape).astype(dtype) for shape in ((m, k), (k, n), n))
    wanted = a @ b
    for x in (a, np.asfortranarray(a)):
        for y in (b, np.asfortranarray(b)):
            np.testing.assert_array_equal(part.multiply(x, y), wanted)
            np.testing.assert_array_equal(part.multiply(x, y, bias, 0.0), np.maximum(wanted + bias, 0))


@kernels
@dtypes
@pytest.mark.parametrize(
    "shape",
    [
        (-1,),
        (8, -1),
        (8, 8, -1),
        (8, 8, 256),
        (8, 8, 16, 16, 1),
        (2, 4, 2, 4, 32, 8),
        (64, 256),
        (8, 2048),
        (16, 4, 16, 16),
        (4, 2, 8, 16, 16),
    ],
)
def test_a_reshape_of_images_is_a_view_where_numpys_is(stage, dtype, shape):
    """Channels last, and so many numbers that the kernel copies them if they have to be copied."""
    x = np.arange(8 * 16 * 16 * 8).astype(dtype).reshape(8, 16, 16, 8).transpose(0, 3, 1, 2)
    wanted = x.reshape(shape)
    for out in (stage.part("ops").reshaped(x, *shape), stage.part("ops").reshaped(x, shape)):
        np.testing.assert_array_equal(out, wanted)
        assert np.shares_memory(out, x) == np.shares_memory(wanted, x)
    with pytest.raises(ValueError, match="cannot reshape"):
        stage.part("ops").reshaped(x, *shape, 3)


@kernels
@dtypes
def test_products_of_views_are_those_of_copies(stage, dtype):
    """Queries, keys and values that lie side by side; and the product with values lies in memory as they do."""
    multiply = stage.part("kernels_cpu.matrix_product").multiply
    joint = np.random.default_rng(0).integers(-2, 3, (3, 70, 240)).astype(dtype)
    q, k, v = (x.reshape(3, 70, 4, 20).transpose(0, 2, 1, 3) for x in np.split(joint, 3, axis=2))
    seen = q @ k.swapaxes(-1, -2)
    pairs = [(q, k.swapaxes(-1, -2)), (seen, v), (seen.swapaxes(-1, -2), v), (q.swapaxes(-1, -2), seen)]
    pairs += [
        (q[:, ::-1], k.swapaxes(-1, -2)),
        (seen[..., ::2], v[..., ::2, :]),
        (np.broadcast_to(q[:1], q.shape), seen[..., :20, :]),
    ]
    for a, b in pairs:
        np.testing.assert_array_equal(multiply(a, b), a @ b)
    assert multiply(seen, v).transpose(0, 2, 1, 3).flags.c_contiguous


@kernels
@dtypes
@pytest.mark.parametrize("steps, batch, k, n", [(9, 5, 24, 40), (30, 70, 900, 64), (40, 9, 33, 7)])
def test_products_of_rows_that_lie_in_another_order_are_those_of_copies(stage, dtype, steps, batch, k, n):
    """A sequence with the batch first, read step by step: neither factor is copied to bring its rows in order."""
    part, rng = stage.part("kernels_cpu.matrix_product"), np.random.default_rng(0)
    x, w, g = (rng.integers(-2, 3, shape).astype(dtype) for shape in ((batch, steps, k), (n, k), (steps * batch, n)))
    x = x.swapaxes(0, 1)
    assert part._regular(x, 0) is x
    np.testing.assert_array_equal(part.multiply(x, w.T, w[:, 0], 1.0), np.maximum(x @ w.T + w[:, 0], 1))
    np.testing.assert_array_equal(part.multiply(g.T, x), g.T @ x.reshape(-1, k))
    for other in (x[::-1], x[:, :, ::-1], np.asfortranarray(x), np.broadcast_to(x[:1], x.shape), x[:, ::2]):
        np.testing.assert_array_equal(part.multiply(other, w.T), other @ w.T)
        rows = g[: other.size // k].T
        np.testing.assert_array_equal(part.multiply(rows, other), rows @ other.reshape(-1, k))


@kernels
@every_kernel
@pytest.mark.parametrize("dtype", ["float16", np.dtype("float32").newbyteorder().str])
@settings(max_examples=10)
@given(data=st.data())
def test_other_dtypes_are_left_to_the_numpy_body(compiled, name, dtype, data):
    arguments = data.draw(KERNELS[name].arguments(np.dtype(dtype)))
    wanted = results(name, bodies(compiled), plain(arguments))
    agree(results(name, compiled, plain(arguments)), wanted, exact=True)


# Arguments that entry points reject or leave to NumPy


def outcome(name, functions, arguments):
    """The results, or the error: one of those that a Tensor's methods put the op and its inputs' shapes in front of."""
    try:
        return results(name, functions, arguments)
    except (ArithmeticError, IndexError, ValueError) as error:
        return error


@kernels
@every_kernel
@settings(max_examples=100 if os.environ.get("NUMBA_BOUNDSCHECK") == "1" else 20)  # more where more is noticed
@given(data=st.data())
def test_shapes_that_do_not_fit_are_refused(compiled, name, data):
    """One array has another shape: that is an error, unless NumPy too makes something of it, and the same."""
    arguments = plain(data.draw(KERNELS[name].arguments(np.dtype("float32"))))
    key = data.draw(st.sampled_from(sorted(key for key, x in arguments.items() if isinstance(x, np.ndarray))))
    arguments[key] = np.resize(arguments[key], data.draw(st.sampled_from(misfits(arguments[key].shape))))
    wanted, got = outcome(name, bodies(compiled), plain(arguments)), outcome(name, compiled, arguments)
    if isinstance(got, IndexError):  # a kernel's own would mean that it was about to leave its arrays
        assert "tuple" in str(got) or str(got) == str(wanted)
    elif isinstance(wanted, IndexError):
        pass  # a class that is none: see the next test
    elif isinstance(got, list) and any(x.size for x in got):
        assert isinstance(wanted, list), f"{key} of shape {arguments[key].shape} does not fit: {wanted}"
        agree(got, wanted)


def misfits(shape):
    """Shapes with one size changed by one, a dim less or a dim more."""
    changed = [(*shape[:i], n, *shape[i + 1 :]) for i in range(len(shape)) for n in (shape[i] - 1, shape[i] + 1)]
    return [new for new in (*changed, shape[1:], (2, *shape)) if min(new, default=0) >= 0 and new != shape]


@kernels
@pytest.mark.parametrize("target", [3, -4, 2**31, 2**62])
def test_a_class_that_is_none_has_no_loss(compiled, target):
    """What lies in memory beyond the logits is not looked at. (`cross_entropy` refuses such a class.)"""
    x, g, target = np.ones((2, 3), np.float32), np.ones(2, np.float32), np.array([0, target])
    losses, probabilities = compiled["nll"](x, target)
    np.testing.assert_array_equal(np.isnan(losses), [False, True])
    compiled["nll_gradient"](g, probabilities, target)


@kernels
@pytest.mark.parametrize(
    "index, shape",
    [(np.s_[:, [1, 2], :, [0, 2]], (2, 2, 4)), (np.s_[[0, 1],], (1, 330, 4, 3)), (np.s_[:, [[1, 2]]], (3,))],
    ids=["a slice between arrays", "one for all rows", "one of fewer dims"],
)
def test_what_is_added_at_an_index_has_numpys_order_of_dims_or_broadcasts(compiled, index, shape):
    x, index = np.zeros((2, 330, 4, 3)), tuple([np.array(item) if isinstance(item, list) else item for item in index])
    wanted, g = x.copy(), np.random.default_rng(0).random(shape)
    np.add.at(wanted, index, g)
    compiled["add_at"](x, index, g)
    np.testing.assert_array_equal(x, wanted)


@kernels
@dtypes
@pytest.mark.parametrize("index", [([1, 300],), ([-301, 1],), ([1, 2], [33, 1]), ([1, 2], [1, -34])], ids=str)
def test_an_index_out_of_range_is_an_error_and_adds_nothing(compiled, dtype, index):
    x, index = np.zeros((300, 33), dtype), tuple(map(np.array, index))
    with pytest.raises(IndexError, match=r"index (300|-301|33|-34) is out of bounds for axis . with size (300|33)"):
        compiled["add_at"](x, index, np.ones_like(x[:2] if len(index) == 1 else x[:2, 0]))
    assert not x.any()


# Beside PyTorch, through the public functions


def beside_pytorch(engine, theirs, ours, inputs, data):
    """AssertionError unless the output and all gradients are PyTorch's, however inputs and cotangent lie in memory."""
    torch, tensors = torch_engine().torch, []
    references = [torch.tensor(np.array(x, order="C"), requires_grad=True) for x in inputs]
    for x in inputs:
        tensors.append(engine.Tensor(x))
        tensors[-1].data = x  # as it lies in memory
    with np.errstate(all="ignore"):
        wanted, out = theirs(*references), ours(*tensors)
        cotangent = data.draw(arrays(out.shape, out.dtype))
        wanted.backward(torch.tensor(np.array(cotangent, order="C")))
        out.backward(cotangent)
    agree([out.data], [wanted.detach().numpy()])
    agree([x.grad for x in tensors], [x.grad.numpy() for x in references])


@kernels
@dtypes
@given(data=st.data())
def test_random_convolutions_are_pytorchs(engine, dtype, data):
    arguments = data.draw(convolutions(dtype))
    inputs = [arguments[name] for name in ("x", "weight", "bias") if arguments[name] is not None]
    sizes = {name: arguments[name] for name in ("stride", "padding", "dilation", "groups")}
    theirs, ours = (partial(conv2d, **sizes) for conv2d in (torch_engine().F.conv2d, engine.F.conv2d))
    beside_pytorch(engine, theirs, ours, inputs, data)


@kernels
@dtypes
@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # not asked for, but said with what is
@given(data=st.data())
def test_random_transposed_convolutions_are_pytorchs(engine, dtype, data):
    """Its input is what a convolution's output would be, so that x is as large as the output, or a bit larger."""
    arguments = data.draw(convolutions(dtype))
    x, weight, g = (arguments[name] for name in ("x", "weight", "g"))
    sizes = {name: arguments[name] for name in ("stride", "padding", "dilation", "groups")}
    geometry = zip(g.shape[2:], weight.shape[2:], *[sizes[name] for name in ("stride", "padding", "dilation")])
    least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in geometry]
    assume(min(least) > 0)
    sizes["output_padding"] = tuple(n - m for n, m in zip(x.shape[2:], least))
    bias = [data.draw(arrays((x.shape[1],), dtype))] if data.draw(st.booleans()) else []
    functions = torch_engine().F.conv_transpose2d, engine.F.conv_transpose2d
    theirs, ours = (partial(function, **sizes) for function in functions)
    with torch_engine().torch.backends.mkldnn.flags(enabled=False):  # which takes no products with padding: inf · 0
        beside_pytorch(engine, theirs, ours, [g, weight, *bias], data)


@kernels
@dtypes
@pytest.mark.parametrize("name, arguments", [("max_pool2d", poolings), ("avg_pool2d", means)])
@given(data=st.data())
def test_random_poolings_are_pytorchs(engine, name, arguments, dtype, data):
    arguments = data.draw(arguments(dtype))
    x, _, *sizes = arguments.values()
    # PyTorch writes outside its memory where all that a kernel sees is padding (1 pixel between 2 dilated places)
    assume(all(n >= step for n, step in zip(x.shape[2:], arguments.get("dilation", (1, 1)))))
    theirs, ours = getattr(torch_engine().F, name), getattr(engine.F, name)
    beside_pytorch(engine, lambda x: theirs(x, *sizes), lambda x: ours(x, *sizes), [x], data)


@kernels
@dtypes
@given(data=st.data())
def test_random_batch_norms_are_pytorchs(engine, dtype, data):
    c = data.draw(st.sampled_from(SIZES))
    rest = data.draw(st.sampled_from([(), (1,), (3,), (1, 1), (5, 3), (8, 8)]))
    n = data.draw(st.sampled_from([1, 2, 7, 33]).filter(lambda n: n * math.prod(rest) > 1))
    x = data.draw(arrays((n, c, *rest), dtype, holes=True))
    weight, bias = (data.draw(arrays((c,), dtype)) for _ in range(2))

    def normed_by(engine):
        return lambda x, weight, bias: engine.F.batch_norm(x, None, None, weight, bias, training=True)

    beside_pytorch(engine, normed_by(torch_engine()), normed_by(engine), [x, weight, bias], data)


@kernels
@pytest.mark.parametrize("batch, m, n", [((), 200, 16), ((), 16, 200), ((3,), 200, 16)])
def test_a_product_goes_into_an_array_whichever_way_its_factors_lie(stage, batch, m, n):
    multiply = stage.part("kernels_cpu.matrix_product").multiply
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((*batch, m, 300), (*batch, 300, n)))
    across = [x.swapaxes(-1, -2).copy().swapaxes(-1, -2) for x in (a, b)]
    for first, second in product((a, across[0]), (b, across[1])):
        out = np.zeros((*batch, m, n), np.float32)
        assert multiply(first, second, out=out) is out
        np.testing.assert_array_equal(out, a @ b)


@kernels
def test_a_gradient_of_another_dtype_is_taken(engine):
    """`backward` takes any array: one of float64 for a float32 network gives its float32 gradients."""
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-2, 3, (2, 3, 9, 9)).astype("float32"), rng.integers(-2, 3, (5, 3, 3, 3)).astype("float32")
    gradients = []
    for dtype in ("float32", "float64"):
        tensors = engine.Tensor(x), engine.Tensor(weight)
        out = engine.F.max_pool2d(engine.F.conv2d(*tensors).relu(), 2)
        out.backward(np.ones(out.shape, dtype))
        gradients.append([tensor.grad for tensor in tensors])
    agree(gradients[1], gradients[0], exact=True)


# In threads and processes


def network(package):
    """A small CNN with a layer of each kind, always the same one."""
    nn = package.nn
    package.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 17, 3, padding=1, bias=False),
        nn.BatchNorm2d(17),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(17 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def train(package, model, steps=5):
    """The losses of so many steps, and all weights after them as one array."""
    rng, losses = np.random.default_rng(0), []
    optimizer = package.optim.Adam(model.parameters())
    for _ in range(steps):
        images, labels = rng.standard_normal((64, 1, 28, 28), np.float32), rng.integers(0, 10, 64)
        loss = package.nn.functional.cross_entropy(model(package.Tensor(images, requires_grad=False)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, np.concatenate([p.data.ravel() for p in model.parameters()])


def digest(weights):
    """A text that is the same only for the same bits."""
    return hashlib.sha256(weights.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(stage):
    """What `train` gives on the compiled kernels."""
    return train(stage.package, network(stage.package))


def run(stage, code, folder=None, **environment):
    """The program's output, and what it said besides, in a process of its own that finds the rung in the folder."""
    place = Path(folder or Path(stage.package.__file__).parent.parent)
    names = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)]), **environment}
    names = {name: value for name, value in names.items() if value is not None}
    code = f"import numpy as np, os, sys\nimport {stage.name} as package\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=names, cwd=place, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


TRAIN = """
from shared_tests.test_kernels import digest, network, train
losses, weights = train(package, network(package))
"""


@threads
def test_the_same_seed_gives_the_same_bits(stage, trained):
    _, weights = train(stage.package, network(stage.package))
    np.testing.assert_array_equal(weights, trained[1])


@pytest.fixture(scope="module")
def elsewhere(stage):
    """Number of threads, as a text -> what training gives in a process of its own that has so many, and its pools.

    NumPy's pools are looked at before, Numba's after the kernels ran.
    """
    before = 'import threadpoolctl\npools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()'
    before += ' if pool["user_api"] == "blas"}'
    after = """
import importlib, numba
def loads(layer):
    try:
        return bool(importlib.import_module(f"numba.np.ufunc.{layer}"))
    except ImportError:
        return False
better = loads("tbbpool") or loads("omppool")
print(dict(losses=losses, digest=digest(weights), pools=pools, better=better, layer=numba.threading_layer()))
"""
    return lru_cache(lambda n: SimpleNamespace(**eval(run(stage, before + TRAIN + after, NUMBA_NUM_THREADS=n)[0])))


@threads
def test_another_process_gives_the_same_bits(trained, elsewhere):
    assert elsewhere(os.environ.get("NUMBA_NUM_THREADS")).digest == digest(trained[1])


@threads
@pytest.mark.parametrize("n", ["1", "3"])
def test_any_number_of_threads_gives_the_same_losses(trained, elsewhere, n):
    assert elsewhere(n).losses == pytest.approx(trained[0], rel=1e-4)


@threads
def test_numbas_number_of_threads_is_obeyed(stage, elsewhere):
    code = "import numba\nnumba.set_num_threads(1)" + TRAIN + "print([losses, digest(weights)])"
    out, _ = run(stage, code, NUMBA_NUM_THREADS="3")
    assert eval(out) == [elsewhere("1").losses, elsewhere("1").digest]


@threads
@pytest.mark.parametrize(
    "environment, n",
    [
        ({"NUMBA_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, 2),
    ],
    ids=str,
)
def test_the_environments_number_of_threads_is_obeyed(stage, environment, n):
    environment = {"NUMBA_NUM_THREADS": None, "OMP_NUM_THREADS": None, **environment}
    out, _ = run(stage, "import numba\nprint(numba.get_num_threads())", **environment)
    assert out == str(n)


@threads
def test_there_is_one_pool_of_threads_and_it_is_no_workqueue(elsewhere):
    """NumPy's own pool has one thread; kernels run on TBB's or OpenMP's wherever Numba can load one of them."""
    there = elsewhere("2")
    assert there.pools <= {1}
    assert there.layer in ("tbb", "omp", "workqueue")
    assert there.layer != "workqueue" or not there.better


def square(t, threads, x, out):
    """A kernel that wants no number below 0."""
    for i in range(t * x.size // threads, (t + 1) * x.size // threads):
        if x[i] < 0:
            raise ValueError("a number below 0")
        out[i] = x[i] * x[i]


@threads
@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_error_in_a_thread_is_raised(stage, n):
    """Without one each thread does its part, also when there are more than Numba has, which keeps its number."""
    import numba

    there = numba.get_num_threads()
    kernel, x = stage.part("kernels_cpu.threads").parallel(square), np.arange(12.0)
    for _ in range(2):
        out = np.zeros(12)
        kernel(n, x, out)
        np.testing.assert_array_equal(out, x**2)
    assert numba.get_num_threads() == there
    x[9] = -1
    with pytest.raises(ValueError, match="a number below 0"):
        kernel(n, x, out)


@threads
def test_several_python_threads_at_once_give_the_same_bits(stage, trained):
    models = [network(stage.package) for _ in range(4)]
    with ThreadPoolExecutor(len(models)) as pool:
        results = list(pool.map(lambda model: train(stage.package, model), models))
    for _, weights in results:
        np.testing.assert_array_equal(weights, trained[1])


@threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("n", ["1", "2"])
def test_a_fork_works_after_kernels_ran(stage, trained, n):
    """And in the parent again after the child."""
    code = """
sys.stdout.flush()
child = os.fork()
again, _ = train(package, network(package))
os.write(1, f"{again}\\n".encode())  # at once: the other process writes too
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""
    out, _ = run(stage, TRAIN + code, NUMBA_NUM_THREADS=n)
    assert len(out.splitlines()) == 2
    for losses in out.splitlines():
        assert eval(losses) == pytest.approx(trained[0], rel=1e-4)


# Without kernels


@kernels
def test_numpys_functions_can_be_chosen(stage, trained):
    """They are functions that a debugger steps through; Numba isn't even imported."""
    code = """
print([name for name in ("numba", package.__name__ + ".kernels_cpu") if name in sys.modules])
print([f.__code__.co_filename.endswith("ops.py") for f in (package.ops.rectify, package.ops.affine)])
print(losses)
"""
    modules, plain, losses = run(stage, TRAIN + code, GRADUAL_KERNELS="numpy")[0].splitlines()
    assert (modules, plain) == ("[]", "[True, True]")
    assert eval(losses) == pytest.approx(trained[0], rel=1e-4)


@kernels
def test_with_numba_disabled_numpys_functions_run(stage, trained):
    losses = run(stage, TRAIN + "print(losses)", NUMBA_DISABLE_JIT="1")[0]
    assert eval(losses) == pytest.approx(trained[0], rel=1e-4)


@kernels
@pytest.mark.parametrize("threads", ["abc", "0", "-2", ""])
def test_an_environment_that_makes_no_sense_is_ignored_with_a_sentence(stage, threads):
    code = "import numba\nprint(hasattr(package.ops.rectify, 'numpy'), numba.get_num_threads() > 0)"
    out, said = run(stage, code, GRADUAL_KERNELS="fortran", NUMBA_NUM_THREADS=threads, OMP_NUM_THREADS=None)
    assert out == "True True"
    sentences = re.findall(r"UserWarning: (.*)", said)
    assert sentences == [
        "GRADUAL_KERNELS: wanted 'compiled' or 'numpy', got 'fortran', which is ignored",
        f"NUMBA_NUM_THREADS: wanted a number from 1 to 999, got {threads!r}, which is ignored",
    ]


# In memory


@kernels
def test_memory_is_reused(stage):
    """After a few steps 100 more need no more memory, nor do they ask the system for it anew each time."""
    pytest.importorskip("resource", reason="this system has no resource module")
    code = """
import resource
from shared_tests.test_kernels import network, train
usage = lambda: resource.getrusage(resource.RUSAGE_SELF)
model = network(package)
train(package, model, steps=20)
before = usage()
train(package, model, steps=100)
after = usage()
print((after.ru_maxrss - before.ru_maxrss) * (1 if sys.platform == "darwin" else 1024))
print((after.ru_minflt - before.ru_minflt) * resource.getpagesize())
"""
    growth, fresh = map(int, run(stage, code)[0].split())
    assert growth <= 1 << 20
    assert fresh <= 100 << 20  # a MiB a step; its activations and gradients have 20


@kernels
def test_outputs_that_are_kept_do_not_change(stage):
    package, rng = stage.package, np.random.default_rng(0)
    model, kept = network(package), []
    for _ in range(10):
        x = package.Tensor(rng.standard_normal((64, 1, 28, 28), np.float32))
        out = model[0](x)
        out.relu().sum().backward()
        for tensor in (out, model[0].weight.grad, x.grad, x.grad[1:, :, ::2]):
            kept.append((tensor.numpy(), tensor.numpy().copy()))
        train(package, model, steps=1)
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)


FADING = [("SGD", {"momentum": 0.5}), ("Adam", {"betas": (0.5, 0.5)})]
FADING += [("RMSprop", {"alpha": 0.5, "momentum": 0.5, "centered": True}), ("Adadelta", {"rho": 0.5})]


@kernels
@dtypes
@pytest.mark.parametrize("kind, options", FADING)
def test_denormal_moments_become_zero(stage, kind, options, dtype):
    """And never one of the tiny numbers that processors are slow with."""
    p = stage.package.Tensor(np.ones(2000, dtype))
    optimizer = getattr(stage.part("optim"), kind)([p], lr=0.1, **options)
    tiny = np.finfo(dtype).tiny
    for step in range(2000):
        p.grad = np.logspace(0, math.log10(tiny), 2000, dtype=dtype) * (step == 0)
        optimizer.step()
        state = [x.numpy() for name, x in optimizer.state[p].items() if name != "step"]
        for x in state:
            assert not ((x != 0) & (abs(x) < tiny)).any()
    assert not any(x.any() for x in state)


# In the cache


@pytest.fixture
def copy(stage, tmp_path):
    """A folder with a copy of the rung that has one more kernel: a new file, which uses a function of another."""
    folder = Path(stage.package.__file__).parent
    copy = shutil.copytree(folder, tmp_path / "here" / stage.name, ignore=shutil.ignore_patterns("__pycache__"))
    with open(copy / "kernels_cpu" / "registers.py", "a") as file:
        file.write("\n\nfrom numba import njit\n\n\n@njit\ndef factor():\n    return 2.0\n")
    text = "from .jit import jit\nfrom .registers import factor\n\n__all__ = ['twice']\n\n\n@jit\ndef twice(x):\n"
    (copy / "kernels_cpu" / "doubling.py").write_text(text + "    return factor() * x\n")
    return copy


@pytest.fixture
def result(stage, copy, tmp_path):
    """What that kernel makes of 1 in a new process, and what it says besides."""
    user = str(tmp_path / "user")
    places = dict.fromkeys(("HOME", "LOCALAPPDATA", "USERPROFILE", "XDG_CACHE_HOME"), user)
    code = "from stage5_fast.kernels_cpu import twice\nprint(twice(1.0))".replace("stage5_fast", stage.name)
    return lambda: run(stage, code, copy.parent, **places, NUMBA_CACHE_DIR=None, PYTHONDONTWRITEBYTECODE="1")


@cache
def test_a_first_run_says_that_it_compiles_and_a_second_need_not(result):
    out, said = result()
    assert out == "2.0"
    assert "compil" in said
    assert result() == ("2.0", "")


@cache
def test_ctrl_c_waits_until_a_kernel_is_compiled(stage):
    """An exception in one of LLVM's callbacks would be ignored, and the kernel would lack its code."""
    from numba.core.event import trigger_event

    kernel = SimpleNamespace(py_func=SimpleNamespace(__module__=stage.part("kernels_cpu.jit").PACKAGE, __name__="it"))
    before, compiled = signal.signal(signal.SIGINT, signal.default_int_handler), False
    try:
        with pytest.raises(KeyboardInterrupt), trigger_event("numba:compile", {"dispatcher": kernel}):
            signal.raise_signal(signal.SIGINT)
            compiled = True
        assert compiled
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@cache
def test_an_edit_of_any_kernel_file_is_noticed(copy, result):
    """Also of one that the kernel's own file imports from, which Numba's cache doesn't look at."""
    assert result()[0] == "2.0"
    file = copy / "kernels_cpu" / "registers.py"
    text = file.read_text()
    file.write_text(text.replace("return 2.0", "return 3.0"))
    assert result()[0] == "3.0"


@cache
@pytest.mark.skipif(os.name != "posix", reason="this system has no lock that ends with its process")
def test_processes_that_want_a_kernel_at_once_compile_it_once(result):
    with ThreadPoolExecutor(3) as pool:
        outs, said = zip(*pool.map(lambda _: result(), range(3)))
    assert outs == ("2.0",) * 3
    assert sum("compil" in each for each in said) == 1


@cache
def test_a_package_that_cannot_be_written_to_has_its_cache_in_the_users_folder(copy, result, tmp_path):
    (copy / "kernels_cpu" / "__pycache__").touch()  # no folder: nobody, not even root, can write into it
    out, said = result()
    assert out == "2.0"
    assert "compil" in said
    assert list((tmp_path / "user").rglob("*.nbi"))
    assert result() == ("2.0", "")


@cache
def test_without_any_place_for_a_cache_kernels_are_compiled_each_time(copy, result, tmp_path):
    (copy / "kernels_cpu" / "__pycache__").touch()
    (tmp_path / "user").touch()
    for _ in range(2):
        out, said = result()
        assert out == "2.0"
        assert "compil" in said
