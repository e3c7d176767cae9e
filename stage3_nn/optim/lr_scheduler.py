"""Schedulers, which change an optimizer's learning rates after each epoch or step.

Most multiply the current rates, so that several of them compose and a rate that was set by hand is kept.
"""

import copy
import math
import types
import warnings
from bisect import bisect_right
from collections import Counter

from ..engine import Tensor
from ..loaded import alike
from .optimizer import Optimizer


class LRScheduler:
    """The base class of schedulers, as `torch.optim.lr_scheduler.LRScheduler`.

    `step()` sets the rates of epoch `last_epoch`, one more each time, after the optimizer's own `step()`. A
    subclass has `_factor()`, by which all rates are multiplied, or `get_lr()`, the new rates, one for each group.
    `base_lrs` are the rates at the start. To go on from an epoch, `last_epoch`, load the optimizer's state first.
    """

    _is_initial = False  # whether the constructor is calling `step`

    def __init__(self, optimizer, last_epoch=-1):
        self.optimizer, self.last_epoch = _optimizer(optimizer), last_epoch
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _value(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{i}] when resuming an optimizer")
        self.base_lrs = [_value(group["initial_lr"]) for group in optimizer.param_groups]
        self._initial_step()

    def _initial_step(self):
        self._step_count, self._is_initial = 0, True
        self.step()
        self._is_initial = False

    def step(self, epoch=None):
        if epoch is not None:
            kind = type(self).__name__
            raise NotImplementedError(f"{kind}.step: epoch={epoch}: PyTorch gives that up; call step() once an epoch")
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn("Detected call of `lr_scheduler.step()` before `optimizer.step()`", stacklevel=2)
        self._step_count += 1
        self._update_lr(self.last_epoch + 1)

    def _restart(self):
        """Restart from the initial rates."""
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs):
            _set_lr(group, lr)
        self._is_initial = True
        self._update_lr(0)
        self._is_initial = False

    def _update_lr(self, epoch):
        self.last_epoch = epoch
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            _set_lr(group, lr)
        self._last_lr = self._current()

    def _current(self):
        """The current rates."""
        return [_value(group["lr"]) for group in self.optimizer.param_groups]

    def _factor(self):
        raise NotImplementedError(f"{type(self).__name__}: has neither _factor nor get_lr")

    def get_lr(self):
        """The rates of this epoch, computed from the current ones."""
        factor = self._factor()
        return [lr * factor for lr in self._current()]

    def get_last_lr(self):
        """The rates after the last step."""
        return self._last_lr

    def state_dict(self):
        """A copy of all attributes but the optimizer, without functions; of other callables, their attributes."""
        return {name: _copied(value) for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict):
        """Restore a `state_dict`, also one of PyTorch. The rates themselves are in the optimizer's.

        ValueError if it isn't the state of such a scheduler.
        """
        self._check(state_dict)
        for name, value in state_dict.items():
            setattr(self, name, _restored(getattr(self, name, None), value))

    def _check(self, state):
        """ValueError that names what is wrong, if the state isn't one of such a scheduler."""
        kind = type(self).__name__
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise ValueError(f"{kind}: wanted a dict of names and values as the loaded state")
        if missing := self.state_dict().keys() - state.keys():
            raise ValueError(f"{kind}: the loaded state has no {', '.join(sorted(missing))}")
        for name, part in vars(self).items():
            if name in state and name != "optimizer":
                _check_part(f"{kind}: the loaded {name}", part, state[name])
        for name, least in _LEAST.items():
            if name in vars(self) and not (float(state[name]).is_integer() and state[name] >= least):
                wanted = f"a whole number of at least {least}"
                raise ValueError(f"{kind}: the loaded {name}: wanted {wanted}, got {state[name]}")


_LEAST = {"last_epoch": -1, "_step_count": 0, "step_size": 1, "T_max": 1, "T_0": 1, "T_i": 1, "T_mult": 1}


def _check_part(name, part, value):
    """ValueError unless an attribute of a scheduler can be restored from a value."""
    if isinstance(part, LRScheduler):
        part._check(value)
    elif isinstance(part, list):
        if not isinstance(value, (list, tuple)) or len(value) != len(part):
            raise ValueError(f"{name}: wanted {len(part)} of them")
        for pair in zip(part, value):
            _check_part(name, *pair)
    elif not callable(part):
        alike(name, part, value)
    elif value is not None and not isinstance(value, dict):
        raise ValueError(f"{name}: wanted the state of a function or None, got {type(value).__name__}")


def _optimizer(x):
    if not isinstance(x, Optimizer):
        raise TypeError(f"{type(x).__name__} is not an Optimizer")
    return x


def _value(lr):
    """A learning rate as a number, also one that is a Tensor."""
    return lr.item() if isinstance(lr, Tensor) else lr


def _set_lr(group, lr):
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def _copied(value):
    """An attribute of a scheduler, for its state."""
    if isinstance(value, LRScheduler):
        return value.state_dict()
    if isinstance(value, list):
        return [_copied(x) for x in value]
    if isinstance(value, types.FunctionType | types.MethodType):
        return None
    return copy.deepcopy(getattr(value, "__dict__", None) if callable(value) else value)


def _restored(part, value):
    """An attribute of a scheduler, restored from its state."""
    if isinstance(part, LRScheduler):
        part.load_state_dict(value)
        return part
    if isinstance(part, list):
        return [_restored(*pair) for pair in zip(part, value)]
    if callable(part):
        if value is not None and not isinstance(part, types.FunctionType):
            vars(part).update(copy.deepcopy(value))
        return part
    return type(part)(value) if isinstance(part, dict) else copy.deepcopy(value)


def _for_each_group(name, optimizer, value):
    """A list with a value for each group, from one value for all or a list."""
    n = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * n
    if len(value) != n:
        raise ValueError(f"{name} must have the same length as optimizer.param_groups: {len(value)} values, {n} groups")
    return list(value)


# Factors


class MultiplicativeLR(LRScheduler):
    """Multiplies the rate by lr_lambda(epoch): one function for all groups, or one for each."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        self.lr_lambdas = _for_each_group("lr_lambda", _optimizer(optimizer), lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda should be a function, but got {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self._is_initial:
            return self._current()
        return [lr * function(self.last_epoch) for lr, function in zip(self._current(), self.lr_lambdas)]

    def _restart(self):
        self._update_lr(0)  # PyTorch's has no rates to begin anew from


class LambdaLR(LRScheduler):
    """Sets the rate to the initial one times lr_lambda(epoch): one function for all groups, or one for each."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        self.lr_lambdas = _for_each_group("lr_lambda", _optimizer(optimizer), lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [lr * function(self.last_epoch) for lr, function in zip(self.base_lrs, self.lr_lambdas)]


class StepLR(LRScheduler):
    """Multiplies the rate by gamma every step_size epochs."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self):
        return self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else 1


class MultiStepLR(LRScheduler):
    """Multiplies the rate by gamma at each of the milestones."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self):
        return self.gamma ** self.milestones[self.last_epoch]


class ConstantLR(LRScheduler):
    """Multiplies the rate by factor at the start, and divides it by factor after total_iters epochs."""

    def __init__(self, optimizer, factor=1.0 / 3, total_iters=5, last_epoch=-1):
        if not 0 <= factor <= 1:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self):
        if self.last_epoch == 0:
            return self.factor
        return 1.0 / self.factor if self.last_epoch == self.total_iters else 1


class LinearLR(LRScheduler):
    """Scales the rate by a factor that changes linearly from start_factor to end_factor in total_iters epochs."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if not 0 < start_factor <= 1:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self):
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)


class ExponentialLR(LRScheduler):
    """Multiplies the rate by gamma after every epoch."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self):
        return 1 if self._is_initial else self.gamma


class PolynomialLR(LRScheduler):
    """Scales the rate by (1 − epoch/total_iters)^power."""

    def __init__(self, optimizer, total_iters=5, power=1.0, last_epoch=-1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _factor(self):
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1
        left, before = (1.0 - epoch / self.total_iters for epoch in (self.last_epoch, self.last_epoch - 1))
        return (left / before) ** self.power


# Cosines and cycles


class CosineAnnealingLR(LRScheduler):
    """Lowers the rate along half a cosine to eta_min in T_max epochs, then raises it (Loshchilov and Hutter 2016)."""

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        epoch, found = self.last_epoch, self._current()
        if self._is_initial:
            return found
        if self._step_count == 1 and epoch > 0:
            return [_annealed(lr, self.eta_min, epoch / self.T_max) for lr in self.base_lrs]
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # at the bottom, where there is nothing to multiply
            up = (1 - math.cos(math.pi / self.T_max)) / 2
            return [lr + (base_lr - self.eta_min) * up for lr, base_lr in zip(found, self.base_lrs)]
        now, before = (1 + math.cos(math.pi * i / self.T_max) for i in (epoch, epoch - 1))
        return [now / before * (lr - self.eta_min) + self.eta_min for lr in found]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Lowers the rate along half a cosine to eta_min and restarts, after T_0 epochs, T_0·T_mult, T_0·T_mult², …

    `step(epoch)` also takes a fraction of an epoch (Loshchilov and Hutter 2016).
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        self.T_0, self.T_i, self.T_mult, self.eta_min, self.T_cur = T_0, T_0, T_mult, eta_min, last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [_annealed(lr, self.eta_min, self.T_cur / self.T_i) for lr in self.base_lrs]

    def step(self, epoch=None):
        if epoch is None and self.last_epoch >= 0:
            epoch, self.T_cur = self.last_epoch + 1, self.T_cur + 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            epoch = epoch or 0
            if epoch < 0:
                raise ValueError(f"Expected non-negative epoch, but got {epoch}")
            restarts = epoch // self.T_0
            if self.T_mult > 1:
                restarts = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            before = self.T_0 * (restarts if self.T_mult == 1 else (self.T_mult**restarts - 1) / (self.T_mult - 1))
            self.T_cur, self.T_i = epoch - before, self.T_0 * self.T_mult**restarts
        self._update_lr(math.floor(epoch))


class _CyclesMomentum(LRScheduler):
    """A scheduler that lowers the momentum, or the first of betas, while it raises the rate."""

    def _begin(self, optimizer, base_momentum, max_momentum, last_epoch):
        """The lists of momenta, which new groups have as "base_momentum" and "max_momentum"."""
        if not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.optimizer, self.use_beta1 = optimizer, "betas" in optimizer.defaults
        bases = _for_each_group("base_momentum", optimizer, base_momentum)
        tops = _for_each_group("max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            for group, base, top in zip(optimizer.param_groups, bases, tops):
                self._set_momentum(group, top)
                group["max_momentum"], group["base_momentum"] = top, base
        return bases, tops

    def _set_momentum(self, group, momentum):
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(_CyclesMomentum):
    """Raises the rate from base_lr to max_lr in step_size_up steps, lowers it in step_size_down, … (Smith 2015).

    How high, the mode says: "triangular", "triangular2", which halves it each time, or "exp_range", gamma^step; or
    else scale_fn, of the cycle's number or with scale_mode="iterations" of the step's.
    """

    def __init__(
        self,
        optimizer,
        base_lr,
        max_lr,
        step_size_up=2000,
        step_size_down=None,
        mode="triangular",
        gamma=1.0,
        scale_fn=None,
        scale_mode="cycle",
        cycle_momentum=True,
        base_momentum=0.8,
        max_momentum=0.9,
        last_epoch=-1,
    ):
        base_lrs = _for_each_group("base_lr", _optimizer(optimizer), base_lr)
        self.max_lrs = _for_each_group("max_lr", optimizer, max_lr)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs):
                _set_lr(group, lr)
        self.total_size = float(step_size_up) + float(step_size_up if step_size_down is None else step_size_down)
        self.step_ratio = float(step_size_up) / self.total_size
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        self.scale_mode = scale_mode if scale_fn else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            momenta = self._begin(optimizer, base_momentum, max_momentum, last_epoch)
            self.base_momentums, self.max_momentums = momenta
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x):
        """The scale of the x-th cycle, or step."""
        if self._scale_fn_custom:
            return self._scale_fn_custom(x)
        return {"triangular": 1.0, "triangular2": 1 / 2.0 ** (x - 1), "exp_range": self.gamma**x}[self.mode]

    def get_lr(self):
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                self._set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs)]


class OneCycleLR(_CyclesMomentum):
    """Raises the rate from max_lr/div_factor to max_lr in pct_start of all steps, then lowers it.

    It ends at the initial rate/final_div_factor. With three_phase it comes down as it went up, and from there goes to
    the last (Smith and Topin 2017).
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps=None,
        epochs=None,
        steps_per_epoch=None,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=10000.0,
        three_phase=False,
        last_epoch=-1,
    ):
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        given = {"epochs": epochs, "steps_per_epoch": steps_per_epoch} if total_steps is None else {}
        for name, value in (given or {"total_steps": total_steps}).items():
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"Expected positive integer {name}, but got {value}")
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self.total_steps = epochs * steps_per_epoch if total_steps is None else total_steps
        self._anneal_func_type, self.cycle_momentum = anneal_strategy, cycle_momentum
        up, last = float(pct_start * self.total_steps) - 1, self.total_steps - 1
        rates = ["initial_lr", "max_lr", *(["initial_lr"] if three_phase else []), "min_lr"]
        momenta = ["max_momentum", "base_momentum", "max_momentum", *(["max_momentum"] if three_phase else [])]
        ends = [up, *([2 * up] if three_phase else []), last]
        names = "end_step", "start_lr", "end_lr", "start_momentum", "end_momentum"
        phases = zip(ends, rates, rates[1:], momenta, momenta[1:])
        self._schedule_phases = [dict(zip(names, phase)) for phase in phases]
        max_lrs = _for_each_group("max_lr", _optimizer(optimizer), max_lr)
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, max_lrs):
                group["initial_lr"], group["max_lr"] = top / div_factor, top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            self._begin(optimizer, base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _between(self, start, end, done):
        if self._anneal_func_type == "cos":
            return _annealed(start, end, done)
        return (end - start) * done + start

    def get_lr(self):
        step, start, phases = self.last_epoch, 0.0, self._schedule_phases
        if step > self.total_steps:
            raise ValueError(f"Tried to step {step} times. The specified number of total steps is {self.total_steps}")
        for phase in phases:
            if step <= phase["end_step"] or phase is phases[-1]:
                break
            start = phase["end_step"]
        done, groups = (step - start) / (phase["end_step"] - start), self.optimizer.param_groups
        if self.cycle_momentum:
            for group in groups:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(*ends, done))
        return [self._between(group[phase["start_lr"]], group[phase["end_lr"]], done) for group in groups]


def _annealed(start, end, done):
    """The value after the fraction `done` of half a cosine from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


# Metrics


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by factor if `metrics`, given to `step`, hasn't improved for more than `patience` epochs.

    It improves if it gets smaller (mode "min") or larger ("max") than the best so far by more than the threshold, which
    is relative to the best ("rel") or absolute ("abs"). After a change it waits `cooldown` epochs. The rate never goes
    below min_lr.
    """

    def __init__(
        self,
        optimizer,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0,
        eps=1e-8,
    ):
        if factor >= 1.0:
            raise ValueError("Factor should be < 1.0.")
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        self.optimizer, self.factor, self.patience = _optimizer(optimizer), factor, patience
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.cooldown, self.eps, self.min_lrs = cooldown, eps, _for_each_group("min_lr", optimizer, min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch, self.cooldown_counter, self.num_bad_epochs = 0, 0, 0
        self._last_lr = self._current()

    def step(self, metrics, epoch=None):
        metrics, self.last_epoch = float(metrics), self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(metrics, self.best):
            self.best, self.num_bad_epochs = metrics, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            for group, lr, least in zip(self.optimizer.param_groups, self._current(), self.min_lrs, strict=True):
                if lr - max(lr * self.factor, least) > self.eps:
                    _set_lr(group, max(lr * self.factor, least))
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._current()

    def _is_better(self, a, best):
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * a > sign * best * (1 + sign * self.threshold)
        return sign * a > sign * best + self.threshold


# Combinations


class ChainedScheduler(LRScheduler):
    """Several schedulers at once: each multiplies the current rates."""

    def __init__(self, schedulers, optimizer=None):
        self._schedulers = list(schedulers)
        self.optimizer = _shared_optimizer(self, optimizer)
        self._last_lr = self._current()

    def step(self):
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._current()


class SequentialLR(LRScheduler):
    """One scheduler after another, the next from each of the milestones on."""

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.optimizer, self.last_epoch = _shared_optimizer(self, optimizer), last_epoch + 1
        if len(self._milestones) != len(self._schedulers) - 1:
            raise ValueError(
                f"Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                f"milestone points, but got {len(self._schedulers)} schedulers and {len(self._milestones)} milestones"
            )
        for group in optimizer.param_groups:  # the schedulers have set it already, each in its constructor
            _set_lr(group, group["initial_lr"])
        _step_back(self)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self):
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        if i and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i]._restart()
        else:
            self._schedulers[i].step()
        self._last_lr = self._schedulers[i].get_last_lr()


def _step_back(scheduler):
    """Take back the epoch that schedulers count in their constructor."""
    if not hasattr(scheduler, "_schedulers"):
        scheduler.last_epoch -= 1
    for part in getattr(scheduler, "_schedulers", ()):
        _step_back(part)


def _shared_optimizer(whole, optimizer):
    """The optimizer that all of the schedulers have."""
    kind, schedulers = type(whole).__name__, whole._schedulers
    if not schedulers:
        raise ValueError(f"{kind} expects at least one scheduler, but got no scheduler.")
    optimizer = optimizer or schedulers[0].optimizer
    for i, scheduler in enumerate(schedulers):
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(f"{kind} does not support `ReduceLROnPlateau`, whose step wants metrics, at index {i}")
        if scheduler.optimizer is not optimizer:
            raise ValueError(f"{kind} expects all schedulers to belong to the same optimizer, not so at index {i}")
    return optimizer
