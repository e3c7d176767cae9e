"""What a case is: a function of tensors or a module, the numbers it is run on, and what is looked at afterwards."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np

# Domains: where an input's numbers come from


def normal(rng, shape):
    """Normal numbers, the default."""
    return rng.standard_normal(shape)


def positive(rng, shape):
    """From 0.5 to 3, for logarithms, roots and divisors."""
    return rng.uniform(0.5, 3, shape)


def separate(rng, shape):
    """Numbers at least 0.1 from each other and from 0, for functions with a kink or a largest."""
    n = int(np.prod(shape))
    steps = rng.permutation(n).reshape(shape) + 1.0
    return steps * 0.1 * rng.choice([-1, 1], shape)


def ties(rng, shape):
    """Small integers, so that many are equal."""
    return rng.integers(-1, 2, shape).astype(np.float64)


def signs(rng, shape):
    """−1 or 1, as the labels of a max-margin loss."""
    return rng.choice([-1.0, 1.0], shape)


def zero_one(rng, shape):
    """From 0 to 1."""
    return rng.uniform(0, 1, shape)


def probabilities(rng, shape):
    """Positive and adding up to 1 over dim 1, or over the only dim."""
    x = rng.uniform(0.1, 1, shape)
    return x / x.sum(axis=min(x.ndim - 1, 1), keepdims=True)


def classes(n):
    """Class indices below n."""
    return lambda rng, shape: rng.integers(0, n, shape)


def distinct(n):
    """Indices below n, in each row none twice."""
    return lambda rng, shape: rng.permuted(np.tile(np.arange(n), (*shape[:-1], 1)), axis=-1)[..., : shape[-1]]


def fraction(rng, shape):
    """From −0.9 to 0.9, for inverse functions."""
    return rng.uniform(-0.9, 0.9, shape)


@dataclass(frozen=True, eq=False)
class Case:
    """A function that runs on PyTorch and on the engine, with the same body.

    `body` takes one tensor per shape; if its first parameter is called F, it gets torch's functions first, or the
    engine's under the same names. `domain` says where the numbers come from, one for all or one for each; `values`
    gives the numbers themselves instead of `shapes`. The inputs at the places in `constant` want no gradient and come
    as plain arrays. `smooth=False` says that central differences mean nothing here. `host=True` says that it is about
    memory as the host's arrays show it. `float32=False` says that a network rounds too often for it, as with training,
    or that PyTorch's float32 depends on the processor: it is compared in float64 alone. `capability` is the row of
    capabilities.py.
    """

    name: str
    body: Callable
    shapes: Sequence = ()
    values: Sequence = ()
    domain: Callable | Sequence = normal
    constant: Sequence = ()
    smooth: bool = True
    host: bool = False
    capability: str = ""
    float32: bool = True

    @cached_property
    def parameters(self):
        """The body's parameters."""
        return inspect.signature(self.body).parameters

    @cached_property
    def names(self):
        """The inputs, as the body calls them; parameters that have a value already are the case's own."""
        parameters = self.parameters.values()
        return [x.name for x in parameters if x.name != "F" and x.default is x.empty and x.kind is not x.VAR_KEYWORD]

    def arrays(self, engine, dtype="float64"):
        """The inputs: name -> array, the same in every run."""
        if self.values:
            arrays = [np.asarray(value) for value in self.values]
        else:
            domains = self.domain if isinstance(self.domain, Sequence) else [self.domain] * len(self.shapes)
            rng = _generator(self.name, "inputs")
            arrays = [np.asarray(domain(rng, shape)) for domain, shape in zip(domains, self.shapes, strict=True)]
        return {name: _cast(array, dtype) for name, array in zip(self.names, arrays, strict=True)}

    def is_variable(self, name, array):
        """Whether a gradient is wanted for the input."""
        return array.dtype.kind == "f" and self.names.index(name) not in self.constant

    def run(self, engine, arrays):
        """The output, and the tensors that want a gradient: name -> tensor."""
        tensors = {
            name: engine.tensor(array) if self.is_variable(name, array) else engine.constant(array)
            for name, array in arrays.items()
        }
        namespace = {"F": engine.F} if "F" in self.parameters else {}
        out = self.body(**namespace, **tensors)
        return out, {name: tensors[name] for name in arrays if self.is_variable(name, arrays[name])}

    def observe(self, engine, dtype="float64"):
        """The output and the gradient of every input, under a random cotangent: name -> array."""
        with np.errstate(all="ignore") if getattr(engine, "warns", False) else nullcontext():
            out, tensors = self.run(engine, self.arrays(engine, dtype))
            seen = {"output": np.array(engine.value(out))}
            engine.backward(out, self.cotangent(seen["output"]))
            return seen | {f"gradient of {name}": engine.grad(tensor) for name, tensor in tensors.items()}

    def cotangent(self, out):
        """A random gradient for the output, of its shape and dtype: under a bare sum many mistakes cancel."""
        return _cast(_generator(self.name, "cotangent").standard_normal(out.shape), out.dtype)


@dataclass(frozen=True, eq=False)
class ModuleCase(Case):
    """A module of PyTorch and the engine's of the same name, with the same parameters and buffers.

    `body` gets the namespace of modules and builds one. It is run in training mode and then in evaluation mode, or in
    the modes given; what the two leave behind, gradients and buffers, is looked at under the names of the state_dict.
    """

    modes: Sequence = ("train", "eval")

    def arrays(self, engine, dtype="float64"):
        rng = _generator(self.name, "inputs")
        arrays = {"input": _cast(self.domain(rng, self.shapes[0]), dtype)}
        for name, initial in state(engine, self.body(engine.nn)).items():
            if initial.dtype.kind == "f":
                domain = positive if name.endswith("running_var") else normal
                initial = _cast(domain(_generator(self.name, name), initial.shape), dtype)
            arrays[name] = initial
        return arrays

    def is_variable(self, name, array):
        return array.dtype.kind == "f" and "running_" not in name

    def build(self, engine, arrays):
        """The module with the given arrays as its parameters and buffers."""
        return engine.loaded(self.body(engine.nn), {name: array for name, array in arrays.items() if name != "input"})

    def forward(self, engine, module, array):
        """The output and the input's tensor."""
        x = engine.tensor(array) if self.is_variable("input", array) else engine.constant(array)
        return module(x), x

    def run(self, engine, arrays):
        module = self.build(engine, arrays)
        getattr(module, self.modes[0])()
        out, x = self.forward(engine, module, arrays["input"])
        variables = {"input": x, **dict(module.named_parameters())}
        return out, {name: tensor for name, tensor in variables.items() if self.is_variable(name, arrays[name])}

    def observe(self, engine, dtype="float64"):
        arrays = self.arrays(engine, dtype)
        module, seen = self.build(engine, arrays), {}
        for mode in self.modes:
            getattr(module, mode)()
            out, x = self.forward(engine, module, arrays["input"])
            seen[f"output in {mode} mode"] = np.array(engine.value(out))
            engine.backward(out, self.cotangent(seen[f"output in {mode} mode"]))
            if self.is_variable("input", arrays["input"]):
                seen[f"gradient of the input in {mode} mode"] = engine.grad(x)
            for name, parameter in module.named_parameters():
                seen[f"gradient of {name} after {mode} mode"] = np.array(engine.grad(parameter))
            seen |= {f"{name} after {mode} mode": array for name, array in state(engine, module).items()}
        return seen


def state(engine, module):
    """The state_dict with copied arrays."""
    return {name: engine.host(value).copy() for name, value in module.state_dict().items()}


def _generator(*names):
    """Random numbers that depend on the names alone: the same in every run, on every machine."""
    return np.random.default_rng([crc32(name.encode()) for name in names])


def _cast(array, dtype):
    array = np.asarray(array)
    with np.errstate(over="ignore"):  # of 1e300, float32 makes infinity
        return array.astype(dtype) if array.dtype.kind == "f" else array
