"""The graph: a Tensor remembers which rule made it from which inputs, and `backward()` walks from it to the leaves."""

import operator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from itertools import count

import numpy as np

from . import ops

_recording = ContextVar("recording", default=True)
_new = object.__new__
_clock = count(1)
_float64 = np.dtype(np.float64)


@contextmanager
def no_grad():
    """Inside, results remember nothing and require no grad. Works as a decorator too, like `torch.no_grad`."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def _node(data, op=None, inputs=(), backward=None):
    """A Tensor as a rule made it; without an op it is a constant."""
    tensor = _new(Tensor)
    tensor._data, tensor.grad, tensor.requires_grad, tensor.op = data, None, op is not None, op
    tensor.inputs, tensor._backward, tensor._changed = inputs, backward, next(_clock)
    return tensor


def _constant(x):
    """What meets a Tensor in an expression, as a Tensor that requires no grad. A number keeps the other's dtype."""
    if isinstance(x, np.generic):
        x = x.item()
    return _node(x) if isinstance(x, (float, int)) or hasattr(x, "__array_function__") else NotImplemented


def _operand(op, x):
    """The constant for an op that takes no other operand."""
    constant = _constant(x)
    if constant is NotImplemented:
        raise TypeError(f"{op}: wanted Tensors, arrays or numbers, got {type(x).__name__}")
    return constant


def _failed(op, inputs, error):
    """The error that a rule raised, with the op and what it got in front."""
    kind = TypeError if isinstance(error, TypeError) else type(error)  # NumPy's own of them want other arguments
    return kind(f"{op} of {', '.join(str(np.shape(x.data)) for x in inputs)}: {error}")


def _narrowed(out, inputs):
    """float64 only if PyTorch would give it: for float64 inputs, those with dims if there are any; else float32."""
    arrays = [x._data for x in inputs if hasattr(x._data, "dtype")]
    floats = [x for x in arrays if x.dtype.kind == "f"]
    decisive = [x for x in floats if x.ndim] or floats
    return out if any([x.dtype is _float64 for x in decisive]) else out.astype(np.float32)


def _unary(rule):
    """The method of one Tensor that a rule describes."""

    @wraps(rule)
    def method(x, *args, **options):
        try:
            out, backward = rule(x._data, *args, **options)
        except (ArithmeticError, ValueError, IndexError, TypeError) as error:
            raise _failed(rule.__name__, (x,), error) from None
        if out.dtype is _float64:
            out = _narrowed(out, (x,))
        if x.requires_grad and _recording.get():
            return _node(out, rule.__name__, (x,), backward)
        return _node(out)

    return method


def _binary(rule):
    """The operator of two Tensors that a rule describes, and its reflection for a number on the left."""

    op = rule.__name__

    @wraps(rule)
    def method(x, y):
        if not isinstance(y, Tensor):
            y = _constant(y)
            if y is NotImplemented:
                return y
        try:
            out, backward = rule(x._data, y._data)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise _failed(op, (x, y), error) from None
        if out.dtype is _float64:
            out = _narrowed(out, (x, y))
        if (x.requires_grad or y.requires_grad) and _recording.get():
            return _node(out, op, (x, y), backward)
        return _node(out)

    def reflected(y, x):
        x = _constant(x)
        return x if x is NotImplemented else method(x, y)

    return method, reflected


def apply(rule, inputs, *args, **options):
    """What a rule makes of its inputs: a Tensor, which remembers the way back if one of them requires grad.

    Inputs may be Tensors, arrays or numbers; what follows them goes to the rule as it is.
    """
    try:
        arrays = [x._data for x in inputs]
    except AttributeError:
        inputs = tuple([x if isinstance(x, Tensor) else _operand(rule.__name__, x) for x in inputs])
        arrays = [x._data for x in inputs]
    try:
        out, backward = rule(*arrays, *args, **options)
    except (ArithmeticError, ValueError, IndexError, TypeError) as error:
        raise _failed(rule.__name__, inputs, error) from None
    if out.dtype is _float64:
        out = _narrowed(out, inputs)
    if _recording.get() and any([x.requires_grad for x in inputs]):
        return _node(out, rule.__name__, inputs, backward)
    return _node(out)


def _comparison(compare):
    """A comparison of the numbers: a boolean array, which no gradient goes through."""
    return lambda x, y: compare(x.data, _unwrapped(y))


def _unwrapped(x):
    return x.data if isinstance(x, Tensor) else x


def _array(data):
    """The data of a new Tensor: an array of its own, of numbers."""
    array = np.array(data, like=data if hasattr(data, "__array_function__") else None)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Tensor: wanted numbers, got {type(data).__name__} of dtype {array.dtype}")
    return array.astype(np.float32) if array.dtype == np.float64 and not hasattr(data, "dtype") else array


class Tensor:
    """An array in a computation graph.

    `data` is the array, `grad` the array that `backward()` left on it (None before the first), `requires_grad` says
    whether it wants one; it does unless told otherwise, where `torch.tensor` does not. `op` and `inputs` say how it
    was made. Python floats become float32, an array is copied and keeps its dtype; integers never require grad.
    """

    __slots__ = ("_data", "_changed", "grad", "requires_grad", "op", "inputs", "_backward")
    __array_ufunc__ = None  # so that `array * tensor` asks the Tensor

    def __init__(self, data, requires_grad=True):
        self.data = _array(data)
        self.grad = None
        self.requires_grad = requires_grad and self.data.dtype.kind == "f"
        self.op, self.inputs, self._backward = None, (), None

    @property
    def data(self):
        """The array itself."""
        return self._data

    @data.setter
    def data(self, data):
        self._data = data
        self._changed = next(_clock)  # `x.data -= step` comes by here too

    def backward(self, gradient=None):
        """Add the gradient of this tensor's sum, or of Σ(self·gradient), to the `grad` of every leaf it was made from.

        Leaves accumulate from call to call. The tensors between have their `grad` too, that of the latest call.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor requires no grad, nor does anything it was made from")
        data = self._data
        gradient = np.ones_like(data) if gradient is None else np.asarray(gradient, like=np.empty_like(data))
        if gradient.shape != data.shape:
            raise ValueError(f"backward: the gradient has shape {gradient.shape}, the tensor {data.shape}")
        order = topological_order(self)
        for tensor in order:
            tensor.grad = None
        _accumulate(self, gradient, gradient)
        for tensor in reversed(order):
            incoming, made = tensor.grad, tensor._changed
            for x, g in zip(tensor.inputs, tensor._backward(incoming)):
                if x._changed > made:
                    raise RuntimeError(
                        f"backward: an input of {tensor.op}, of shape {np.shape(x.data)}, was changed after the graph "
                        "was built on it; compute the loss again first"
                    )
                if x.requires_grad:
                    _accumulate(x, g() if callable(g) else g, incoming)

    def detach(self):
        """The same numbers without their history; the array is shared."""
        return _node(self.data)

    def item(self):
        """The number, as a Python number."""
        return self.data.item()

    def numpy(self):
        """The array, shared with the tensor."""
        return np.asarray(self.data)

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

    __matmul__, __rmatmul__ = _binary(ops.matmul)
    sqrt = _unary(ops.sqrt)
    abs = __abs__ = _unary(ops.abs)
    maximum = _binary(ops.maximum)[0]
    minimum = _binary(ops.minimum)[0]
    clip = _unary(ops.clip)
    sum = _unary(ops.sum)
    mean = _unary(ops.mean)
    max = _unary(ops.max)
    min = _unary(ops.min)
    var = _unary(ops.var)
    std = _unary(ops.std)
    softmax = _unary(ops.softmax)
    log_softmax = _unary(ops.log_softmax)
    logsumexp = _unary(ops.logsumexp)
    reshape = _unary(ops.reshape)
    flatten = _unary(ops.flatten)
    squeeze = _unary(ops.squeeze)
    unsqueeze = _unary(ops.unsqueeze)
    transpose = _unary(ops.transpose)
    permute = _unary(ops.permute)
    expand = _unary(ops.expand)
    pad = _unary(ops.pad)

    def __getitem__(self, index):
        index = tuple(map(_unwrapped, index)) if isinstance(index, tuple) else _unwrapped(index)
        return apply(ops.getitem, (self,), index)

    __eq__, __ne__ = _comparison(operator.eq), _comparison(operator.ne)
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __hash__ = object.__hash__

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    dtype = property(lambda self: self.data.dtype)
    T = property(lambda self: self.permute(range(self.ndim)[::-1]))

    def __len__(self):
        return len(self.data)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(self.data)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype=dtype, copy=copy)

    def __repr__(self):
        return f"Tensor({np.array2string(self.data, separator=', ', prefix='Tensor(')}, dtype={self.dtype})"


def topological_order(root):
    """Every tensor that a rule made on the way to `root`, each once, inputs before what they made; leaves are left out.

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


def _accumulate(x, g, incoming):
    """Add g to the gradient of x, in the shape and dtype of x. Here, and only here, broadcasting is undone."""
    data = x._data
    if g.shape != data.shape:
        g = ops.unbroadcast(g, data.shape)
    if x.grad is not None:
        g = x.grad + g
    elif not x.op and (g is incoming or g.base is not None and np.may_share_memory(g, incoming)):
        g = g.copy()  # a leaf's gradient is its own: it shares no memory with another's
    x.grad = g if g.dtype is data.dtype else g.astype(data.dtype)


def where(condition, x, y):
    """x where the condition holds, else y, as `torch.where`."""
    return apply(ops.where, (x, y), _unwrapped(condition))


def cat(tensors, dim=0):
    """The tensors joined along dim, as `torch.cat`."""
    return apply(ops.cat, tensors, dim=dim)


def stack(tensors, dim=0):
    """The tensors, of one shape, side by side along a new dim, as `torch.stack`."""
    return apply(ops.stack, tensors, dim=dim)
