"""The error function, which NumPy has not: to the last digits, against Python's own."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from .engines import ScalarEngine

capability = pytest.mark.capability

NUMBERS = np.concatenate([np.linspace(-6, 6, 24001), np.logspace(-300, 1, 2000), -np.logspace(-300, 1, 2000)])


@capability("trigonometry and powers")
@pytest.mark.parametrize("name", ["erf", "erfc"])
@pytest.mark.parametrize("dtype, digits", [("float64", 1e-15), ("float32", 1e-6)])
def test_the_error_function_is_right_to_the_last_digits(name, dtype, digits, engine):
    if isinstance(engine, ScalarEngine):
        pytest.skip("not there: its tensors hold one number")
    x = NUMBERS[np.abs(NUMBERS) > np.finfo(dtype).tiny].astype(dtype)
    wanted = np.array([getattr(math, name)(number) for number in x])
    got = engine.value(getattr(engine.F, name)(engine.tensor(x)))
    assert got.dtype == dtype
    told = np.abs(wanted) > np.finfo(dtype).tiny  # smaller ones lose digits
    np.testing.assert_allclose(got[told], wanted[told], rtol=digits)


@capability("activations")
@pytest.mark.parametrize("name", ["erf", "erfc", "gelu", "softplus", "mish", "silu", "logsigmoid", "elu"])
def test_float16_is_wide_enough(name, engine):
    """Where a polynomial or an exponential on the way is larger than it can be."""
    x = np.linspace(-30, 30, 241).astype(np.float16)
    ours, theirs = engine.Tensor(x), torch.tensor(x, requires_grad=True)
    found, wanted = getattr(engine.F, name)(ours), getattr(torch.special if "er" in name else functional, name)(theirs)
    found.sum().backward()
    wanted.sum().backward()
    assert engine.value(found).dtype == np.float16
    np.testing.assert_allclose(engine.value(found), wanted.detach().numpy(), rtol=4e-3, atol=2e-3)
    np.testing.assert_allclose(engine.grad(ours), theirs.grad.numpy(), rtol=4e-3, atol=4e-3)


@capability("activations")
@pytest.mark.parametrize("size", [2, 4096])
def test_gelu_of_infinities_in_float32(size, engine):
    """Infinity and, as infinity times 0, NaN; where PyTorch uses AVX-512, both of its are NaN."""
    found = engine.F.gelu(engine.tensor(np.tile(np.array([np.inf, -np.inf], np.float32), size // 2)))
    np.testing.assert_array_equal(engine.value(found), np.tile([np.inf, np.nan], size // 2))
