"""Schedulers, epoch by epoch beside PyTorch's."""

import importlib
import inspect
import math
import warnings
from functools import partial

import numpy as np
import pytest

pytestmark = pytest.mark.capability("schedulers")


class Halves:
    """A function with a state of its own, which a scheduler's state has too."""

    def __init__(self, base):
        self.base = base

    def __call__(self, epoch):
        return self.base**epoch


def half(epoch):
    return 0.5


def inverse(epoch):
    return 1 / (epoch + 1)


SCHEDULERS = {  # kind, settings
    "LambdaLR": ("LambdaLR", {"lr_lambda": inverse}),
    "LambdaLR, for each group": ("LambdaLR", {"lr_lambda": [inverse, half]}),
    "LambdaLR, of an object": ("LambdaLR", {"lr_lambda": Halves(0.9)}),
    "MultiplicativeLR": ("MultiplicativeLR", {"lr_lambda": half}),
    "MultiplicativeLR, for each group": ("MultiplicativeLR", {"lr_lambda": [half, inverse]}),
    "StepLR": ("StepLR", {"step_size": 3, "gamma": 0.5}),
    "StepLR, by default": ("StepLR", {"step_size": 2}),
    "MultiStepLR": ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.5}),
    "MultiStepLR, by default": ("MultiStepLR", {"milestones": (3,)}),
    "ConstantLR": ("ConstantLR", {"factor": 0.25, "total_iters": 4}),
    "ConstantLR, by default": ("ConstantLR", {}),
    "LinearLR": ("LinearLR", {"start_factor": 0.2, "end_factor": 0.7, "total_iters": 6}),
    "LinearLR, by default": ("LinearLR", {}),
    "ExponentialLR": ("ExponentialLR", {"gamma": 0.8}),
    "PolynomialLR": ("PolynomialLR", {"total_iters": 7, "power": 1.7}),
    "PolynomialLR, by default": ("PolynomialLR", {}),
    "CosineAnnealingLR": ("CosineAnnealingLR", {"T_max": 8, "eta_min": 0.01}),
    "CosineAnnealingLR, past its end": ("CosineAnnealingLR", {"T_max": 4}),
    "CosineAnnealingWarmRestarts": ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    "CosineAnnealingWarmRestarts, by default": ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    "OneCycleLR": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 13}),
    "OneCycleLR, three phases": (
        "OneCycleLR",
        {"max_lr": [0.5, 0.2], "epochs": 3, "steps_per_epoch": 5, "three_phase": True, "anneal_strategy": "linear"},
    ),
    "OneCycleLR, rates alone": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 20, "cycle_momentum": False}),
    "CyclicLR": ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3}),
    "CyclicLR, triangular2": (
        "CyclicLR",
        {"base_lr": [0.1, 0.2], "max_lr": 0.5, "step_size_up": 2, "step_size_down": 3, "mode": "triangular2"},
    ),
    "CyclicLR, exp_range": (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "mode": "exp_range", "gamma": 0.9},
    ),
    "CyclicLR, of an object": (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "scale_fn": Halves(0.9), "scale_mode": "iterations"},
    ),
}
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


class Side:
    """An optimizer with two groups, of ours or of PyTorch, and schedulers for it."""

    def __init__(self, optim, schedulers, parameters, kind="SGD"):
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.3}]
        options = {"momentum": 0.7} if kind == "SGD" else {}
        self.optimizer, self.kinds = getattr(optim, kind)(groups, lr=0.8, **options), schedulers
        self.schedulers = []

    def add(self, kind, settings):
        self.schedulers.append(getattr(self.kinds, kind)(self.optimizer, **settings))
        return self.schedulers[-1]

    def step(self):
        self.optimizer.step()
        for scheduler in self.schedulers:
            scheduler.step()

    def settings(self):
        """The numbers of each group but its parameters."""
        return [{name: x for name, x in group.items() if name != "params"} for group in self.optimizer.param_groups]


def make_sides(engine, stage, torch):
    """A function that makes both sides, for as many runs as are wanted."""

    def make(kind="SGD"):
        optim = stage.part("optim")
        ours = Side(optim, optim.lr_scheduler, [engine.tensor(np.ones(2)) for _ in range(2)], kind)
        theirs = [torch.ones(2, requires_grad=True) for _ in range(2)]
        return ours, Side(torch.optim, torch.optim.lr_scheduler, theirs, kind)

    return make


sides = pytest.fixture(make_sides)


def agree(ours, theirs):
    assert len(ours.settings()) == len(theirs.settings())
    for mine, wanted in zip(ours.settings(), theirs.settings()):
        assert mine.keys() == wanted.keys()
        for name, value in wanted.items():
            assert mine[name] == (value if isinstance(value, bool | None) else pytest.approx(value, rel=1e-12)), name
    for mine, wanted in zip(ours.schedulers, theirs.schedulers):
        assert mine.get_last_lr() == pytest.approx(wanted.get_last_lr(), rel=1e-12)
        if hasattr(wanted, "base_lrs"):
            assert mine.base_lrs == wanted.base_lrs


def run(sides, steps, each=lambda side, step: None):
    for step in range(steps):
        for side in sides:
            each(side, step)
            side.step()
        agree(*sides)


@every_scheduler
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_every_rate_is_pytorchs(sides, name, kind):
    both = sides(kind)
    for side in both:
        side.add(*SCHEDULERS[name])
    agree(*both)
    run(both, 12)


@every_scheduler
def test_a_rate_that_is_set_by_hand_counts_as_in_pytorch(sides, name):
    both = sides()
    for side in both:
        side.add(*SCHEDULERS[name])

    def by_hand(side, step):
        if step in (2, 6):
            side.optimizer.param_groups[step % 4 // 2]["lr"] = 0.05 * step

    run(both, 10, by_hand)


PAIRS = [("LinearLR", "ExponentialLR"), ("StepLR", "CosineAnnealingLR"), ("ConstantLR", "MultiStepLR")]
PAIRS += [("PolynomialLR", "MultiplicativeLR"), ("LambdaLR", "StepLR"), ("CosineAnnealingLR", "LinearLR")]


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_schedulers_compose_as_in_pytorch(sides, pair):
    both = sides()
    for side in both:
        for name in pair:
            side.add(*SCHEDULERS[name])
    run(both, 10)


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_a_chain_of_schedulers_is_pytorchs(sides, pair):
    both = sides()
    for side in both:
        parts = [getattr(side.kinds, SCHEDULERS[name][0])(side.optimizer, **SCHEDULERS[name][1]) for name in pair]
        side.schedulers.append(side.kinds.ChainedScheduler(parts))
    run(both, 10)


SEQUENCES = [("ConstantLR", "ExponentialLR"), ("LinearLR", "CosineAnnealingLR"), ("StepLR", "PolynomialLR", "LinearLR")]
SEQUENCES += [("ExponentialLR", "LambdaLR", "MultiplicativeLR"), ("MultiStepLR", "CosineAnnealingWarmRestarts")]
SEQUENCES += [("LinearLR", "MultiplicativeLR", "MultiStepLR"), ("PolynomialLR", "StepLR", "ConstantLR")]


@pytest.mark.parametrize("names", SEQUENCES, ids=" then ".join)
def test_a_sequence_of_schedulers_is_pytorchs(sides, names):
    both = sides()
    for side in both:
        parts = [getattr(side.kinds, SCHEDULERS[name][0])(side.optimizer, **SCHEDULERS[name][1]) for name in names]
        milestones = [3, 7][: len(names) - 1]
        side.schedulers.append(side.kinds.SequentialLR(side.optimizer, parts, milestones))
    agree(*both)
    run(both, 12)


@every_scheduler
def test_a_reloaded_scheduler_goes_on_as_if_never_stopped(sides, name):
    """From its own state and from PyTorch's; and PyTorch's from ours."""
    both, others = sides(), sides()
    for side in (*both, *others):
        side.add(*SCHEDULERS[name])
    run(both, 5)
    states = [side.schedulers[0].state_dict() for side in both]
    settings = [side.optimizer.state_dict()["param_groups"] for side in both]
    for mine, theirs in ((0, 1), (1, 0)):
        for side, state, groups in zip(others, (states[mine], states[theirs]), (settings[mine], settings[theirs])):
            side.schedulers[0].load_state_dict(dict(state))
            for group, saved in zip(side.optimizer.param_groups, groups):
                group.update({key: value for key, value in saved.items() if key != "params"})
        agree(*others)
    run(others, 5)
    run(both, 5)
    agree(both[0], others[0])


def test_a_state_that_was_taken_stays_as_it_was(sides):
    ours, _ = sides()
    scheduler = ours.add("StepLR", {"step_size": 1})
    ours.step()
    state = scheduler.state_dict()
    ours.step()
    scheduler.base_lrs[0] = 9
    assert (state["last_epoch"], state["base_lrs"], state["_last_lr"][0]) == (1, [0.8, 0.3], pytest.approx(0.08))


def test_state_of_another_kind_is_refused(sides):
    ours, _ = sides()
    step, cosine = ours.add("StepLR", {"step_size": 1}), ours.add("CosineAnnealingLR", {"T_max": 3})
    with pytest.raises(ValueError, match="CosineAnnealingLR: the loaded state has no T_max, eta_min"):
        cosine.load_state_dict(step.state_dict())
    with pytest.raises(ValueError, match="StepLR: the loaded base_lrs: wanted 2 of them"):
        step.load_state_dict({**step.state_dict(), "base_lrs": [0.1]})


@every_scheduler
def test_training_goes_on_from_a_last_epoch(sides, name):
    """With groups that have the rates at the start, as those of a saved optimizer do."""
    kind, settings = SCHEDULERS[name]
    both = sides()
    for side in both:
        side.add(kind, settings)
    run(both, 4)
    for side in both:
        side.schedulers.clear()
        side.add(kind, {**settings, "last_epoch": 3})
    run(both, 4)


def test_a_last_epoch_without_rates_at_the_start_is_refused(sides):
    for side in sides():
        with pytest.raises(KeyError, match=r"'initial_lr' is not specified in param_groups\[0\]"):
            side.add("StepLR", {"step_size": 1, "last_epoch": 3})


LOSSES = [3.0, 2.0, 2.0, 2.0, 1.9999, 1.99, 2.0, 2.0, 2.0, 2.0, 0.5, math.nan, 0.6, 0.7, 0.8, 0.9, 1.0]
PLATEAUS = [{}, {"patience": 1}, {"patience": 1, "cooldown": 2, "factor": 0.5}, {"patience": 0, "min_lr": [0.2, 0.01]}]
PLATEAUS += [{"patience": 1, "mode": "max"}, {"patience": 1, "threshold_mode": "abs", "threshold": 0.05}]
PLATEAUS += [{"patience": 0, "mode": "max", "threshold_mode": "abs", "threshold": 0.2, "eps": 0.1}]


@pytest.mark.parametrize("settings", PLATEAUS, ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_plateau_is_found_as_in_pytorch(sides, engine, settings, sign):
    both = sides()
    for side in both:
        side.add("ReduceLROnPlateau", settings)
    for loss in LOSSES:
        both[0].schedulers[0].step(engine.tensor(np.array(sign * loss)))
        both[1].schedulers[0].step(sign * loss)
        agree(*both)
        state, wanted = (side.schedulers[0].state_dict() for side in both)
        assert state.keys() <= wanted.keys() and all(
            state[name] == pytest.approx(wanted[name]) for name in ("best", "num_bad_epochs", "cooldown_counter")
        )
        both[0].schedulers[0].load_state_dict(wanted)
        both[1].schedulers[0].load_state_dict(state)


def test_warm_restarts_take_fractions_of_epochs(sides):
    for settings in ({"T_0": 3}, {"T_0": 2, "T_mult": 2}):
        both = sides()
        for side in both:
            side.add("CosineAnnealingWarmRestarts", settings)
        for epoch in [0.25, 1, 1.5, 2.75, 3, 5.5, 9, 14.25]:
            for side in both:
                side.schedulers[0].step(epoch)
            agree(*both)


KINDS = sorted({kind for kind, _ in SCHEDULERS.values()})
KINDS += ["LRScheduler", "ReduceLROnPlateau", "ChainedScheduler", "SequentialLR"]


@pytest.mark.parametrize("kind", KINDS)
def test_signatures_are_pytorchs(stage, torch, kind):
    """Also where they are imported from."""
    ours = importlib.import_module(f"{stage.name}.optim.lr_scheduler")
    for names in (kind, f"{kind}.step", f"{kind}.load_state_dict", f"{kind}.get_last_lr"):
        found = []
        for module in (ours, torch.optim.lr_scheduler):
            for name in names.split("."):
                module = getattr(module, name)
            found.append([(p.name, p.kind, p.default) for p in inspect.signature(module).parameters.values()])
        assert found[0] == found[1], names


REFUSED = [
    ("ConstantLR", {"factor": 1.5}),
    ("LinearLR", {"start_factor": 0.0}),
    ("LinearLR", {"end_factor": 1.5}),
    ("LambdaLR", {"lr_lambda": [half]}),
    ("MultiplicativeLR", {"lr_lambda": 0.5}),
    ("MultiplicativeLR", {"lr_lambda": [half] * 3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 0.5}),
    ("OneCycleLR", {"max_lr": 1.0}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 0}),
    ("OneCycleLR", {"max_lr": 1.0, "epochs": 3, "steps_per_epoch": -1}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 5, "pct_start": 2.0}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 5, "anneal_strategy": "none"}),
    ("OneCycleLR", {"max_lr": [1.0], "total_steps": 5}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "mode": "none"}),
    ("CyclicLR", {"base_lr": [0.1], "max_lr": 1.0}),
    ("ReduceLROnPlateau", {"factor": 1.0}),
    ("ReduceLROnPlateau", {"mode": "none"}),
    ("ReduceLROnPlateau", {"threshold_mode": "none"}),
    ("ReduceLROnPlateau", {"min_lr": [0.1]}),
]


@pytest.mark.parametrize("kind, settings", REFUSED)
def test_settings_that_can_not_be_are_refused_as_in_pytorch(sides, kind, settings):
    errors = []
    for side in sides():
        with pytest.raises((TypeError, ValueError)) as error:
            side.add(kind, settings)
        errors.append(error)
    assert errors[0].type is errors[1].type
    if not any(isinstance(x, list) for x in settings.values()):
        assert str(errors[0].value) == str(errors[1].value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_is_wanted(stage, torch, kind):
    if kind not in ("ChainedScheduler", "SequentialLR"):
        for module in (stage.part("optim").lr_scheduler, torch.optim.lr_scheduler):
            settings = next((settings for k, settings in SCHEDULERS.values() if k == kind), {})
            with pytest.raises((TypeError, AttributeError)):
                getattr(module, kind)([0.1], **settings)


def test_cycling_the_momentum_of_an_optimizer_without_is_refused(sides):
    for side in sides("Adagrad"):
        for kind, settings in (SCHEDULERS["OneCycleLR"], SCHEDULERS["CyclicLR"]):
            with pytest.raises(ValueError, match="optimizer must support momentum or beta1"):
                side.add(kind, settings)


def test_schedulers_that_do_not_go_together_are_refused(sides):
    for side, other in zip(sides(), sides()):
        kinds, one = side.kinds, side.add("StepLR", {"step_size": 1})
        elsewhere, plateau = other.add("StepLR", {"step_size": 1}), side.add("ReduceLROnPlateau", {})
        sequence = partial(kinds.SequentialLR, side.optimizer, milestones=[1])
        for whole in (kinds.ChainedScheduler, sequence):
            for parts, message in (([], "at least one"), ([one, elsewhere], "same opt"), ([one, plateau], "Plateau")):
                with pytest.raises(ValueError, match=message):
                    whole(schedulers=parts)
        with pytest.raises(ValueError, match="one more than the number of milestone points"):
            kinds.SequentialLR(side.optimizer, [one, one], [1, 2])


def test_a_scheduler_that_steps_before_its_optimizer_is_warned_of(sides):
    for side in sides():
        scheduler = side.add("StepLR", {"step_size": 1})
        with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
            scheduler.step()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scheduler.step()


def test_a_step_to_an_epoch_is_refused_by_name(sides):
    ours, _ = sides()
    with pytest.raises(NotImplementedError, match=r"StepLR\.step: epoch=3"):
        ours.add("StepLR", {"step_size": 1}).step(3)


def test_a_custom_scheduler_needs_only_get_lr(sides):
    """As in PyTorch's idiom."""
    both = sides()
    for side in both:

        class Own(side.kinds.LRScheduler):
            def get_lr(self):
                return [lr / (1 + self.last_epoch) + 0.1 for lr in self.base_lrs]

        side.schedulers.append(Own(side.optimizer))
    run(both, 4)
