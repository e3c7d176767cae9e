"""The base class of optimizers: groups of parameters, each with its settings, and a state for each parameter."""

import copy
import warnings
from collections import defaultdict

import numpy as np

from ..device import moved
from ..engine import Tensor, constant
from ..files import shown
from ..grad_mode import enable_grad
from ..inplace import changed, memory
from ..loaded import alike, cast, numbers
from ..ops import new_zeros

_AT_LEAST_0 = "step", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "acc_delta", "sum"  # of the names of state


class Optimizer:
    """Changes parameters in place by their gradients, as `torch.optim.Optimizer`.

    `params` are Tensors, pairs (name, Tensor), or dicts: a group's "params" and the settings in which it differs from
    `defaults`. `param_groups` is the list of all groups as such dicts, whose settings may be changed between steps;
    `state` maps each parameter to a dict of its state, under PyTorch's names.

    A subclass has `_names(group)`, the names of the state, and `_update(p, g, state, lr, group, first)`, one step of
    one parameter; or it overrides `step`.
    """

    def __init__(self, params, defaults):
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts")
        self._valid(**defaults)
        self.defaults, self.state, self.param_groups = defaults, defaultdict(dict), []
        self._stepped = type(self).step is not Optimizer.step  # whether a scheduler need not wait; others' aren't seen
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group):
        """Add a group of parameters to optimize, with its settings or, for those it doesn't have, the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but got a set")
        params = [params] if isinstance(params, Tensor) else list(params)
        group = {**param_group, "params": [p[1] if isinstance(p, tuple) else p for p in params]}
        if names := [p[0] for p in params if isinstance(p, tuple)]:
            if len(names) < len(params):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["param_names"] = names
        group = {**group, **{name: value for name, value in self.defaults.items() if name not in group}}
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group):
        """Raise PyTorch's error unless a new group can be added."""
        params = group["params"]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if p.op:
                raise ValueError("can't optimize a non-leaf Tensor")
        if group.get("differentiable"):
            raise NotImplementedError(f"{type(self).__name__}: differentiable=True: no gradient goes through a step")
        if len(params) != len(set(params)):
            warnings.warn("optimizer contains a parameter group with duplicate parameters", stacklevel=4)
        if any(("param_names" in other) != ("param_names" in group) for other in self.param_groups):
            raise ValueError("all optimizer param groups should be with/without names")
        if not set(params).isdisjoint(p for other in self.param_groups for p in other["params"]):
            raise ValueError("some parameters appear in more than one parameter group")

    def zero_grad(self, set_to_none=True):
        """Set all gradients to None or, with set_to_none=False, to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p._grad = None
                elif p._grad is not None:
                    memory(p, "_grad")[...] = 0
                    changed(p._grad)

    @np.errstate(all="ignore")
    def step(self, closure=None):
        """Update every parameter that has a gradient; returns the loss of `closure`, which recomputes the gradients."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._stepped = True
        for group in self.param_groups:
            names, lr = self._names(group), float(group["lr"])
            begins = [(p, names and not self.state.get(p)) for p in group["params"] if p._grad is not None]
            changed(*[p._data for p, _ in begins])
            for p, first in begins:
                array, g = p._data if type(p._data) is np.ndarray else memory(p), p._grad
                state = self._arrays(p, names) if names else {}
                self._update(array, -g if group["maximize"] else g, state, lr, group, first)
        return loss

    def _valid(self, **settings):
        """ValueError unless the settings, of the constructor or of a loaded state, are valid."""

    def _names(self, group):
        return ()

    def _update(self, p, g, state, lr, group, first):
        raise NotImplementedError(f"{type(self).__name__}: has neither `step` nor `_update`")

    def _arrays(self, p, names):
        """The arrays of a parameter's state, created if missing; its step count is increased by one."""
        state = self.state[p]
        for name in names:
            if name not in state:
                zeros = np.zeros_like(p._data)
                state[name] = constant(new_zeros(zeros, ()).astype(np.float32) if name == "step" else zeros)
        arrays = {name: state[name]._data for name in names}
        if "step" in arrays:
            arrays["step"] += 1
        return arrays

    def state_dict(self):
        """A copy of all state and settings: {"state": {0: {…}}, "param_groups": [{…, "params": [0]}]}."""
        numbers, groups, start = {}, [], 0
        for group in self.param_groups:
            numbers |= {p: i for i, p in enumerate(group["params"], start) if p not in numbers}
            start += len(group["params"])
            settings = {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
            groups.append({**settings, "params": [numbers[p] for p in group["params"]]})
        state = {numbers.get(p, p): copy.deepcopy(state) for p, state in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Go on from a `state_dict`, PyTorch's too.

        ValueError, and no change, if it isn't for these parameters or holds what can't be: it names it.
        """
        self._has("dict", state_dict, ("state", "param_groups"))
        states, saved = state_dict["state"], state_dict["param_groups"]
        self._has("state", states, ())
        if not isinstance(saved, (list, tuple)) or len(self.param_groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for group, new in zip(self.param_groups, saved):
            self._has("settings", new, [name for name, x in self.defaults.items() if not isinstance(x, bool | None)])
            if not isinstance(new.get("params"), (list, tuple)) or len(group["params"]) != len(new["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
        groups, state, left = [], defaultdict(dict), dict(states)
        for group, new in zip(self.param_groups, saved):
            for name, value in new.items():
                alike(f"{type(self).__name__}: the loaded {name}", self.defaults.get(name, value), value)
            self._valid(**{**self.defaults, **new})
            kept = {name: group[name] for name in ("params", "param_names") if name in group}
            groups.append({**self.defaults, **copy.deepcopy(new), **kept})
            for i, p in zip(new["params"], group["params"]):
                if mine := self._loaded(i, p, left.pop(i, {}), self._names(groups[-1])):
                    state[p] = mine
        for i, value in left.items():
            if isinstance(i, int) or str(i).isdecimal():
                raise ValueError(f"{type(self).__name__}: no parameter is the one of the loaded state {shown(repr(i))}")
            state[i] = copy.deepcopy(value)
        for group, new in zip(self.param_groups, groups):
            group.clear()  # it stays the same dict: others may have a reference to it
            group.update(new)
        self.state = state

    def _has(self, what, found, wanted):
        """ValueError unless what was found is a dict with the names wanted, and with names alone, but for the state."""
        fits = isinstance(found, dict) and (what == "state" or all(isinstance(name, str) for name in found))
        if not fits or not all(name in found for name in wanted):
            got = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
            raise ValueError(
                f"{type(self).__name__}: wanted {', '.join(wanted) or 'a dict'} in the loaded {what}, got {shown(got)}"
            )

    def _loaded(self, i, p, saved, names):
        """The state of a parameter made of a saved one: arrays in its shape, with its dtype and on its device."""
        self._has(f"state of parameter {i}", saved, ())
        state, saved = {}, {name: value for name, value in saved.items() if value is not None}
        self._has(f"state of parameter {i}", saved, names if saved else ())
        for name, value in saved.items():
            what, dtype = f"{type(self).__name__}: the loaded {name}", np.float32 if name == "step" else p.dtype
            if name in names:
                array = cast(what, numbers(what, value, "fiu"), dtype)
                if array.shape != (() if name == "step" else p.shape):
                    raise ValueError(f"{shown(what)} has shape {array.shape}, its parameter {tuple(p.shape)}")
                if name in _AT_LEAST_0 and not (array >= 0).all():
                    raise ValueError(f"{what} has numbers below 0 or NaN")
                state[name] = constant(moved(array.copy(), p.device))
            else:
                state[name] = _taken(what, value, dtype, p.device)
        return state

    def __repr__(self):
        lines = []
        for i, group in enumerate(self.param_groups):
            settings = sorted(name for name in group if name != "params")
            lines += [f"Parameter Group {i}", *[f"    {name}: {group[name]}" for name in settings]]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])


def _taken(name, value, dtype, device):
    """A copy of what an optimizer of somebody's keeps: arrays with the dtype, and on the device, of the parameter."""
    if hasattr(value, "__array__"):
        return constant(moved(cast(name, numbers(name, value), dtype).copy(), device))
    if isinstance(value, dict):
        return {key: _taken(f"{name}.{key}", part, dtype, device) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_taken(name, part, dtype, device) for part in value])
    return copy.deepcopy(value)


def valid(condition, what):
    """Raise PyTorch's ValueError unless a setting is valid."""
    if not condition:
        raise ValueError(f"Invalid {what}")
