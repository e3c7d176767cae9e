"""Gradients against central differences: independent of PyTorch, which shares a mistake of the suite's less easily.

On the rung where a case arrives: its gradients are the same on those above, as each is compared with PyTorch.
"""

import numpy as np
import pytest

from .cases import CASES

SMOOTH = [
    pytest.param(case, marks=pytest.mark.capability(case.capability), id=f"{case.capability}: {case.name}")
    for case in CASES
    if case.smooth
]


@pytest.mark.host
@pytest.mark.once
@pytest.mark.parametrize("case", SMOOTH)
def test_gradients_are_the_slopes_of_the_function(case, engine):
    check_slopes(case, engine)


def check_slopes(case, engine, step=1e-5):
    """AssertionError unless each gradient of Σ(out·cotangent) has the central differences along some directions.

    They are random, so that a wrong number anywhere in a gradient shows along each of them, of which many tensors have
    one each; few numbers are gone through one by one. A central difference errs by step² times the third derivative,
    and by 1e-16/step from rounding: about 1e-10 here.
    """
    arrays = case.arrays(engine)

    def loss():
        out = np.array(engine.value(case.run(engine, arrays)[0]))
        return float((out * case.cotangent(out)).sum())

    out, tensors = case.run(engine, arrays)
    engine.backward(out, case.cotangent(np.array(engine.value(out))))
    rng, count = np.random.default_rng(0), 4 if len(tensors) <= 4 else 1
    for name, tensor in tensors.items():
        array, gradient = arrays[name], engine.grad(tensor)
        assert gradient.shape == array.shape, f"{case.name}: {name}"
        directions = np.eye(array.size) if array.size <= count else rng.standard_normal((count, array.size))
        x = array.copy()
        for direction in directions:
            direction = (direction / np.linalg.norm(direction)).reshape(array.shape)
            array[...] = x + step * direction
            above = loss()
            array[...] = x - step * direction
            slope, wanted = (gradient * direction).sum(), (above - loss()) / (2 * step)
            np.testing.assert_allclose(slope, wanted, rtol=1e-6, atol=1e-7, err_msg=f"{case.name}: {name}")
        array[...] = x
