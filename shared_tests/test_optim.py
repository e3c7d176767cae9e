"""Optimizers, step by step beside PyTorch's, on gradients that are made up."""

import copy
import importlib
import inspect
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.capability("optimizers")

SHAPES = [(3, 4), (4,), ()]
KINDS = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta"]
BETAS = {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}

OPTIMIZERS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD, by default": ("SGD", {}),
    "SGD, weight decay": ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    "SGD, momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "SGD, momentum and weight decay": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
    "SGD, dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    "SGD, nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2, "nesterov": True}),
    "SGD, maximize": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2, "maximize": True}),
    "Adam": ("Adam", {"lr": 0.1}),
    "Adam, by default": ("Adam", {}),
    "Adam, all settings": ("Adam", {"lr": 0.1, **BETAS}),
    "Adam, amsgrad": ("Adam", {"lr": 0.1, "amsgrad": True, **BETAS}),
    "Adam, maximize": ("Adam", {"lr": 0.1, "maximize": True, **BETAS}),
    "Adam, decoupled": ("Adam", {"lr": 0.1, "decoupled_weight_decay": True, **BETAS}),
    "AdamW": ("AdamW", {"lr": 0.1}),
    "AdamW, all settings": ("AdamW", {"lr": 0.1, **BETAS}),
    "AdamW, amsgrad and maximize": ("AdamW", {"lr": 0.1, "amsgrad": True, "maximize": True, **BETAS}),
    "RMSprop": ("RMSprop", {}),
    "RMSprop, all settings": ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.2, "momentum": 0.9}),
    "RMSprop, centered": ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "centered": True}),
    "RMSprop, centered with momentum": ("RMSprop", {"eps": 1e-2, "momentum": 0.9, "centered": True, "maximize": True}),
    "Adagrad": ("Adagrad", {}),
    "Adagrad, all settings": (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.2, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "Adagrad, maximize": ("Adagrad", {"lr": 0.1, "maximize": True}),
    "Adadelta": ("Adadelta", {}),
    "Adadelta, all settings": ("Adadelta", {"lr": 0.3, "rho": 0.8, "eps": 1e-2, "weight_decay": 0.2, "maximize": True}),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
every_kind = pytest.mark.parametrize("kind", KINDS)
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def numbers(engine, tensor):
    """The array of a tensor, in the host's memory."""
    return engine.host(engine.value(tensor))


def random_arrays(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def gradients(step, dtype="float64"):
    """Made-up gradients; every third step the first parameter has none, like a layer that was not used."""
    first, *others = random_arrays(step + 1, dtype)
    return [None if step % 3 == 1 else first, *others]


class Beside:
    """Parameters and an optimizer of ours, and the same of PyTorch."""

    def __init__(self, engine, stage, torch, kind, settings, dtype="float64", groups=None):
        self.engine, self.torch, self.dtype = engine, torch, dtype
        self.ours = [engine.tensor(array) for array in random_arrays(0, dtype)]
        self.theirs = [torch.tensor(array, requires_grad=True) for array in random_arrays(0, dtype)]
        groups = groups or (lambda params: params)
        self.optimizer = getattr(stage.part("optim"), kind)(groups(self.ours), **settings)
        self.reference = getattr(torch.optim, kind)(groups(self.theirs), **settings)

    def give(self, step):
        """Both have the gradients of this step."""
        for p, q, g in zip(self.ours, self.theirs, gradients(step, self.dtype)):
            p.grad, q.grad = (None, None) if g is None else (self.engine.constant(g), self.torch.tensor(g))

    def step(self, step):
        self.give(step)
        self.optimizer.step()
        self.reference.step()

    def agree(self):
        rtol, atol = (1e-9, 1e-12) if self.dtype == "float64" else (1e-4, 1e-6)
        for p, q in zip(self.ours, self.theirs):
            np.testing.assert_allclose(numbers(self.engine, p), q.detach().numpy(), rtol=rtol, atol=atol)
            assert numbers(self.engine, p).dtype == self.dtype


# The steps


@dtypes
@every_optimizer
def test_every_step_is_pytorchs(engine, stage, torch, name, dtype):
    beside = Beside(engine, stage, torch, *OPTIMIZERS[name], dtype)
    for step in range(10):
        beside.step(step)
        beside.agree()


@every_optimizer
def test_the_state_is_pytorchs(engine, stage, torch, name):
    """Under the same names, in the same order, with the same numbers and dtypes."""
    beside = Beside(engine, stage, torch, *OPTIMIZERS[name])
    for step in range(3):
        beside.step(step)
    ours, theirs = beside.optimizer.state_dict(), beside.reference.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert [*ours["state"]] == [*theirs["state"]]
    for i, state in theirs["state"].items():
        assert [*ours["state"][i]] == [*state]
        for key, value in state.items():
            mine = engine.host(ours["state"][i][key])
            assert (mine.shape, str(mine.dtype)) == (value.shape, str(value.dtype)[6:])
            np.testing.assert_allclose(mine, value.numpy(), rtol=1e-9, atol=1e-12)


@every_kind
def test_groups_have_settings_of_their_own(engine, stage, torch, kind):
    def groups(params):
        return [{"params": params[:1], "lr": 0.3, "weight_decay": 0.1}, {"params": iter(params[1:])}]

    beside = Beside(engine, stage, torch, kind, {"lr": 0.01}, groups=groups)
    for step in range(6):
        beside.step(step)
        beside.agree()
        for optimizer in (beside.optimizer, beside.reference):
            optimizer.param_groups[1]["lr"] *= 0.7
    new = engine.tensor(np.ones(2)), torch.ones(2, dtype=torch.float64, requires_grad=True)
    for params, p, optimizer in zip((beside.ours, beside.theirs), new, (beside.optimizer, beside.reference)):
        if kind != "Adagrad":  # PyTorch's doesn't step what was added
            optimizer.add_param_group({"params": p, "lr": 0.5})
            params.append(p)
    for step in range(6, 9):
        beside.give(step)
        new[0].grad, new[1].grad = engine.constant(np.ones(2)), torch.ones(2, dtype=torch.float64)
        beside.optimizer.step()
        beside.reference.step()
        beside.agree()


def test_what_is_added_to_adagrad_begins_at_its_value(engine, stage):
    p, q = engine.tensor(np.ones(2)), engine.tensor(np.ones(2))
    optimizer = stage.part("optim").Adagrad([p], initial_accumulator_value=0.5)
    optimizer.add_param_group({"params": [q]})
    for x in (p, q):
        x.grad = engine.constant(np.ones(2))
    optimizer.step()
    np.testing.assert_array_equal(numbers(engine, p), numbers(engine, q))


@every_kind
def test_generators_are_used_once_and_callers_keep_their_lists(engine, stage, kind):
    params = [engine.tensor(np.ones(2)) for _ in range(3)]
    given = {"params": (p for p in params[1:])}, [params[0]]
    optimizer = getattr(stage.part("optim"), kind)(given[1])
    optimizer.add_param_group(given[0])
    given[1].append(params[2])
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2]
    for p in params:
        p.grad = engine.constant(np.ones(2))
    optimizer.step()
    assert all(numbers(engine, p)[0] != 1 for p in params)


def test_names_of_parameters_stay_with_their_groups(engine, stage, torch):
    ours, theirs = (make([("w", p), ("b", q)]) for make, p, q in _makers(engine, stage, torch, "SGD"))
    assert ours.param_groups[0]["param_names"] == theirs.param_groups[0]["param_names"] == ["w", "b"]
    assert ours.state_dict() == theirs.state_dict()


def _makers(engine, stage, torch, kind):
    """(optimizer, p, q) of ours and of PyTorch."""
    yield getattr(stage.part("optim"), kind), *(engine.tensor(np.ones(2)) for _ in range(2))
    yield getattr(torch.optim, kind), *(torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))


@every_kind
def test_a_step_takes_each_number_for_itself(engine, stage, kind):
    """All parameters in one array move as they do apart."""
    make = getattr(stage.part("optim"), kind)
    apart = [engine.tensor(array) for array in random_arrays(0)]
    together = engine.tensor(np.concatenate([x.ravel() for x in random_arrays(0)]))
    optimizers = make(apart, lr=0.1), make([together], lr=0.1)
    for step in range(3):
        arrays = random_arrays(step + 1)
        for p, g in zip(apart, arrays):
            p.grad = engine.constant(g)
        together.grad = engine.constant(np.concatenate([g.ravel() for g in arrays]))
        for optimizer in optimizers:
            optimizer.step()
    found = np.concatenate([numbers(engine, p).ravel() for p in apart])
    np.testing.assert_allclose(numbers(engine, together), found, rtol=1e-12)


@every_kind
def test_a_parameter_keeps_its_memory(engine, stage, kind):
    """Whoever holds its data, or another name of it, sees every step."""
    p = engine.tensor(np.ones((2, 3)))
    held, row = p.data, p.detach()[0]
    optimizer = getattr(stage.part("optim"), kind)([p], lr=0.1)
    for step in range(3):
        p.grad = engine.constant(np.full((2, 3), step + 1.0))
        optimizer.step()
        assert (numbers(engine, held) == numbers(engine, p)).all() and (numbers(engine, held) != 1).all()
        assert (numbers(engine, row) == numbers(engine, p)[0]).all()
    p.data[...] = 5  # from where the next step begins
    optimizer.step()
    assert (abs(numbers(engine, held) - 5) < 1.5).all()


@every_kind
def test_a_parameter_of_one_number_is_trained(engine, stage, torch, kind):
    """NumPy's arithmetic makes a number of an array without dims, and a number can't change in place."""
    make, p, _ = next(_makers(engine, stage, torch, kind))
    q, wanted = engine.tensor(np.array(1.0)), engine.tensor(np.array([2.0]))
    q.data = q.data + 1
    for x in (q, wanted):
        x.grad = engine.constant(np.ones_like(numbers(engine, x)))
        make([x], lr=0.1).step()
    assert q.item() == pytest.approx(wanted.item(), rel=1e-12) and q.item() < 2


@every_kind
def test_a_step_ends_the_graphs_before_it(engine, stage, kind):
    p = engine.tensor(np.ones(3))
    optimizer = getattr(stage.part("optim"), kind)([p], lr=0.1)
    loss = (p * p).sum()
    p.grad = engine.constant(np.ones(3))
    optimizer.step()
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


def test_the_callers_array_is_left_alone(engine, stage):
    array, gradient = np.ones(3), np.ones(3)
    p = engine.Tensor(array)
    for kind in KINDS:
        p.grad = engine.constant(gradient)
        optimizer = getattr(stage.part("optim"), kind)([p], lr=0.1, maximize=kind == "Adam")
        optimizer.step()
        optimizer.step()
    assert array.tolist() == gradient.tolist() == [1, 1, 1]
    assert numbers(engine, p).tolist() != [1, 1, 1]


@every_kind
def test_a_closure_finds_the_loss_anew_and_its_loss_comes_back(engine, stage, kind):
    p = engine.tensor(np.full(3, 2.0))
    optimizer = getattr(stage.part("optim"), kind)([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with stage.package.no_grad():
        losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[0] == 12 and losses[2] < losses[1] < losses[0]
    assert optimizer.step() is None


def test_gradients_are_forgotten_or_filled_with_zeros(engine, stage):
    p, q = (engine.tensor(np.ones(2)) for _ in range(2))
    optimizer = stage.part("optim").SGD([p, q], lr=0.1)
    p.grad = engine.constant(np.ones(2))
    held = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None and q.grad is None
    assert engine.host(p.grad).tolist() == [0, 0] == engine.host(held).tolist()
    optimizer.zero_grad()
    assert p.grad is None


# The same parameter twice


@every_optimizer
def test_a_parameter_that_is_there_twice_is_warned_of_and_stepped_as_in_pytorch(engine, stage, torch, name):
    kind, settings = OPTIMIZERS[name]
    ours, theirs = engine.tensor(np.ones(2)), torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.warns(UserWarning, match="optimizer contains a parameter group with duplicate parameters"):
        optimizer = getattr(stage.part("optim"), kind)([ours, ours], **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = getattr(torch.optim, kind)([theirs, theirs], **settings)
    for step in range(4):
        g = np.random.default_rng(step).standard_normal(2)
        ours.grad, theirs.grad = engine.constant(g), torch.tensor(g)
        optimizer.step()
        reference.step()
        np.testing.assert_allclose(numbers(engine, ours), theirs.detach().numpy(), rtol=1e-9)
    assert optimizer.state_dict()["param_groups"] == reference.state_dict()["param_groups"]


# Saved and loaded


@every_optimizer
def test_a_reloaded_optimizer_goes_on_as_if_never_stopped(engine, stage, name):
    kind, settings = OPTIMIZERS[name]
    make = getattr(stage.part("optim"), kind)
    ours, copies = ([engine.tensor(array) for array in random_arrays(0)] for _ in range(2))
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
                q.data = engine.constant(numbers(engine, p).copy())
    for p, q in zip(ours, copies):
        np.testing.assert_array_equal(numbers(engine, p), numbers(engine, q))


@every_optimizer
def test_state_goes_to_pytorch_and_comes_from_there(engine, stage, torch, name):
    """Both go on from the other's state, as if it were their own."""
    beside = Beside(engine, stage, torch, *OPTIMIZERS[name])
    for step in range(3):
        beside.step(step)
    ours, theirs = beside.optimizer.state_dict(), beside.reference.state_dict()
    as_theirs = {
        i: {key: torch.tensor(engine.host(x)) for key, x in state.items()} for i, state in ours["state"].items()
    }
    beside.reference.load_state_dict({**ours, "state": as_theirs})
    beside.optimizer.load_state_dict(theirs)
    for step in range(3, 9):
        beside.step(step)
        beside.agree()


@every_optimizer
def test_a_state_that_was_taken_stays_as_it_was(engine, stage, name):
    kind, settings = OPTIMIZERS[name]
    p = engine.tensor(np.ones(3))
    optimizer = getattr(stage.part("optim"), kind)([p], **settings)
    p.grad = engine.constant(np.ones(3))
    optimizer.step()
    taken = optimizer.state_dict()
    before = _numbers(engine, taken)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 9
    assert _numbers(engine, taken) == before
    optimizer.load_state_dict(taken)
    optimizer.step()
    assert _numbers(engine, taken) == before, "what was loaded is a copy too"


def _numbers(engine, state_dict):
    """A state as plain numbers."""
    state = {i: {key: engine.host(x).tolist() for key, x in of.items()} for i, of in state_dict["state"].items()}
    return {"state": state, "param_groups": copy.deepcopy(state_dict["param_groups"])}


def test_state_of_other_parameters_is_refused_in_pytorchs_words_and_changes_nothing(engine, stage, torch):
    def one(make, *tensors):
        return make([*tensors], lr=0.5)

    (make, p, q), (theirs, r, s) = _makers(engine, stage, torch, "Adam")
    optimizer, reference = one(make, p), one(theirs, r)
    p.grad = engine.constant(np.ones(2))
    optimizer.step()
    before = _numbers(engine, optimizer.state_dict())
    groups = make([{"params": [p]}, {"params": [q]}]).state_dict(), one(make, p, q).state_dict()
    for state in groups:
        with pytest.raises(ValueError) as ours:
            optimizer.load_state_dict(state)
        with pytest.raises(ValueError) as wanted:
            reference.load_state_dict(state)
        assert str(ours.value) == str(wanted.value)
    other = engine.tensor(np.ones(4))
    other.grad = engine.constant(np.ones(4))
    others = one(make, other)
    others.step()
    with pytest.raises(ValueError, match=r"Adam: the loaded exp_avg has shape \(4,\), its parameter \(2,\)"):
        optimizer.load_state_dict(others.state_dict())
    with pytest.raises(ValueError, match="Adam: wanted state, param_groups in the loaded dict, got lr"):
        optimizer.load_state_dict({"lr": 0.1})
    assert _numbers(engine, optimizer.state_dict()) == before


def test_state_of_another_kind_of_optimizer_is_refused(engine, stage):
    """Else the next step would end in a KeyError, or in a wrong step."""
    optim = stage.part("optim")
    p = engine.tensor(np.ones(3))
    p.grad = engine.constant(np.ones(3))
    sgd, adam = optim.SGD([p], lr=0.1, momentum=0.9), optim.Adam([p])
    sgd.step()
    adam.step()
    with pytest.raises(ValueError, match=r"Adam: wanted lr, betas, .* in the loaded settings, got lr, momentum"):
        adam.load_state_dict(sgd.state_dict())
    with pytest.raises(ValueError, match="SGD: wanted lr, momentum, .* in the loaded settings, got lr, betas"):
        sgd.load_state_dict(adam.state_dict())
    broken = adam.state_dict()
    del broken["state"][0]["exp_avg_sq"]
    with pytest.raises(ValueError, match="wanted step, exp_avg, exp_avg_sq in the loaded state of parameter 0, got "):
        adam.load_state_dict(broken)
    sgd.step()
    adam.step()


def test_counts_of_steps_may_be_plain_numbers(engine, stage):
    """As PyTorch saved them before 1.12, without the flags that came later."""
    p = engine.tensor(np.ones(3))
    p.grad = engine.constant(np.ones(3))
    optimizer = stage.part("optim").Adam([p])
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["step"] = 5
    for name in ("maximize", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay"):
        del state["param_groups"][0][name]
    optimizer.load_state_dict(state)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 6


COPIES = """
import copy, pickle, sys
import numpy as np
import {name} as package


class Model:
    '''Two parameters and what they make of an input; the loss is the mean square.'''

    def __init__(self):
        rng = np.random.default_rng(0)
        self.weights = [package.Tensor(rng.standard_normal(shape)) for shape in [(4, 3), (3,)]]


def train(model, optimizer, steps):
    x = package.Tensor(np.random.default_rng(1).standard_normal((5, 4)), requires_grad=False)
    for _ in range(steps):
        optimizer.zero_grad()
        weight, bias = model.weights
        loss = ((x @ weight + bias) * (x @ weight + bias)).mean()
        loss.backward()
        optimizer.step()
    return [np.asarray(p.detach()).tolist() for p in model.weights]
"""


PAIRS = [(kind, {"lr": 0.1}) for kind in KINDS] + [("SGD", {"lr": 0.1, "momentum": 0.9})]


@pytest.fixture
def copied(stage, tmp_path, monkeypatch):
    """A module with a model and its training, which a new process can import too."""
    (tmp_path / "copied.py").write_text(COPIES.format(name=stage.name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "copied", raising=False)
    yield importlib.import_module("copied")
    del sys.modules["copied"]


def pair(stage, copied, kind, settings):
    """A model and its optimizer after three steps."""
    model = copied.Model()
    optimizer = getattr(stage.part("optim"), kind)(model.weights, **settings)
    copied.train(model, optimizer, 3)
    return model, optimizer


@pytest.mark.parametrize("kind, settings", PAIRS)
def test_a_copy_of_model_and_optimizer_trains_alone_and_alike(stage, copied, kind, settings):
    both = pair(stage, copied, kind, settings)
    copies = copy.deepcopy(both), pickle.loads(pickle.dumps(both))
    before = copied.train(*both, 0)
    after = copied.train(*both, 3)
    assert after != before
    for model, optimizer in copies:
        assert optimizer.param_groups[0]["params"][0] is model.weights[0]
        assert copied.train(model, optimizer, 3) == after
    assert copied.train(*both, 0) == after, "what the copies did is theirs"


def test_a_pickled_pair_trains_alike_in_a_new_process(stage, copied, tmp_path):
    pairs = [pair(stage, copied, *each) for each in PAIRS]
    (tmp_path / "pairs.pickle").write_bytes(pickle.dumps(pairs))
    folders = [str(tmp_path), str(Path(stage.package.__file__).parent.parent)]
    code = f"import json, pickle, sys\nsys.path[:0] = {folders}\nfrom copied import train\n"
    code += "print(json.dumps([train(*pair, 3) for pair in pickle.load(open('pairs.pickle', 'rb'))]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [copied.train(*both, 3) for both in pairs]


# Signatures and what is refused


@every_kind
def test_signatures_are_pytorchs(stage, torch, kind):
    ours, theirs = (inspect.signature(getattr(optim, kind)) for optim in (stage.part("optim"), torch.optim))
    assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]
    for method in ("step", "zero_grad", "state_dict", "load_state_dict", "add_param_group"):
        ours, theirs = (getattr(getattr(optim, kind), method) for optim in (stage.part("optim"), torch.optim))
        assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters], method


@every_kind
def test_defaults_are_pytorchs(engine, stage, torch, kind):
    ours, theirs = (make([p]) for make, p, _ in _makers(engine, stage, torch, kind))
    assert ours.defaults == theirs.defaults
    assert repr(ours) == repr(theirs)


REFUSED = {
    "SGD": [{"lr": -1.0}, {"momentum": -0.1}, {"weight_decay": -0.1}, {"nesterov": True}]
    + [{"nesterov": True, "momentum": 0.9, "dampening": 0.1}],
    "Adam": [{"lr": -1.0}, {"eps": -1e-8}, {"betas": (0.9, 1.0)}, {"betas": (-0.1, 0.9)}, {"weight_decay": -0.1}]
    + [{"lr": float("nan")}],
    "AdamW": [{"betas": (1.0, 0.9)}, {"weight_decay": -0.1}],
    "RMSprop": [{"lr": -1.0}, {"eps": -1.0}, {"momentum": -1.0}, {"weight_decay": -1.0}, {"alpha": -1.0}],
    "Adagrad": [{name: -1.0} for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")],
    "Adadelta": [{"lr": -1.0}, {"rho": 1.1}, {"rho": -0.1}, {"eps": -1.0}, {"weight_decay": -1.0}],
}


@pytest.mark.parametrize("kind, settings", [(kind, settings) for kind, all in REFUSED.items() for settings in all])
def test_settings_that_can_not_be_are_refused_in_pytorchs_words(engine, stage, torch, kind, settings):
    errors = []
    for make, p, _ in _makers(engine, stage, torch, kind):
        with pytest.raises(ValueError) as error:
            make([p], **settings)
        errors.append(str(error.value))
    assert errors[0] == errors[1]


MISTAKES = {
    "none": lambda p, q, other: [],
    "an empty generator": lambda p, q, other: iter(()),
    "a tensor": lambda p, q, other: p,
    "an array": lambda p, q, other: [np.ones(3)],
    "a result": lambda p, q, other: [p * 2],
    "a result in a group": lambda p, q, other: [{"params": [p * 2]}],
    "a set": lambda p, q, other: [{"params": {p, q}}],
    "a tensor among groups": lambda p, q, other: [{"params": [p]}, q],
    "a parameter in two groups": lambda p, q, other: [{"params": [p]}, {"params": [q, p]}],
    "names of some": lambda p, q, other: [("p", p), q],
    "names in some groups": lambda p, q, other: [{"params": [p]}, {"params": [("q", q)]}],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_can_not_be_optimized_is_refused_in_pytorchs_words(engine, stage, torch, name):
    errors = []
    for make, p, q in _makers(engine, stage, torch, "SGD"):
        with pytest.raises((TypeError, ValueError)) as error:
            make(MISTAKES[name](p, q, None))
        errors.append(error)
    ours, theirs = errors
    assert ours.type is theirs.type
    assert str(ours.value)[:40] == str(theirs.value)[:40]


@every_kind
def test_a_gradient_through_a_step_is_refused_by_name(engine, stage, kind):
    with pytest.raises(NotImplementedError, match=f"{kind}: differentiable=True"):
        getattr(stage.part("optim"), kind)([engine.tensor(np.ones(2))], differentiable=True)


def test_settings_that_change_no_result_are_accepted(engine, stage):
    optim = stage.part("optim")
    for kind in ("SGD", "Adam", "AdamW", "Adagrad"):
        getattr(optim, kind)([engine.tensor(np.ones(2))], fused=True)
    for kind in KINDS:
        getattr(optim, kind)([engine.tensor(np.ones(2))], foreach=True)


def test_a_learning_rate_may_be_a_tensor(engine, stage):
    """And what is written into it is the rate from then on, for the optimizer and for a scheduler."""
    p, lr = engine.tensor(np.ones(2)), engine.Tensor(0.5, requires_grad=False)
    optimizer = stage.part("optim").SGD([p], lr=lr)
    p.grad = engine.constant(np.ones(2))
    optimizer.step()
    lr.fill_(0.25)
    optimizer.step()
    assert numbers(engine, p).tolist() == [0.25, 0.25]
    scheduler = stage.part("optim").lr_scheduler.ExponentialLR(optimizer, 0.5)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr and lr.item() == 0.125 and scheduler.get_last_lr() == [0.125]


def test_a_custom_optimizer_needs_only_a_step(engine, stage, torch):
    """As in PyTorch's idiom: defaults, groups, and state that is kept by parameter."""

    def own(base, tensors, zeros_like):
        class Own(base):
            def __init__(self, params, lr=0.1):
                super().__init__(params, {"lr": lr})

            def step(self, closure=None):
                for group in self.param_groups:
                    for p in group["params"]:
                        state = self.state[p]
                        if not state:
                            state["step"], state["sum"] = 0, zeros_like(p.data)
                        state["step"] += 1
                        state["sum"] += p.grad
                        p.data -= group["lr"] / state["step"] * state["sum"]

        optimizer, other = Own(tensors, lr=0.2), Own(tensors)
        for _ in range(3):
            optimizer.step()
        other.load_state_dict(optimizer.state_dict())
        assert other.state[tensors[0]]["step"] == 3
        other.step()
        return other

    p, q = engine.tensor(np.ones(2)), torch.ones(2, dtype=torch.float64, requires_grad=True)
    p.grad, q.grad = engine.constant(np.array([1.0, 2.0])), torch.tensor([1.0, 2.0], dtype=torch.float64)
    own(stage.part("optim").Optimizer, [p], lambda x: x * 0)
    own(torch.optim.Optimizer, [q], torch.zeros_like)
    np.testing.assert_allclose(numbers(engine, p), q.detach().numpy(), rtol=1e-12)
