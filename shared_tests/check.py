"""How a case is checked: run on PyTorch and on the engine with the same numbers, and compared in everything."""

from functools import lru_cache
from itertools import combinations

import numpy as np

from .engines import torch_engine

# float64 has room for 1e-9 with every op here. float32 rounds each op to 6e-8, and the longest sums of the cases have
# some hundred terms: 2e-5 relative, plus as much of the array's largest number as cancellation can cost.
RELATIVE = {"float64": 1e-9, "float32": 2e-5}
OF_LARGEST = {"float64": 1e-13, "float32": 2e-6}


@lru_cache(maxsize=4096)
def expected(case, dtype):
    """What PyTorch gives: name -> array."""
    return case.observe(torch_engine(), dtype)


def check(case, engine, dtype="float64"):
    """AssertionError where the engine's output or one of its gradients is not PyTorch's, with the name of the case."""
    wanted, got = expected(case, dtype), case.observe(engine, dtype)
    assert got.keys() == wanted.keys(), f"{case.name}: {sorted(got)} instead of {sorted(wanted)}"
    for name in wanted:
        compare(f"{case.name}: {name}", got[name], wanted[name])
    for one, other in combinations([name for name in got if name.startswith("gradient")], 2):
        shared = np.shares_memory(got[one], got[other])
        assert not shared, (
            f"{case.name}: the {one} and the {other} are in the same memory: an update of one changes both"
        )


def compare(name, got, wanted):
    """AssertionError unless the two arrays agree in shape, dtype and, as far as the dtype allows, in every number."""
    assert got.shape == wanted.shape, f"{name} has shape {got.shape}, wanted {wanted.shape}"
    assert got.dtype == wanted.dtype, f"{name} has dtype {got.dtype}, wanted {wanted.dtype}"
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted, err_msg=name)
        return
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
    rounding = OF_LARGEST[wanted.dtype.name] * largest + np.finfo(wanted.dtype).tiny
    np.testing.assert_allclose(got, wanted, rtol=RELATIVE[wanted.dtype.name], atol=rounding, err_msg=name)
