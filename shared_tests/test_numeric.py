"""Gradients against central differences: independent of PyTorch, which shares a mistake of the suite's less easily."""

import numpy as np
import pytest

from .cases import CASES

SMOOTH = [
    pytest.param(case, marks=pytest.mark.capability(case.capability), id=f"{case.capability}: {case.name}")
    for case in CASES
    if case.smooth
]


@pytest.mark.host
@pytest.mark.parametrize("case", SMOOTH)
def test_gradients_are_the_slopes_of_the_function(case, engine):
    check_slopes(case, engine)


def check_slopes(case, engine, step=1e-5):
    """AssertionError unless each gradient of Σ(out·cotangent) is its central difference.

    A central difference errs by step² times the third derivative, and by 1e-16/step from rounding: about 1e-10 here.
    """
    arrays = case.arrays(engine)

    def loss():
        out = np.array(engine.value(case.run(engine, arrays)[0]))
        return float((out * case.cotangent(out)).sum())

    out, tensors = case.run(engine, arrays)
    engine.backward(out, case.cotangent(np.array(engine.value(out))))
    for name, tensor in tensors.items():
        array, slopes = arrays[name], np.zeros_like(arrays[name])
        for place in np.ndindex(array.shape):
            x = array[place]
            array[place] = x + step
            above = loss()
            array[place] = x - step
            slopes[place] = (above - loss()) / (2 * step)
            array[place] = x
        np.testing.assert_allclose(engine.grad(tensor), slopes, rtol=1e-6, atol=1e-7, err_msg=f"{case.name}: {name}")
