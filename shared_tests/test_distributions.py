"""Distributions beside PyTorch's: log-probabilities, entropies and divergences with their gradients; what is drawn."""

import numpy as np
import pytest

from .engines import torch_engine

pytestmark = pytest.mark.capability("distributions")

WEIGHTS = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 3.0]])
SCORES = np.array([[0.5, -1.0, 2.0], [30.0, 0.0, -30.0]])
CHANCES = np.array([0.25, 0.5, 0.9])
KINDS = {  # how it is made of arrays, and values that it can have
    "Categorical of probs": ("Categorical", {"probs": WEIGHTS}, np.array([2, 0])),
    "Categorical of one row": ("Categorical", {"probs": WEIGHTS[0]}, np.array(2)),
    "Categorical of logits": ("Categorical", {"logits": SCORES}, np.array([[1, 0], [0, 1]])),
    "Bernoulli of probs": ("Bernoulli", {"probs": CHANCES}, np.array([1.0, 0.0, 1.0])),
    "Bernoulli of logits": ("Bernoulli", {"logits": np.array([-2.0, 0.0, 40.0])}, np.array([1.0, 0.0, 1.0])),
    "Bernoulli of one number": ("Bernoulli", {"probs": np.array(0.3)}, np.array(1.0)),
    "Normal": ("Normal", {"loc": np.array([0.0, 1.0]), "scale": np.array([0.5, 2.0])}, np.array([[0.3, -1.0]])),
}


def made(lib, module, name):
    kind, arrays, value = KINDS[name]
    parameters = {key: lib.tensor(array) for key, array in arrays.items()}
    return getattr(module, kind)(**parameters), parameters, lib.tensor(value.astype(np.float64)).detach()


def sides(engine, stage):
    torch = torch_engine()
    return (engine, stage.part("distributions")), (torch, torch.torch.distributions)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("what", ["log_prob", "entropy"])
def test_what_is_computed_is_pytorchs(engine, stage, name, what):
    found = []
    for lib, module in sides(engine, stage):
        distribution, parameters, value = made(lib, module, name)
        out = distribution.log_prob(value) if what == "log_prob" else distribution.entropy()
        lib.backward(out, np.linspace(1, 2, out.numel()).reshape(tuple(out.shape)))
        found.append([lib.value(out), *[lib.grad(p) for p in parameters.values()]])
    for mine, theirs in zip(*found):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["Categorical of logits", "Bernoulli of probs", "Normal"])
def test_divergences_are_pytorchs(engine, stage, name):
    found = []
    for lib, module in sides(engine, stage):
        p, parameters, _ = made(lib, module, name)
        kind, arrays, _ = KINDS[name]
        q = getattr(module, kind)(**{key: lib.tensor(array[..., ::-1].copy()) for key, array in arrays.items()})
        out = module.kl_divergence(p, q)
        out.sum().backward()
        found.append([lib.value(out), *[lib.grad(x) for x in parameters.values()]])
    for mine, theirs in zip(*found):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_drawn_has_its_shape_and_its_mean(engine, stage, name):
    (_, module), (torch, theirs) = sides(engine, stage)
    engine.package.manual_seed(0)
    distribution, _, _ = made(engine, module, name)
    reference, _, _ = made(torch, theirs, name)
    drawn = distribution.sample((4000,))
    assert not drawn.requires_grad
    assert drawn.shape == reference.sample((4000,)).shape and distribution.sample().shape == reference.sample().shape
    array = engine.value(drawn).astype(float)
    if "Categorical" in name:
        chances = np.stack([(array == i).mean(0) for i in range(3)], axis=-1)
        np.testing.assert_allclose(chances, torch.value(reference.probs), atol=0.03)
    else:
        np.testing.assert_allclose(array.mean(0), torch.value(reference.mean), atol=0.1)
        np.testing.assert_allclose(array.std(0), torch.value(reference.stddev), atol=0.1)


def test_a_gradient_goes_through_rsample(engine, stage):
    (_, module), _ = sides(engine, stage)
    loc, scale = engine.tensor(np.zeros(3)), engine.tensor(np.ones(3))
    engine.package.manual_seed(1)
    drawn = module.Normal(loc, scale).rsample()
    drawn.sum().backward()
    np.testing.assert_array_equal(engine.grad(loc), np.ones(3))
    np.testing.assert_allclose(engine.grad(scale), engine.value(drawn), rtol=1e-12)


def test_a_mistake_is_named(engine, stage):
    (_, module), _ = sides(engine, stage)
    x = engine.tensor(WEIGHTS)
    for wrong in ({}, {"probs": x, "logits": x}):
        with pytest.raises(ValueError, match="Categorical: either `probs` or `logits` must be specified"):
            module.Categorical(**wrong)
    with pytest.raises(NotImplementedError, match="kl_divergence: of a Categorical from a Normal"):
        module.kl_divergence(module.Categorical(x), module.Normal(0.0, 1.0))
