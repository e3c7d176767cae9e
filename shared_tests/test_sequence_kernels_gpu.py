"""The CUDA kernels of rung 6 beside the NumPy functions that they stand for, on a GPU or in Numba's simulator of one.

As test_kernels_gpu.py; `nox -s simulator` runs both.
"""

import inspect

import numpy as np
import pytest

from .test_kernels import misfits
from .test_kernels_gpu import LAYOUTS, dtypes, gpu, laid, launched, strict  # noqa: F401 - fixtures

pytestmark = pytest.mark.capability("kernels of sequences")

ATTENTION = ["attend", "attend_gradient"]
RECURRENT = ["rnn_states", "rnn_gradient", "lstm_states", "lstm_gradient", "gru_states", "gru_gradient"]
SHAPES = [  # heads, queries, keys, numbers of a query and of a value, causal
    ((), 1, 1, 1, 1, False),
    ((2,), 3, 5, 4, 3, False),
    ((2, 1), 7, 7, 3, 5, True),
    ((1,), 5, 3, 2, 2, True),  # the last queries see all keys
    ((1,), 3, 5, 2, 2, True),  # the last keys are seen by none
    ((1,), 70, 70, 2, 1, True),  # more than a tile
    ((1,), 258, 65, 1, 2, False),  # more than a block of queries,
    ((1,), 2, 258, 2, 1, False),  # and of keys
]


@pytest.fixture
def functions(stage):
    attention, recurrent = stage.part("attention"), stage.part("recurrent")
    return {name: getattr(recurrent, name, getattr(attention, name, None)) for name in ATTENTION + RECURRENT}


def drawn(heads, rows, keys, size, values, dtype):
    """q, k, v and a gradient."""
    rng = np.random.default_rng(rows + keys)
    return [
        rng.normal(size=(*heads, *s)).astype(dtype)
        for s in ((rows, size), (keys, size), (keys, values), (rows, values))
    ]


def near(ours, theirs, dtype):
    for mine, their in zip(ours, theirs, strict=True):
        assert mine.shape == their.shape and mine.dtype == dtype
        tolerance = 2e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(mine, their, rtol=tolerance, atol=tolerance)


@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_is_that_of_its_numpy_functions(gpu, functions, launched, shape, dtype):  # noqa: F811
    *sizes, causal = shape
    q, k, v, g = drawn(*sizes, dtype)
    there = [gpu.asarray(laid(x, layout)) for x, layout in zip((q, k, v, g), LAYOUTS)]
    settings = None, causal, 0.5
    out, lse = functions["attend"].numpy(q, k, v, *settings)
    ours = gpu.kernels.attend(*there[:3], *settings)
    near([gpu.host(x) for x in ours], (out, lse), dtype)
    wanted = functions["attend_gradient"].numpy(g, q, k, v, out, lse, *settings)
    ours = gpu.kernels.attend_gradient(there[3], *there[:3], *map(gpu.asarray, (out, lse)), *settings)
    near([gpu.host(x) for x in ours], wanted, dtype)
    assert launched == {"_attend", "_to_queries", "_to_keys"}


def test_infinite_scores_weigh_as_in_numpy(gpu, functions):  # noqa: F811
    q, k, v, _ = drawn((1,), 3, 4, 1, 2, np.float32)
    q[:], k[0, 0], k[0, 2] = 1, -np.inf, -np.inf
    for causal in (False, True):  # the first query then sees a score of -inf alone, and its output is 0
        with np.errstate(divide="ignore"):
            wanted = functions["attend"].numpy(q, k, v, None, causal, 1.0)
        near(
            [gpu.host(x) for x in gpu.kernels.attend(*map(gpu.asarray, (q, k, v)), None, causal, 1.0)],
            wanted,
            np.float32,
        )


def test_a_mask_and_long_rows_are_left_to_numpys_functions(gpu):  # noqa: F811
    q, k, v, _ = map(gpu.asarray, drawn((1,), 3, 3, 2, 2, np.float32))
    assert gpu.kernels.attend(q, k, v, gpu.asarray(np.ones((3, 3), bool)), False, 1.0) is NotImplemented
    wide = gpu.asarray(np.ones((1, 3, 129), np.float32))
    assert gpu.kernels.attend(wide, wide, v, None, False, 1.0) is NotImplemented


def test_arrays_that_do_not_fit_are_refused_before_a_kernel_runs(gpu, launched):  # noqa: F811
    q, k, v, _ = map(gpu.asarray, drawn((1,), 3, 5, 2, 2, np.float32))
    for wrong in ((q, k[..., :1], v), (q, k, v[:, :4]), (q[0], k, v)):
        with pytest.raises(ValueError):
            gpu.kernels.attend(*wrong, None, False, 1.0)
    assert not launched


# Recurrent layers


def recurrence(name, steps, batch, n, dtype, flag):
    """The arguments of a function of recurrent layers, by name; flag: with ReLU, or without a bias."""
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[name.partition("_")[0]]
    rng, kept = np.random.default_rng(steps + n), (steps + 1, batch, n)
    shapes = {"shares": (steps, batch, gates * n), "h": (batch, n), "c": (batch, n), "weight": (gates * n, n)}
    shapes |= {"g": kept if name == "lstm_gradient" else (steps, batch, n), "states": kept, "cells": kept}
    shapes |= {"gates": (steps, batch, 4 * n), "bias": (gates * n,)}
    drawn = {key: rng.normal(size=shape).astype(dtype) for key, shape in shapes.items()}
    drawn["weight"] /= dtype.type(np.sqrt(n))
    drawn |= {"relu": flag, "bias": None if flag else drawn["bias"]}
    if flag:
        drawn["states"] = np.maximum(drawn["states"], 0)  # some are 0, as ReLU's are
    return {
        "rnn_states": lambda shares, h, weight, relu, **_: [shares, h, weight, relu],
        "rnn_gradient": lambda g, states, weight, relu, **_: [g, states, weight, relu],
        "lstm_states": lambda shares, h, c, weight, **_: [shares, h, c, weight],
        "lstm_gradient": lambda g, cells, gates, weight, **_: [g, cells, gates, weight],
        "gru_states": lambda shares, h, weight, bias, **_: [shares, h, weight, bias],
        "gru_gradient": lambda g, states, gates, weight, **_: [g, states, gates, weight],
    }[name](**drawn)


def there(gpu, arguments):  # noqa: F811
    """The arguments on the device, where their arrays lie in many ways."""
    layouts = iter(LAYOUTS * 2)
    return [gpu.asarray(laid(x.copy(), next(layouts))) if isinstance(x, np.ndarray) else x for x in arguments]


def tupled(x):
    return x if isinstance(x, tuple) else (x,)


@pytest.fixture(params=[False, True])
def tiled(gpu, request, monkeypatch):  # noqa: F811
    """Whether products are this package's, as in a captured step, or else cuBLAS's."""
    monkeypatch.setattr(gpu.kernels.matrix_product, "TILED", request.param)
    return request.param


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 5), (2, 7, 40)], ids=str)  # the last: two blocks
@pytest.mark.parametrize("name", RECURRENT)
@dtypes
def test_a_recurrent_layer_is_that_of_its_numpy_functions(gpu, functions, launched, tiled, name, sizes, dtype, flag):  # noqa: F811
    if tiled and gpu.simulated and sizes != (3, 2, 5):
        pytest.skip("a product of one size is enough for the simulator, which takes long")
    arguments = recurrence(name, *sizes, dtype, flag)
    wanted = tupled(functions[name].numpy(*arguments))
    moved = there(gpu, arguments)
    copies = [gpu.host(x).copy() if hasattr(x, "dtype") else x for x in moved]
    near([gpu.host(x) for x in tupled(getattr(gpu.kernels, name)(*moved))], wanted, dtype)
    for x, copy in zip(moved, copies):
        if hasattr(x, "dtype"):
            np.testing.assert_array_equal(gpu.host(x), copy)  # arguments aren't changed
    step = {"rnn": "_map", "lstm": "_lstm_step", "gru": "_gru_step"}[name.partition("_")[0]]
    assert launched == {step + "_gradient" * ("gradient" in name and step != "_map"), *["_gemm"] * tiled}


@pytest.mark.parametrize("name", RECURRENT)
def test_gates_of_large_numbers_are_those_of_numpy(gpu, functions, name):  # noqa: F811
    """Where e to the power of a number, or of its opposite, is none."""
    shares, *others = recurrence(name, 2, 3, 4, np.dtype("float32"), False)
    arguments = [shares * 1000, *others]
    with np.errstate(all="ignore"):
        wanted = tupled(functions[name].numpy(*arguments))
    for mine, their in zip(tupled(getattr(gpu.kernels, name)(*there(gpu, arguments))), wanted, strict=True):
        np.testing.assert_allclose(gpu.host(mine), their, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", RECURRENT)
def test_other_arguments_of_recurrent_layers_are_refused_or_left_to_numpys_functions(gpu, functions, launched, name):  # noqa: F811
    arguments, refused = recurrence(name, 2, 3, 4, np.dtype("float32"), False), 0
    for i, x in enumerate(arguments):
        if not isinstance(x, np.ndarray):
            continue
        other = [*arguments[:i], x.astype(np.float64), *arguments[i + 1 :]]
        assert getattr(gpu.kernels, name)(*there(gpu, other)) is NotImplemented
        for shape in misfits(x.shape):
            changed = [*arguments[:i], np.resize(x, shape), *arguments[i + 1 :]]
            try:
                functions[name].numpy(*changed)
            except (IndexError, ValueError):
                with pytest.raises((IndexError, ValueError)):
                    getattr(gpu.kernels, name)(*there(gpu, changed))
                refused += 1
    nothing = recurrence(name, 2, 0, 4, np.dtype("float32"), False)
    assert getattr(gpu.kernels, name)(*there(gpu, nothing)) is NotImplemented
    assert refused > 5


def test_every_kernel_for_sequences_takes_part(gpu):  # noqa: F811
    """None is left over that the tests above don't name."""
    found = {
        name
        for part in ("attention", "recurrent")
        for name, f in vars(getattr(gpu.kernels, part)).items()
        if "Grid:" in (inspect.getdoc(f) or "")
    }
    steps = {"_lstm_step", "_lstm_step_gradient", "_gru_step", "_gru_step_gradient"}
    assert found == {"_attend", "_to_queries", "_to_keys"} | steps
