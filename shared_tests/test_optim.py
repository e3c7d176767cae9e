"""Optimizers and schedulers, step by step beside PyTorch's, on gradients that are made up."""

import numpy as np
import pytest

optimizers = pytest.mark.capability("optimizers")
schedulers = pytest.mark.capability("schedulers")

SHAPES = [(3, 4), (4,), ()]

OPTIMIZERS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD, weight decay": ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    "SGD, momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "SGD, momentum and weight decay": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
    "SGD, nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2, "nesterov": True}),
    "Adam": ("Adam", {"lr": 0.1}),
    "Adam, all settings": ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
    "AdamW": ("AdamW", {"lr": 0.1}),
    "AdamW, all settings": ("AdamW", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
}

SCHEDULERS = {
    "StepLR": ("StepLR", {"step_size": 3, "gamma": 0.5}),
    "CosineAnnealingLR": ("CosineAnnealingLR", {"T_max": 8, "eta_min": 0.01}),
    "CosineAnnealingLR, past its end": ("CosineAnnealingLR", {"T_max": 4}),
    "LambdaLR": ("LambdaLR", {"lr_lambda": lambda step: 1 / (step + 1)}),
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def random_arrays(seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in SHAPES]


def parameters(engine):
    return [engine.tensor(array) for array in random_arrays(0)]


def gradients(step):
    """Made-up gradients; every third step the first parameter has none, like a layer that was not used."""
    first, *others = random_arrays(step + 1)
    return [None if step % 3 == 1 else first, *others]


@optimizers
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_is_pytorchs(engine, stage, torch, name):
    kind, settings = OPTIMIZERS[name]
    ours = parameters(engine)
    theirs = [torch.tensor(array, requires_grad=True) for array in random_arrays(0)]
    optimizer = getattr(stage.part("optim"), kind)(ours, **settings)
    reference = getattr(torch.optim, kind)(theirs, **settings)
    for step in range(10):
        for p, q, g in zip(ours, theirs, gradients(step)):
            p.grad, q.grad = (None, None) if g is None else (engine.constant(g), torch.tensor(g))
        optimizer.step()
        reference.step()
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-9, atol=1e-12)


@optimizers
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_keeps_float32(engine, stage, name):
    kind, settings = OPTIMIZERS[name]
    p = engine.tensor(np.ones(3, np.float32))
    optimizer = getattr(stage.part("optim"), kind)([p], **settings)
    for _ in range(2):
        p.grad = engine.constant(np.ones(3, np.float32))
        optimizer.step()
    state = {key: array.dtype for key, array in optimizer.state_dict().items() if array.shape == (3,)}
    assert p.data.dtype == np.float32
    assert set(state.values()) <= {np.dtype(np.float32)}


@optimizers
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_takes_each_number_for_itself(engine, stage, name):
    """All parameters in one array move as they do apart."""
    kind, settings = OPTIMIZERS[name]
    make = getattr(stage.part("optim"), kind)
    apart, together = parameters(engine), engine.tensor(np.concatenate([x.ravel() for x in random_arrays(0)]))
    optimizers = make(apart, **settings), make([together], **settings)
    for step in range(3):
        arrays = random_arrays(step + 1)
        for p, g in zip(apart, arrays):
            p.grad = engine.constant(g)
        together.grad = engine.constant(np.concatenate([g.ravel() for g in arrays]))
        for optimizer in optimizers:
            optimizer.step()
    np.testing.assert_allclose(together.data, np.concatenate([p.data.ravel() for p in apart]), rtol=1e-12)


@optimizers
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_parameter_of_one_number_is_trained(engine, stage, kind):
    """NumPy's arithmetic makes a number of an array without dims, and a number can't change in place."""
    p = engine.tensor(np.array(1.0))
    p.data = p.data + 1
    p.grad = engine.constant(np.array(1.0))
    getattr(stage.part("optim"), kind)([p], lr=0.1, weight_decay=0.0).step()
    assert p.item() == pytest.approx(1.9)


@optimizers
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_step_ends_the_graphs_before_it(engine, stage, kind):
    p = engine.tensor(np.ones(3))
    optimizer = getattr(stage.part("optim"), kind)([p], lr=0.1)
    loss = (p * p).sum()
    p.grad = engine.constant(np.ones(3))
    optimizer.step()
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


@optimizers
def test_the_callers_array_is_left_alone(engine, stage):
    array, gradient = np.ones(3), np.ones(3)
    p = engine.Tensor(array)
    p.grad = engine.constant(gradient)
    for optimizer in (stage.part("optim").SGD([p], lr=0.1, momentum=0.9), stage.part("optim").AdamW([p])):
        optimizer.step()
        optimizer.step()
    assert array.tolist() == gradient.tolist() == [1, 1, 1]
    assert p.data.tolist() != [1, 1, 1]


@optimizers
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_reloaded_optimizer_goes_on_as_if_never_stopped(engine, stage, name):
    kind, settings = OPTIMIZERS[name]
    make = getattr(stage.part("optim"), kind)
    ours, copies = parameters(engine), parameters(engine)
    optimizer, reloaded = make(ours, **settings), make(copies, **{**settings, "lr": 7.0})
    for step in range(6):
        for p, q, g in zip(ours, copies, gradients(step)):
            p.grad = q.grad = None if g is None else engine.constant(g)
        optimizer.step()
        if step > 2:
            reloaded.step()
        elif step == 2:
            reloaded.load_state_dict(optimizer.state_dict())
            for p, q in zip(ours, copies):
                q.data = p.data.copy()
    for p, q in zip(ours, copies):
        np.testing.assert_array_equal(p.data, q.data)


@optimizers
def test_state_of_other_parameters_is_refused_and_changes_nothing(engine, stage):
    make = stage.part("optim").Adam
    p, other = engine.tensor(np.ones(3)), engine.tensor(np.ones(4))
    p.grad, other.grad = engine.constant(np.ones(3)), engine.constant(np.ones(4))
    optimizer, others = make([p], lr=0.5), make([other], lr=0.1)
    optimizer.step()
    others.step()
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"0\.exp_avg of shape \(4,\)"):
        optimizer.load_state_dict(others.state_dict())
    with pytest.raises(ValueError, match="9.exp_avg"):
        optimizer.load_state_dict({"lr": np.array(0.1), "9.exp_avg": np.ones(3)})
    with pytest.raises(ValueError, match="lr"):
        optimizer.load_state_dict({"0.exp_avg": np.ones(3)})
    after = optimizer.state_dict()
    assert before.keys() == after.keys()
    for key in before:
        np.testing.assert_array_equal(before[key], after[key])


@optimizers
def test_state_of_another_kind_of_optimizer_is_refused(engine, stage):
    """Else the next step would end in a KeyError, or in a wrong step."""
    optim = stage.part("optim")
    p = engine.tensor(np.ones(3))
    p.grad = engine.constant(np.ones(3))
    sgd, adam = optim.SGD([p], lr=0.1, momentum=0.9), optim.Adam([p])
    sgd.step()
    adam.step()
    with pytest.raises(ValueError, match="Adam: wanted .*exp_avg.* got .*momentum_buffer"):
        adam.load_state_dict(sgd.state_dict())
    with pytest.raises(ValueError, match="SGD: wanted .*momentum_buffer.* got .*exp_avg"):
        sgd.load_state_dict(adam.state_dict())
    with pytest.raises(ValueError, match="Adam: wanted .* got .*'step'"):
        adam.load_state_dict({"lr": np.array(0.1), "0.step": np.array(3)})
    sgd.step()
    adam.step()


@optimizers
def test_one_tensor_alone_can_be_clipped(engine, stage):
    p = engine.tensor(np.ones(2))
    p.grad = engine.constant(np.array([3.0, 4.0]))
    assert float(stage.part("optim").clip_grad_norm_(p, 1.0)) == pytest.approx(5)
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-6)


@optimizers
def test_what_cannot_be_optimized_is_named(engine, stage):
    optim = stage.part("optim")
    with pytest.raises(ValueError, match="SGD: no parameters"):
        optim.SGD([])
    for params in (engine.tensor(np.ones((2, 3))), [np.ones(3)], [engine.tensor(np.ones(3)) * 2]):
        with pytest.raises(TypeError, match="SGD: wanted a list of Tensors that no rule made"):
            optim.SGD(params)
    with pytest.raises(ValueError, match=r"Adam: wanted a learning rate of at least 0, got -1"):
        optim.Adam([engine.tensor(np.ones(2))], lr=-1)
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        optim.SGD([engine.tensor(np.ones(2))], nesterov=True)


@optimizers
@pytest.mark.parametrize("max_norm", [0.1, 2.0, 100.0])
def test_clipping_is_pytorchs(engine, stage, torch, max_norm):
    ours = parameters(engine)
    theirs = [torch.tensor(array, requires_grad=True) for array in random_arrays(0)]
    given = gradients(0)
    for p, q, g in zip(ours, theirs, given):
        p.grad, q.grad = engine.raw(g), torch.tensor(g)
    norm = stage.part("optim").clip_grad_norm_(ours, max_norm)
    wanted = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert float(norm) == pytest.approx(wanted.item(), rel=1e-9)
    for p, q, before in zip(ours, theirs, given):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-9)
        assert np.array_equal(engine.grad(p), before) == (max_norm == 100.0)


@schedulers
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_learning_rate_is_pytorchs(engine, stage, torch, name):
    kind, settings = SCHEDULERS[name]
    optim = stage.part("optim")
    optimizer = optim.SGD(parameters(engine), lr=0.1)
    reference = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1)
    scheduler = getattr(optim, kind)(optimizer, **settings)
    reference_scheduler = getattr(torch.optim.lr_scheduler, kind)(reference, **settings)
    for _ in range(12):
        assert optimizer.lr == pytest.approx(reference.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        reference.step()
        scheduler.step()
        reference_scheduler.step()


@schedulers
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_reloaded_scheduler_goes_on_as_if_never_stopped(engine, stage, name):
    kind, settings = SCHEDULERS[name]
    optim = stage.part("optim")
    optimizer, other = optim.SGD(parameters(engine), lr=0.1), optim.SGD(parameters(engine), lr=0.7)
    scheduler, reloaded = (getattr(optim, kind)(each, **settings) for each in (optimizer, other))
    for _ in range(5):
        scheduler.step()
    reloaded.load_state_dict(scheduler.state_dict())
    assert other.lr == optimizer.lr
    scheduler.step()
    reloaded.step()
    assert other.lr == optimizer.lr
