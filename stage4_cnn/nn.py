"""Networks: modules, which hold parameters and know how to run, the losses, and how weights begin."""

import math

import numpy as np

from . import ops
from .engine import Tensor, apply, array_of, changed

_generator = np.random.default_rng()


def manual_seed(seed):
    """Fix the numbers that initial weights and dropout are drawn from, as `torch.manual_seed`."""
    global _generator
    _generator = np.random.default_rng(seed)


class Parameter(Tensor):
    """A Tensor that a Module which holds it counts among its parameters."""

    __slots__ = ()


class Module:
    """A part of a network: parameters, buffers and other modules as attributes, and `forward`, which uses them.

    What is an attribute is found by itself; modules in a plain list are not (`Sequential` is for that). Parameters are
    trained; buffers are plain arrays that are saved with them, such as running statistics.
    """

    training = True
    _buffers = ()

    def __call__(self, *inputs):
        return self.forward(*inputs)

    def forward(self, *inputs):
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def register_buffer(self, name, array):
        """Make the array an attribute that is saved with the parameters but not trained."""
        self._buffers = (*self._buffers, name)
        setattr(self, name, array)

    def named_children(self):
        """(name, module) for each module directly in this one."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Module)]

    def children(self):
        return [child for _, child in self.named_children()]

    def _named_state(self, prefix=""):
        """(full name, owner, attribute) for all that is saved: own parameters, own buffers, then the children's."""
        own = [name for name, value in vars(self).items() if isinstance(value, Parameter)]
        for name in (*own, *self._buffers):
            yield prefix + name, self, name
        for name, child in self.named_children():
            yield from child._named_state(f"{prefix}{name}.")

    def named_parameters(self):
        """(name, parameter) for each parameter here and below, once, the name being its path: "0.weight"."""
        found = {}
        for name, owner, attribute in self._named_state():
            value = getattr(owner, attribute)
            if isinstance(value, Parameter):
                found.setdefault(value, name)
        return [(name, parameter) for parameter, name in found.items()]

    def parameters(self):
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self):
        for parameter in self.parameters():
            parameter._grad = None

    def state_dict(self):
        """A copy of every parameter and buffer, under the names that the same network has in PyTorch."""
        return {name: np.copy(_numbers(getattr(owner, attribute))) for name, owner, attribute in self._named_state()}

    def load_state_dict(self, state_dict):
        """Take over all arrays of a `state_dict`, PyTorch's too. If anything doesn't fit: ValueError, and no change."""
        mine = self.state_dict()
        new = {name: np.asarray(value) for name, value in state_dict.items()}
        faults = [f"missing key {name}" for name in mine if name not in new]
        faults += [f"unexpected key {name}" for name in new if name not in mine]
        faults += [f"{name} holds {new[name].dtype}, no numbers" for name in new if new[name].dtype.kind not in "fiub"]
        faults += [
            f"{name} has shape {new[name].shape}, wanted {mine[name].shape}"
            for name in mine
            if name in new and new[name].shape != mine[name].shape
        ]
        if faults:
            raise ValueError(f"load_state_dict: {type(self).__name__}: {'; '.join(faults)}")
        for name, owner, attribute in self._named_state():
            array = new[name].astype(mine[name].dtype)
            value = getattr(owner, attribute)
            if isinstance(value, Parameter):
                value._data[...] = array
                changed(value._data)
            else:
                setattr(owner, attribute, array)

    def train(self, mode=True):
        """Into training mode, or with False out of it: it matters to dropout and batch norm. Gives the module back."""
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self):
        return self.train(False)

    def __repr__(self):
        own = [f"{name} {value.shape}" for name, value in vars(self).items() if isinstance(value, Parameter)]
        below = [f"\n({name}): {child}".replace("\n", "\n  ") for name, child in self.named_children()]
        return f"{type(self).__name__}({', '.join(own)}{''.join(below)}" + ("\n)" if below else ")")


class Sequential(Module):
    """Modules one after the other."""

    def __init__(self, *modules):
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def forward(self, x):
        for module in vars(self).values():
            if isinstance(module, Module):
                x = module(x)
        return x

    def __len__(self):
        return len(self.children())

    def __getitem__(self, index):
        return self.children()[index]


class Linear(Module):
    """x Wᵀ + b: (…, in_features) -> (…, out_features). Weights begin uniform within ±1/√in_features."""

    def __init__(self, in_features, out_features, bias=True):
        self.in_features, self.out_features = in_features, out_features
        self.weight = uniform((out_features, in_features), 1 / math.sqrt(in_features))
        self.bias = uniform(out_features, 1 / math.sqrt(in_features)) if bias else None

    def forward(self, x):
        return linear(x, self.weight, self.bias)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return x.relu()


class Tanh(Module):
    """tanh x."""

    def forward(self, x):
        return x.tanh()


class Sigmoid(Module):
    """1/(1 + e⁻ˣ)."""

    def forward(self, x):
        return x.sigmoid()


class GELU(Module):
    """x·Φ(x), exactly, as PyTorch's default."""

    def forward(self, x):
        return gelu(x)


class Flatten(Module):
    """(N, …) -> (N, product of the rest)."""

    def __init__(self, start_dim=1, end_dim=-1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.flatten(self.start_dim, self.end_dim)


class Dropout(Module):
    """In training, each number becomes 0 with probability p, and the others are scaled by 1/(1 − p)."""

    def __init__(self, p=0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: wanted a probability from 0 to 1, got {p}")
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        kept = _generator.random(x.shape) >= self.p
        return x * (kept / max(1 - self.p, 1e-30)).astype(x.dtype)


class Embedding(Module):
    """A row of the table for each index: integers of any shape -> (that shape, embedding_dim)."""

    def __init__(self, num_embeddings, embedding_dim):
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = Parameter(_generator.standard_normal((num_embeddings, embedding_dim), dtype=np.float32))

    def forward(self, index):
        return self.weight[_indices(index, self.num_embeddings, "Embedding")]


class LayerNorm(Module):
    """Each example brought to mean 0 and variance 1 over its last dims, then weight·x̂ + bias (Ba et al. 2016)."""

    def __init__(self, normalized_shape, eps=1e-5):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32))
        self.bias = Parameter(np.zeros(self.normalized_shape, np.float32))

    def forward(self, x):
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise ValueError(f"LayerNorm: wanted last dims {self.normalized_shape}, got {x.shape}")
        dim = tuple(range(-len(self.normalized_shape), 0))
        return apply(ops.normalize, (x, self.weight, self.bias), *ops.moments(x._data, dim), self.eps, dim)


class BatchNorm1d(Module):
    """Each channel brought to mean 0 and variance 1 over the batch, then weight·x̂ + bias (Ioffe and Szegedy 2015).

    (N, C) or (N, C, L) in and out. In training the statistics are the batch's, and the running ones move towards them
    by `momentum`; in evaluation they are the running ones.
    """

    dims = (2, 3)

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.register_buffer("running_mean", np.zeros(num_features, np.float32))
        self.register_buffer("running_var", np.ones(num_features, np.float32))
        self.register_buffer("num_batches_tracked", np.array(0))

    def forward(self, x):
        if x.ndim not in self.dims or x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: wanted {self.num_features} channels in dim 1, got {x.shape}")
        channels = (1, -1) + (1,) * (x.ndim - 2)
        weight, bias = self.weight.reshape(channels), self.bias.reshape(channels)
        if not self.training:
            scale = weight / np.sqrt(self.running_var + self.eps).reshape(channels)
            return (x - self.running_mean.reshape(channels)) * scale + bias
        dim = (0, *range(2, x.ndim))
        mean, var = ops.moments(x._data, dim)
        self._track(mean.ravel(), var.ravel(), math.prod(x.shape) // self.num_features)
        return apply(ops.normalize, (x, weight, bias), mean, var, self.eps, dim)

    def _track(self, mean, var, n):
        if n < 2:
            raise ValueError(f"{type(self).__name__}: training needs more than one number per channel")
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (var * n / (n - 1) - self.running_var)
        self.num_batches_tracked += 1


# Functions


def linear(x, weight, bias=None):
    """x Wᵀ + b: (…, in), (out, in), (out,) -> (…, out)."""
    return apply(ops.linear, (x, weight) if bias is None else (x, weight, bias))


def gelu(x):
    """x·Φ(x)."""
    return apply(ops.gelu, (x,))


def logsigmoid(x):
    """log(1/(1 + e⁻ˣ))."""
    return apply(ops.logsigmoid, (x,))


def mse_loss(input, target, reduction="mean"):
    """(input − target)², averaged ("mean"), added up ("sum") or as it is ("none")."""
    _same_shape("mse_loss", input, target)
    return _reduced((input - target) ** 2, reduction)


def cross_entropy(input, target, reduction="mean"):
    """−log softmax(input)[target]: logits (N, C, …) or (C,), class indices (N, …) or probabilities of input's shape."""
    dim = min(input.ndim - 1, 1)
    if _numbers(target).dtype.kind == "f":
        _same_shape("cross_entropy", input, target)
        return _reduced(-(input.log_softmax(dim) * target).sum(dim), reduction)
    target = _indices(target, input.shape[dim], "cross_entropy")
    if target.shape != input.shape[:dim] + input.shape[dim + 1 :]:
        raise ValueError(f"cross_entropy: logits {input.shape} do not fit class indices {target.shape}")
    if input.ndim == 2:
        return _reduced(apply(ops.cross_entropy, (input,), target), reduction)
    rows = input.permute(*range(dim), *range(dim + 1, input.ndim), dim).reshape(-1, input.shape[dim])
    return _reduced(apply(ops.cross_entropy, (rows,), target.ravel()).reshape(target.shape), reduction)


def binary_cross_entropy_with_logits(input, target, reduction="mean"):
    """−t·log σ(x) − (1 − t)·log(1 − σ(x)) for targets from 0 to 1, of input's shape."""
    _same_shape("binary_cross_entropy_with_logits", input, target)
    return _reduced((1 - target) * input - logsigmoid(input), reduction)


def hinge_loss(input, target, reduction="mean"):
    """max(0, 1 − t·x) for targets −1 and 1, of input's shape: the max-margin loss."""
    _same_shape("hinge_loss", input, target)
    return _reduced((1 - target * input).relu(), reduction)


def _reduced(loss, reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: wanted 'mean', 'sum' or 'none', got {reduction!r}")
    return loss if reduction == "none" else getattr(loss, reduction)()


def _numbers(x):
    return array_of(x)


def _same_shape(name, input, target):
    if input.shape != _numbers(target).shape:
        raise ValueError(f"{name}: input {input.shape} and target {_numbers(target).shape} differ in shape")


def _indices(index, size, name):
    """The array of indices, each checked to lie from 0 to size − 1."""
    index = _numbers(index)
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: wanted integer indices, got {index.dtype}")
    if index.size and not 0 <= index.min() <= index.max() < size:
        raise IndexError(f"{name}: wanted indices from 0 to {size - 1}, got {index.min()} to {index.max()}")
    return index


# How weights begin: each fills a Tensor of shape (out, in, …) and gives it back, under PyTorch's names


def kaiming_uniform_(tensor, a=0.0, mode="fan_in"):
    """Uniform with variance 2/((1 + a²)·fan), for layers before a (leaky) ReLU of slope a (He et al. 2015)."""
    return _fill_uniform(tensor, math.sqrt(2 / (1 + a * a) / _fan(tensor, mode)))


def kaiming_normal_(tensor, a=0.0, mode="fan_in"):
    """Normal with variance 2/((1 + a²)·fan), for layers before a (leaky) ReLU of slope a (He et al. 2015)."""
    return _fill_normal(tensor, math.sqrt(2 / (1 + a * a) / _fan(tensor, mode)))


def xavier_uniform_(tensor, gain=1.0):
    """Uniform with variance 2·gain²/(fan_in + fan_out), for layers before a tanh (Glorot and Bengio 2010)."""
    return _fill_uniform(tensor, gain * math.sqrt(2 / (_fan(tensor, "fan_in") + _fan(tensor, "fan_out"))))


def xavier_normal_(tensor, gain=1.0):
    """Normal with variance 2·gain²/(fan_in + fan_out), for layers before a tanh (Glorot and Bengio 2010)."""
    return _fill_normal(tensor, gain * math.sqrt(2 / (_fan(tensor, "fan_in") + _fan(tensor, "fan_out"))))


def _fan(tensor, mode):
    """How many numbers go into each output, or how many outputs each input goes into."""
    if tensor.ndim < 2 or mode not in ("fan_in", "fan_out"):
        raise ValueError(f"wanted weights (out, in, …) and 'fan_in' or 'fan_out', got {tensor.shape} and {mode!r}")
    return math.prod(tensor.shape) // tensor.shape[0 if mode == "fan_in" else 1]


def _fill_uniform(tensor, std):
    tensor._data[...] = np.asarray(uniform(tensor.shape, math.sqrt(3) * std)._data, like=tensor._data)
    changed(tensor._data)
    return tensor


def _fill_normal(tensor, std):
    tensor._data[...] = np.asarray(std * _generator.standard_normal(tensor.shape), like=tensor._data)
    changed(tensor._data)
    return tensor


def uniform(shape, bound):
    """A float32 Parameter of numbers from −bound to bound."""
    return Parameter(_generator.uniform(-bound, bound, shape).astype(np.float32))
