"""Recurrent layers, which read sequences step by step, and their cells, which are one step."""

import math

from .. import recurrent
from ..creation import empty, zeros
from ..engine import Tensor, cat, stack
from . import functional as F, init
from .module import Module
from .parameter import Parameter

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}  # how many of hidden_size numbers a step makes


def _mode(op, nonlinearity):
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{op}: wanted nonlinearity 'tanh' or 'relu', got {nonlinearity!r}")
    return f"RNN_{nonlinearity.upper()}"


def _register(module, suffix, size, bias, device, dtype):
    """Give a module the weights and biases of one layer, or of one direction of it."""
    rows = GATES[module.mode] * module.hidden_size
    shapes = {"weight_ih": (rows, size), "weight_hh": (rows, module.hidden_size)}
    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
    for name, shape in shapes.items():
        module.register_parameter(name + suffix, Parameter(empty(shape, device=device, dtype=dtype)))
    return [name + suffix for name in shapes]


def _reset(module):
    bound = 1 / math.sqrt(module.hidden_size) if module.hidden_size else 0
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


def _first(module, hx, shape, input):
    """What is kept before the first step, as a list: h or, of an LSTM, h and c; zeros unless it is given."""
    op, lstm = type(module).__name__, module.mode == "LSTM"
    if hx is None:
        return [zeros(shape, dtype=input.dtype, device=input.device)] * (1 + lstm)
    if lstm and not (isinstance(hx, tuple | list) and len(hx) == 2):
        raise TypeError(f"{op}: wanted hx as a pair, h_0 and c_0, got {type(hx).__name__}")
    first = list(hx) if lstm else [hx]
    for x in first:
        if not isinstance(x, Tensor) or x.shape != shape:
            raise RuntimeError(f"{op}: wanted hx of shape {shape}, got {tuple(x.shape) if hasattr(x, 'shape') else x}")
    return first


def _check(module, input, dims):
    op = type(module).__name__
    if not isinstance(input, Tensor):
        raise TypeError(f"{op}: wanted a Tensor, got {type(input).__name__}; pad sequences with nn.utils.rnn")
    if input.ndim not in dims or input.shape[-1] != module.input_size:
        wanted = " or ".join([f"{n} dims" for n in dims])
        raise ValueError(f"{op}: wanted {wanted}, the last of {module.input_size}, got {tuple(input.shape)}")
    if 0 in input.shape[:-1]:
        raise RuntimeError(f"{op}: wanted at least one step and one sequence, got {tuple(input.shape)}")


class _Recurrent(Module):
    """The base class of recurrent layers: (T, N, input_size) -> (T, N, directions·hidden_size), and the last states.

    The states are (directions·num_layers, N, hidden_size); a layer reads what the one below it gives. With
    `batch_first`, input and output are (N, T, …). Without N, it is one sequence.
    """

    def __init__(
        self,
        mode,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        proj_size=0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        op = type(self).__name__
        F.refuse(op, proj_size=proj_size or None)
        for name, size in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{op}: wanted {name} of at least 1, got {size!r}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{op}: wanted a probability from 0 to 1 as dropout, got {dropout}")
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        self.proj_size, self._layers = 0, []
        for layer in range(num_layers):
            size = input_size if layer == 0 else (1 + bidirectional) * hidden_size
            suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: 1 + bidirectional]
            self._layers.append([_register(self, suffix, size, bias, device, dtype) for suffix in suffixes])
        self.reset_parameters()

    @property
    def all_weights(self):
        """The parameters of each layer and direction, as lists."""
        return [[getattr(self, name) for name in names] for layer in self._layers for names in layer]

    def flatten_parameters(self):
        """Nothing: PyTorch lays the weights out for NVIDIA's library."""

    def reset_parameters(self):
        _reset(self)

    def forward(self, input, hx=None):
        _check(self, input, (2, 3))
        x, alone = input, input.ndim == 2
        if alone:
            x = x.unsqueeze(1)
            hx = hx if hx is None else [h.unsqueeze(1) for h in hx] if self.mode == "LSTM" else hx.unsqueeze(1)
        turned = self.batch_first and not alone
        weights = self.all_weights
        first = _first(self, hx, (len(weights), x.shape[not turned], self.hidden_size), x)
        last = []
        for i, names in enumerate(self._layers):
            if i:
                x = F.dropout(x, self.dropout, self.training)
            ways = []
            for backwards in range(len(names)):
                k = i * len(names) + backwards
                before = [states[k] for states in first]
                given = x.flip(int(turned)) if backwards else x
                out, after = recurrent.run(self.mode, given, before, weights[k], turned)
                ways.append(out.flip(0) if backwards else out)
                last.append(after)
            x, turned = cat(ways, dim=-1) if len(ways) > 1 else out, False
        states = [stack(each) for each in zip(*last)]
        if alone:
            x, states = x.squeeze(1), [h.squeeze(1) for h in states]
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, tuple(states) if self.mode == "LSTM" else states[0]

    def extra_repr(self):
        usual = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        unusual = [f", {name}={vars(self)[name]}" for name, value in usual.items() if vars(self)[name] != value]
        return f"{self.input_size}, {self.hidden_size}{''.join(unusual)}"


class RNN(_Recurrent):
    """hₜ = tanh(W xₜ + b + U hₜ₋₁ + d), or max(…, 0) with nonlinearity "relu" (Elman 1990)."""

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        nonlinearity="tanh",
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        device=None,
        dtype=None,
    ):
        mode = _mode("RNN", nonlinearity)
        sizes = input_size, hidden_size, num_layers
        super().__init__(mode, *sizes, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity


class LSTM(_Recurrent):
    """Gates decide what a cell c forgets, takes in and shows as h (Hochreiter and Schmidhuber 1997)."""

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        proj_size=0,
        device=None,
        dtype=None,
    ):
        sizes = input_size, hidden_size, num_layers
        super().__init__("LSTM", *sizes, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)


class GRU(_Recurrent):
    """A gate z decides how much of h stays, and r how much of it goes into what is new (Cho et al. 2014)."""

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        device=None,
        dtype=None,
    ):
        sizes = input_size, hidden_size, num_layers
        super().__init__("GRU", *sizes, bias, batch_first, dropout, bidirectional, 0, device, dtype)


class _Cell(Module):
    """The base class of cells: one step, (N, input_size) or (input_size,) and what was kept -> what is kept."""

    def __init__(self, mode, input_size, hidden_size, bias, device, dtype):
        super().__init__()
        self.mode, self.input_size, self.hidden_size, self.bias = mode, input_size, hidden_size, bias
        self._names = _register(self, "", input_size, bias, device, dtype)
        if not bias:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self):
        _reset(self)

    def _step(self, input, hx):
        _check(self, input, (1, 2))
        first = _first(self, hx, (*input.shape[:-1], self.hidden_size), input)
        if input.ndim == 1:
            input, first = input.unsqueeze(0), [h.unsqueeze(0) for h in first]
            return [h.squeeze(0) for h in self._batch(input, first)]
        return self._batch(input, first)

    def _batch(self, input, first):
        weights = [getattr(self, name) for name in self._names]
        return recurrent.run(self.mode, input.unsqueeze(0), first, weights)[1]

    def extra_repr(self):
        bias = "" if self.bias else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{bias}{', nonlinearity=relu' if self.mode == 'RNN_RELU' else ''}"


class RNNCell(_Cell):
    """h ← tanh(W x + b + U h + d), or max(…, 0) with nonlinearity "relu"."""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(_mode("RNNCell", nonlinearity), input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        return self._step(input, hx)[0]


class LSTMCell(_Cell):
    """One step of an LSTM: (h, c) -> (h, c)."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__("LSTM", input_size, hidden_size, bias, device, dtype)

    def forward(self, input, hx=None):
        return tuple(self._step(input, hx))


class GRUCell(_Cell):
    """One step of a GRU: h -> h."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__("GRU", input_size, hidden_size, bias, device, dtype)

    def forward(self, input, hx=None):
        return self._step(input, hx)[0]
