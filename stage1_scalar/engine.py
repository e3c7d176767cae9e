"""The graph: a Tensor records the rule and the inputs that made it, and `backward()` traverses it to the leaves."""

import operator
from functools import wraps
from numbers import Real

from . import ops
from .grad_mode import recording as _recording

_new = object.__new__


def _node(data, op=None, inputs=(), derivatives=()):
    """The Tensor that a rule returned; without an op it is a constant."""
    tensor = _new(Tensor)
    tensor.data, tensor.grad, tensor.requires_grad = data, None, op is not None
    tensor.op, tensor.inputs, tensor.derivatives = op, inputs, derivatives
    return tensor


def _constant(x):
    """The other operand of a Tensor, as a Tensor that requires no grad."""
    return _node(float(x)) if isinstance(x, Real) else NotImplemented


def _failed(op, inputs, error):
    """The error that a rule raised, preceded by the op and its inputs."""
    return type(error)(f"{op} of {', '.join(str(x.data) for x in inputs)}: {error}")


def _unary(rule):
    """The method of Tensor that applies a rule of one input."""

    @wraps(rule)
    def method(x):
        try:
            out, backward = rule(x.data)
        except (ArithmeticError, ValueError) as error:
            raise _failed(rule.__name__, (x,), error) from None
        if x.requires_grad and _recording.get():
            return _node(out, rule.__name__, (x,), backward(1.0))
        return _node(out)

    return method


def _binary(rule):
    """The operator of Tensor that applies a rule of two inputs, and its reflection for a number on the left."""

    op = rule.__name__

    @wraps(rule)
    def method(x, y):
        if not isinstance(y, Tensor):
            y = _constant(y)
            if y is NotImplemented:
                return y
        try:
            out, backward = rule(x.data, y.data)
        except (ArithmeticError, ValueError) as error:
            raise _failed(op, (x, y), error) from None
        if (x.requires_grad or y.requires_grad) and _recording.get():
            return _node(out, op, (x, y), backward(1.0))
        return _node(out)

    def reflected(y, x):
        x = _constant(x)
        return x if x is NotImplemented else method(x, y)

    return method, reflected


def _comparison(compare):
    """A comparison of the numbers."""

    def method(x, y):
        y = y.data if isinstance(y, Tensor) else y
        return compare(x.data, y) if isinstance(y, Real) else NotImplemented

    return method


class Tensor:
    """One number in a computation graph.

    `data` is the number, `grad` the gradient that `backward()` computed (None before the first), `requires_grad`
    says whether it gets one; the default is True, unlike that of `torch.tensor`. `op` is the rule that made it, or
    None, `inputs` are the Tensors that it was made from, and `derivatives` those with respect to them, in their order.
    """

    __slots__ = ("data", "grad", "requires_grad", "op", "inputs", "derivatives")

    def __init__(self, data, requires_grad=True):
        if not isinstance(data, Real):
            raise TypeError(f"Tensor: wanted a number, got {type(data).__name__}")
        self.data, self.grad, self.requires_grad = float(data), None, requires_grad
        self.op, self.inputs, self.derivatives = None, (), ()

    def backward(self, gradient=1.0):
        """Add the gradient of this number, times `gradient`, to the `grad` of every leaf it depends on.

        Leaves accumulate over calls. Intermediate tensors have their `grad` too, that of the latest call.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor requires no grad, nor does anything it was made from")
        order = topological_order(self)
        for tensor in order:
            tensor.grad = None
        self.grad = gradient if self.grad is None else self.grad + gradient
        for tensor in reversed(order):
            g = tensor.grad
            for x, slope in zip(tensor.inputs, tensor.derivatives):
                if x.requires_grad:
                    if callable(slope):
                        try:
                            slope = slope()
                        except (ArithmeticError, ValueError) as error:
                            raise _failed(f"backward: {tensor.op}", tensor.inputs, error) from None
                    x.grad = g * slope if x.grad is None else x.grad + g * slope

    def detach(self):
        """The same number without its history."""
        return _node(self.data)

    def item(self):
        """The number, as a Python number."""
        return self.data

    __add__, __radd__ = _binary(ops.add)
    __sub__, __rsub__ = _binary(ops.sub)
    __mul__, __rmul__ = _binary(ops.mul)
    __truediv__, __rtruediv__ = _binary(ops.div)
    __pow__, __rpow__ = _binary(ops.pow)
    __neg__ = _unary(ops.neg)
    exp = _unary(ops.exp)
    log = _unary(ops.log)
    tanh = _unary(ops.tanh)
    sigmoid = _unary(ops.sigmoid)
    relu = _unary(ops.relu)

    __eq__, __ne__ = _comparison(operator.eq), _comparison(operator.ne)
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __hash__ = object.__hash__

    def __float__(self):
        return self.data

    def __round__(self, ndigits=None):
        return round(self.data, ndigits)

    def __format__(self, spec):
        return format(self.data, spec)

    def __repr__(self):
        return f"Tensor({self.data}, grad={self.grad})"


def dot(x, y):
    """Σ xᵢyᵢ of two lists of Tensors or numbers, of one length, as a single step of the graph."""
    if len(x) != len(y):
        raise ValueError(f"dot: wanted lists of one length, got {len(x)} and {len(y)} numbers")
    inputs = [x if isinstance(x, Tensor) else _constant(x) for x in (*x, *y)]
    try:
        numbers = [x.data for x in inputs]
    except AttributeError:
        raise TypeError("dot: wanted two lists of Tensors or numbers") from None
    out, backward = ops.dot(numbers[: len(x)], numbers[len(x) :])
    if _recording.get() and any([x.requires_grad for x in inputs]):
        return _node(out, "dot", tuple(inputs), backward(1.0))
    return _node(out)


def topological_order(root):
    """The tensors from which `root` was computed and root itself, each once, inputs first, without leaves.

    Depth first and without recursion: None on the stack says that all inputs of the tensor below it are done.
    """
    order, seen, stack = [], set(), [root] if root.op else []
    while stack:
        tensor = stack.pop()
        if tensor is None:
            order.append(stack.pop())
        elif tensor not in seen:
            seen.add(tensor)
            stack.append(tensor)
            stack.append(None)
            for x in tensor.inputs:
                if x.op:
                    stack.append(x)
    return order
