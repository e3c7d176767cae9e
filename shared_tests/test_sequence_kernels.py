"""The kernels of rung 6, beside NumPy, as test_kernels.py has those of rung 5."""

import inspect
import os

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from . import test_kernels
from .test_kernels import Row, agree, arrays, bodies, dtypes, misfits, outcome, plain, results

kernels = pytest.mark.capability("kernels of sequences")
SIZES = [1, 2, 5, 16, 17, 32, 33]


@pytest.fixture(scope="module", autouse=True)
def compiled(stage):
    """All functions that have a kernel of their name: name -> function."""
    if os.environ.get("GRADUAL_KERNELS") == "numpy":
        pytest.skip("not there: GRADUAL_KERNELS=numpy, so no kernel runs")
    rooms = [vars(stage.part(room)) for room in ("attention", "recurrent")]
    functions = {name: function for room in rooms for name, function in room.items() if hasattr(function, "numpy")}
    return {
        name: f
        for name, f in functions.items()
        if f.__module__ in (f"{stage.name}.attention", f"{stage.name}.recurrent")
    }


@pytest.fixture(scope="module", autouse=True)
def rows():
    """Let the helpers of test_kernels.py find the rows of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_kernels, "KERNELS", KERNELS)
        yield


@st.composite
def attentions(draw, dtype):
    """Queries, keys, values and g, at times of more than one tile and for all threads, and at times a mask."""
    batch = draw(st.sampled_from([(), (1,), (2, 3), (5,)]))
    queries, keys = draw(st.sampled_from([(1, 1), (5, 7), (33, 2), (70, 140), (1, 130), (140, 70)]))
    size, values = draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))
    shapes = {"q": (queries, size), "k": (keys, size), "v": (keys, values), "g": (queries, values)}
    numbers = {name: draw(arrays((*batch, *shape), dtype, low=-1, high=2)) for name, shape in shapes.items()}
    kind = draw(st.sampled_from(["none", "causal", "booleans", "numbers", "keys alone"]))
    mask = None
    if kind not in ("none", "causal"):
        rng = np.random.default_rng(draw(st.integers(0, 9999)))
        shape = (*draw(st.sampled_from([batch, (1,) * len(batch), ()])), 1 if kind == "keys alone" else queries, keys)
        seen = rng.integers(0, 3, shape) > 0
        mask = seen if kind == "booleans" else np.where(seen, rng.integers(-2, 3, shape), -np.inf).astype(dtype)
        mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys))
    return {**numbers, "mask": mask, "causal": kind == "causal", "scale": draw(st.sampled_from([1.0, 0.25]))}


def attend(kernels, q, k, v, mask, causal, scale, g):
    return kernels.attend(q, k, v, mask, causal, scale)


def attend_back(kernels, q, k, v, mask, causal, scale, g):
    """From numbers of the size of outputs, which need not be those of q, k and v, as the formula doesn't ask."""
    out, lse = g / 2, np.log(q.dtype.type(k.shape[-2])) + np.abs(q).sum(-1, keepdims=True)
    return kernels.attend_gradient(g, q, k, v, out.astype(q.dtype), lse.astype(q.dtype), mask, causal, scale)


@st.composite
def recurrences(draw, dtype, gates, kept):
    """What a layer works with, of numbers up to 1 in size, so that many steps don't make them large."""
    steps, batch, n = (
        draw(st.sampled_from([1, 2, 5])),
        draw(st.sampled_from([1, 2, 7, 33])),
        draw(st.sampled_from(SIZES)),
    )
    shapes = {
        "shares": (steps, batch, gates * n),
        "h": (batch, n),
        "c": (batch, n),
        "weight": (gates * n, n),
        "bias": (gates * n,),
        "g": (steps + (kept == "cells"), batch, n),
        "states": (steps + 1, batch, n),
        "gates": (steps, batch, 4 * n),
    }
    out = {name: (draw(arrays(shape, dtype)) / 4).astype(dtype) for name, shape in shapes.items()}
    out["weight"] = (out["weight"] / n).astype(dtype)
    out["bias"] = out["bias"] if draw(st.booleans()) else None
    return {**out, "relu": draw(st.booleans())}


def of(gates, kept=None):
    return lambda dtype: recurrences(dtype, gates, kept)


KERNELS = {
    "attend": Row(attentions, attend, exact=False),
    "attend_gradient": Row(attentions, attend_back, exact=False),
    "rnn_states": Row(of(1), lambda k, shares, h, weight, relu, **_: k.rnn_states(shares, h, weight, relu), False),
    "rnn_gradient": Row(of(1), lambda k, g, states, weight, relu, **_: k.rnn_gradient(g, states, weight, relu), False),
    "lstm_states": Row(of(4), lambda k, shares, h, c, weight, **_: k.lstm_states(shares, h, c, weight), False),
    "lstm_gradient": Row(
        of(4, "cells"), lambda k, g, states, gates, weight, **_: k.lstm_gradient(g, states, gates, weight), False
    ),
    "gru_states": Row(of(3), lambda k, shares, h, weight, bias, **_: k.gru_states(shares, h, weight, bias), False),
    "gru_gradient": Row(
        of(3), lambda k, g, states, gates, weight, **_: k.gru_gradient(g, states, gates, weight), False
    ),
}
every_kernel = pytest.mark.parametrize("name", KERNELS, scope="module")  # all of one in a row: none waits for its lock


@kernels
def test_every_kernel_is_tested(compiled):
    assert compiled.keys() == KERNELS.keys()


@kernels
@every_kernel
def test_a_kernel_has_the_name_and_the_parameters_of_its_numpy_body(stage, compiled, name):
    kernel, body = getattr(stage.part("kernels_cpu"), name), compiled[name].numpy
    assert compiled[name].__name__ == kernel.__name__ == body.__name__ == name
    assert inspect.signature(compiled[name]) == inspect.signature(kernel) == inspect.signature(body)


@kernels
@every_kernel
@dtypes
@settings(max_examples=40)
@given(data=st.data())
def test_a_kernel_gives_what_its_numpy_body_gives(compiled, name, dtype, data):
    """And changes none of its arguments."""
    arguments = data.draw(KERNELS[name].arguments(dtype))
    copies = plain(arguments)
    wanted = results(name, bodies(compiled), copies)
    agree(results(name, compiled, arguments), wanted)
    for key, x in arguments.items():
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, copies[key], err_msg=f"{key} was changed")


@kernels
def test_attention_copies_no_heads_that_lie_side_by_side(stage, compiled, monkeypatch):
    """As those of one layer's output; what it gives lies as the next layer reads it."""
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 70, 3 * 64), "f4").reshape(3, 70, 3, 2, 32).transpose(2, 0, 3, 1, 4)
    g = rng.standard_normal((3, 70, 2, 32), "f4").swapaxes(1, 2)
    copied = lambda x: x if x.flags.c_contiguous else pytest.fail(f"{x.shape} is copied")  # noqa: E731
    monkeypatch.setattr(stage.part("kernels_cpu.attention"), "contiguous", copied)
    out, lse = compiled["attend"](q, k, v, None, True, 0.2)
    found = compiled["attend_gradient"](g, q, k, v, out, lse, None, True, 0.2)
    assert out.swapaxes(1, 2).flags.c_contiguous
    wanted = compiled["attend"].numpy(q, k, v, None, True, 0.2)
    agree([out, lse, *found], [*wanted, *compiled["attend_gradient"].numpy(g, q, k, v, *wanted, None, True, 0.2)])


@kernels
@every_kernel
@settings(max_examples=5)
@given(data=st.data())
def test_other_dtypes_are_left_to_the_numpy_body(compiled, name, data):
    arguments = data.draw(KERNELS[name].arguments(np.dtype("float16")))
    wanted = results(name, bodies(compiled), plain(arguments))
    agree_in_halves(results(name, compiled, plain(arguments)), wanted)


def agree_in_halves(got, wanted):
    for ours, theirs in zip(got, wanted):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@kernels
@every_kernel
@settings(max_examples=100 if os.environ.get("NUMBA_BOUNDSCHECK") == "1" else 20)  # more where more is noticed
@given(data=st.data())
def test_shapes_that_do_not_fit_are_refused(compiled, name, data):
    """One array has another shape: that is an error, unless NumPy too makes something of it, and the same."""
    arguments = plain(data.draw(KERNELS[name].arguments(np.dtype("float32"))))
    used = [key for key, x in arguments.items() if isinstance(x, np.ndarray)]
    key = data.draw(st.sampled_from(sorted(used)))
    arguments[key] = np.resize(arguments[key], data.draw(st.sampled_from(misfits(arguments[key].shape))))
    wanted, got = outcome(name, bodies(compiled), plain(arguments)), outcome(name, compiled, arguments)
    if isinstance(got, list) and any(x.size for x in got):
        assert isinstance(wanted, list), f"{key} of shape {arguments[key].shape} does not fit: {wanted}"
        agree(got, wanted)


@kernels
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@dtypes
def test_numbers_that_are_none_reach_what_they_would_in_numpy(compiled, special, dtype):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 40, 8)).astype(dtype) for _ in "qkv")
    q[0, 3, 2] = k[1, 5, 1] = v[0, 7, 0] = special
    with np.errstate(all="ignore"):
        for causal in (False, True):
            got, wanted = (f(q, k, v, None, causal, 0.5) for f in (compiled["attend"], compiled["attend"].numpy))
            agree([np.isfinite(got[0])], [np.isfinite(wanted[0])], exact=True)
        shares, h, c = (rng.standard_normal(shape).astype(dtype) for shape in ((3, 2, 16), (2, 4), (2, 4)))
        weight = rng.standard_normal((16, 4)).astype(dtype)
        shares[1, 0, 3] = special
        for got, wanted in zip(
            compiled["lstm_states"](shares, h, c, weight), compiled["lstm_states"].numpy(shares, h, c, weight)
        ):
            np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)
