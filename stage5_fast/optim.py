"""Optimizers, which change parameters by their gradients, and schedulers, which change the learning rate."""

import math

import numpy as np

from .device import Setting, kernel, moved, number, together
from .engine import Tensor, changed
from .inplace import memory


class Optimizer:
    """What the optimizers share: `params` are changed in place, `state` is a dict of arrays for each of them.

    `names` are those of the arrays, of which a parameter has all or, before its first step, none.
    """

    names = ()

    def __init__(self, params, lr):
        self.params, self._lr = list(params), Setting(lr)
        self.state = [{} for _ in self.params]
        self._flat = None
        if not self.params:
            raise ValueError(f"{type(self).__name__}: no parameters to optimize")
        if isinstance(params, Tensor) or not all(isinstance(p, Tensor) and not p.op for p in self.params):
            raise TypeError(f"{type(self).__name__}: wanted a list of Tensors that no rule made")
        if lr < 0:
            raise ValueError(f"{type(self).__name__}: wanted a learning rate of at least 0, got {lr}")

    @property
    def lr(self):
        """The learning rate."""
        return self._lr.value

    @lr.setter
    def lr(self, lr):
        self._lr.value = lr

    def zero_grad(self):
        for p in self.params:
            p._grad = None

    def step(self):
        """Change every parameter that has a gradient, all at once where that can be."""
        complete = all([p._grad is not None and p._grad.shape == p.shape for p in self.params])
        if complete and self._flat is None and Flat.can_hold(self.params, self.state):
            self._flat = Flat(self.params, self.state)
        if complete and self._flat:
            self.state = self._flat.update(self._update)
            return
        if self._flat:
            self._flat, self.state = None, [{name: x.copy() for name, x in state.items()} for state in self.state]
        for p, state in zip(self.params, self.state):
            if p._grad is not None:
                array = memory(p)
                self._update(array, p._grad, state)
                changed(p._data)

    def state_dict(self):
        """The learning rate and a copy of all state, as one flat dict of arrays: "lr", "0.exp_avg", …"""
        arrays = {f"{i}.{name}": np.copy(x) for i, state in enumerate(self.state) for name, x in state.items()}
        return {"lr": np.array(self.lr), **arrays}

    def load_state_dict(self, state_dict):
        """Go on from a `state_dict`. ValueError, and no change, if it isn't one of this kind for these parameters."""
        lr, state = None, [{} for _ in self.params]
        shapes = {str(i): p.shape for i, p in enumerate(self.params)}
        for key, value in state_dict.items():
            i, _, name = key.partition(".")
            if key == "lr":
                lr = float(value)
            elif i in shapes and value.shape in ((), shapes[i]):
                state[int(i)][name] = moved(np.array(moved(value, "cpu")), self.params[int(i)].device)
            else:
                raise ValueError(
                    f"{type(self).__name__}: {key} of shape {value.shape} belongs to none of the parameters"
                )
        if lr is None:
            raise ValueError(f"{type(self).__name__}: the state has no lr")
        for i, arrays in enumerate(state):
            if arrays and set(arrays) != set(self.names):
                raise ValueError(f"{type(self).__name__}: wanted {self.names} for parameter {i}, got {tuple(arrays)}")
        self.lr, self.state, self._flat = lr, state, None


class Flat:
    """All parameters of an optimizer as one array, and their gradients and state too: one update changes them all."""

    def __init__(self, params, state):
        ends = np.cumsum([p._data.size for p in params]).tolist()
        self.params, self.parts = params, [slice(end - p._data.size, end) for p, end in zip(params, ends)]
        self.data, self.grad = (np.empty_like(params[0]._data, shape=ends[-1]) for _ in range(2))
        self.views, self.grads = self._split(self.data), self._split(self.grad)
        self.state = {
            name: x.copy() if name == "step" else np.concatenate([each[name].ravel() for each in state])
            for name, x in state[0].items()
        }
        self.states = None

    @staticmethod
    def can_hold(params, state):
        """Whether all parameters are of one dtype and on one device, and have come equally far."""
        same = len(set(params)) == len(params) and len({(p.dtype, p.device) for p in params}) == 1
        return same and len({(*each, *each.get("step", np.zeros(1)).ravel().tolist()) for each in state}) == 1

    def update(self, update):
        """Call update(p, g, state) for all at once; gives the state of each parameter, as views."""
        for p, view in zip(self.params, self.views):
            if p._data is not view:  # the first time, and where somebody gave it other data
                together("step", view, p._data)
                view[...] = p._data
        for p, view in zip(self.params, self.grads):  # CuPy would send the GPU the addresses of what it concatenates
            view[...] = p._grad
        update(self.data, self.grad, self.state)
        for p, view in zip(self.params, self.views):
            p._data = view
        changed(self.data)
        if self.states is None:
            split = {
                name: [x] * len(self.params) if name == "step" else self._split(x) for name, x in self.state.items()
            }
            self.states = [dict(zip(split, arrays)) for arrays in zip(*split.values())] or [{} for _ in self.params]
        return self.states

    def _split(self, array):
        return [array[part].reshape(p.shape) for part, p in zip(self.parts, self.params)]


class SGD(Optimizer):
    """p ← p − lr·g;  with momentum p ← p − lr·b where b ← momentum·b + g, or, nesterov, p ← p − lr·(g + momentum·b)."""

    def __init__(self, params, lr=1e-3, momentum=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(params, lr)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs a momentum")
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.names = ("momentum_buffer",) if momentum else ()

    def _update(self, p, g, state):
        if self.momentum and not state:
            state["momentum_buffer"] = np.zeros_like(p)
        buffer = state.get("momentum_buffer")
        sgd(p, g, buffer, self._lr.beside(p), self.momentum, self.weight_decay, self.nesterov)


class Adam(Optimizer):
    """Steps of the mean gradient over the root of its mean square, each corrected for its start (Kingma and Ba 2014).

    m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,  p ← p − lr·m̂/(√v̂ + ε), where m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ).
    """

    names, decoupled = ("step", "exp_avg", "exp_avg_sq"), False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def _update(self, p, g, state):
        if not state:
            state.update(step=np.zeros_like(p, int, shape=()), exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
        state["step"] += 1
        m, v, t = state["exp_avg"], state["exp_avg_sq"], number(state["step"])
        adam(p, g, m, v, t, self._lr.beside(p), self.betas, self.eps, self.weight_decay, self.decoupled)


class AdamW(Adam):
    """Adam, with weight decay apart from the gradient: p ← p − lr·weight_decay·p first (Loshchilov and Hutter 2017)."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps, weight_decay)


# The steps themselves: arrays in, which they change in place


@kernel
def sgd(p, g, buffer, lr, momentum, weight_decay, nesterov):
    """One step of SGD on p by its gradient g; the buffer is b, or None without momentum."""
    if weight_decay:
        g = g + weight_decay * p
    if momentum:
        buffer *= momentum
        buffer += g
        g = g + momentum * buffer if nesterov else buffer
    p -= lr * g


@kernel
def adam(p, g, m, v, t, lr, betas, eps, weight_decay, decoupled):
    """Step t, from 1, of Adam on p by its gradient g, with its means m and v; decoupled is the decay of AdamW."""
    beta1, beta2 = betas
    if decoupled:
        p *= 1 - lr * weight_decay
    elif weight_decay:
        g = g + weight_decay * p
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * (g * g)
    root = np.sqrt(v)
    root *= (1 - beta2**t) ** -0.5
    root += eps
    p -= (lr / (1 - beta1**t)) * m / root


def clip_grad_norm_(parameters, max_norm):
    """Scale all gradients so that together their norm is at most max_norm; the norm before is given back."""
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    with_grad = [p for p in parameters if p._grad is not None]
    norm = sum((p._grad.astype(np.float64) ** 2).sum() for p in with_grad) ** 0.5
    scale = np.minimum(max_norm / (norm + 1e-6), 1)
    for p in with_grad:
        p._grad = p._grad * scale.astype(p._grad.dtype)
    return norm


class Scheduler:
    """What the schedulers share: `step()` after each epoch, or step, sets the optimizer's learning rate anew."""

    def __init__(self, optimizer):
        self.optimizer, self.base_lr, self.last_epoch = optimizer, optimizer.lr, 0
        optimizer.lr = self._lr(0)

    def step(self):
        self.last_epoch += 1
        self.optimizer.lr = self._lr(self.last_epoch)

    def state_dict(self):
        return {"base_lr": np.array(self.base_lr), "last_epoch": np.array(self.last_epoch)}

    def load_state_dict(self, state_dict):
        self.base_lr, self.last_epoch = float(state_dict["base_lr"]), int(state_dict["last_epoch"])
        self.optimizer.lr = self._lr(self.last_epoch)


class StepLR(Scheduler):
    """The learning rate times gamma after every step_size epochs."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def _lr(self, epoch):
        return self.base_lr * self.gamma ** (epoch // self.step_size)


class CosineAnnealingLR(Scheduler):
    """The learning rate along half a cosine, down to eta_min in T_max epochs (Loshchilov and Hutter 2016)."""

    def __init__(self, optimizer, T_max, eta_min=0.0):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def _lr(self, epoch):
        return self.eta_min + (self.base_lr - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class LambdaLR(Scheduler):
    """The learning rate times lr_lambda(epoch)."""

    def __init__(self, optimizer, lr_lambda):
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def _lr(self, epoch):
        return self.base_lr * self.lr_lambda(epoch)
