"""The CUDA kernels of rung 6 beside the NumPy functions that they stand for, on a GPU or in Numba's simulator of one.

As test_kernels_gpu.py; `nox -s simulator` runs both.
"""

import numpy as np
import pytest

from .test_kernels_gpu import LAYOUTS, dtypes, gpu, laid, launched, strict  # noqa: F401 - fixtures

pytestmark = pytest.mark.capability("kernels of sequences")

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
    attention = stage.part("attention")
    return {name: getattr(attention, name) for name in ("attend", "attend_gradient")}


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
