"""The graph: a Tensor records the rule and the inputs that made it, and `backward()` traverses it to the leaves."""

import copy
import operator
import warnings
from collections import Counter
from functools import wraps
from itertools import repeat
from types import SimpleNamespace

import numpy as np

from . import inplace, ops
from .device import check_same_device, device_of, moved, on_host
from .grad_mode import recording as _recording
from .inplace import changed, clock as _clock

_new = object.__new__
_float64 = np.dtype(np.float64)
_OF_FLOATS = {"acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp", "exp2", "expm1", "log"}
_OF_FLOATS |= {"log10", "log1p", "log2", "rsqrt", "sigmoid", "sin", "sinh", "sqrt", "tan", "tanh"}
_OF_FLOATS |= {"atan2", "hypot", "logaddexp", "logsumexp", "xlogy"}
_when_made = operator.attrgetter("_made")
_hooked = False  # whether a tensor has ever had a hook
_callbacks = []  # what to call at the end of `backward()`
warnings.filterwarnings("ignore", category=RuntimeWarning, module=__package__)  # NumPy's, of infinities and NaN
_VIEWS = {ops.reshape, ops.flatten, ops.squeeze, ops.unsqueeze, ops.transpose, ops.permute, ops.expand, ops.getitem}


def _node(data, op=None, inputs=(), backward=None):
    """The Tensor that a rule returned; without an op it is a constant."""
    tensor = _new(Tensor)
    tensor._data, tensor._grad, tensor._requires_grad = data, None, op is not None
    tensor.op, tensor.inputs, tensor._backward = op, inputs, backward
    tensor._made = next(_clock)
    return tensor


def constant(array):
    """A Tensor that holds this very array and requires no grad."""
    return _node(array)


def _constant(x):
    """The other operand of a Tensor, as a Tensor that requires no grad. A number takes the Tensor's dtype."""
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, (float, int)):
        return _node(x)
    return _node(_of_numbers(x, x)) if hasattr(x, "__array_function__") else NotImplemented


def _operand(op, x):
    """The operand as a constant; TypeError if it can't be one."""
    constant = _constant(x)
    if constant is NotImplemented:
        raise TypeError(f"{op}: wanted Tensors, arrays or numbers, got {type(x).__name__}")
    return constant


def array_of(x):
    """The array of a Tensor, an array itself, or an array of anything else."""
    return x._data if isinstance(x, Tensor) else x if hasattr(x, "__array_function__") else np.asarray(x)


def _failed(op, inputs, error, others=()):
    """The error that a rule raised, preceded by the op and its inputs."""
    check_same_device(op, *[x._data for x in inputs], *others)
    kind = TypeError if isinstance(error, TypeError) else type(error)  # NumPy's subclasses take other arguments
    return kind(f"{op} of {', '.join(str(np.shape(x._data)) for x in inputs)}: {error}")


def _again(rule, inputs, error, *args, **options):
    """The result of a rule for which NumPy warned of infinities or NaN; PyTorch doesn't warn.

    Under `np.seterr(all="raise")`, if the result has some: the error, with the op and its inputs.
    """
    with np.errstate(all="ignore"):
        out, backward = rule(*[x._data for x in inputs], *args, **options)
        if isinstance(error, FloatingPointError) and "underflow" not in str(error) and not np.isfinite(out).all():
            raise _failed(rule.__name__, inputs, error, args) from None
    return out, backward


def _narrowed(out, inputs):
    """float64 as PyTorch's dtype: the widest of the floating-point inputs, of those with dims if there are any.

    If all inputs are integers, that is float32.
    """
    arrays = [x._data for x in inputs if hasattr(x._data, "dtype")]
    floats = [x for x in arrays if x.dtype.kind == "f"]
    decisive = [x.dtype for x in floats if x.ndim] or [x.dtype for x in floats] or [np.dtype(np.float32)]
    dtype = max(decisive, key=lambda dtype: dtype.itemsize)
    if dtype is _float64:
        return out
    with np.errstate(all="ignore"):
        return out.astype(dtype)


def _widened(x):
    """The tensor, integers of 8 bits as float32: NumPy's functions return float16 for them."""
    return x.to(np.float32) if getattr(x._data, "itemsize", 8) == 1 else x


def _named(op, x, options):
    """The tensor, cast to `dtype` if given, and the options; NumPy's names of options are accepted."""
    if options.pop("out", None) is not None:
        raise NotImplementedError(f"{op}: out= is not supported; assign the result instead")
    if (dtype := options.pop("dtype", None)) is not None:
        x = x.to(dtype)
    return x, {{"axis": "dim", "keepdims": "keepdim"}.get(name, name): value for name, value in options.items()}


def _unary(rule):
    """The method of Tensor that applies a rule of one input."""

    is_view, of_floats = rule in _VIEWS, rule.__name__ in _OF_FLOATS

    @wraps(rule)
    def method(x, *args, **options):
        if of_floats:
            x = _widened(x)
        if options:
            x, options = _named(rule.__name__, x, options)
        try:
            out, backward = rule(x._data, *args, **options) if args or options else rule(x._data)
        except (RuntimeWarning, FloatingPointError) as error:
            out, backward = _again(rule, (x,), error, *args, **options)
        except (ArithmeticError, ValueError, IndexError, TypeError) as error:
            raise _failed(rule.__name__, (x,), error) from None
        if out.dtype is _float64:
            out = _narrowed(out, (x,))
        if x._requires_grad and _recording.get():
            return _node(out, rule.__name__, (x,), backward)
        return _node(out, None, _viewed(out, x)) if is_view else _node(out)

    return method


def _binary(rule):
    """The operator of Tensor that applies a rule of two inputs, and its reflection for a number on the left."""

    op = rule.__name__

    @wraps(rule)
    def method(x, other):
        y = other if isinstance(other, Tensor) else _constant(other)
        if y is NotImplemented:
            return y
        try:
            out, backward = rule(x._data, y._data)
        except (RuntimeWarning, FloatingPointError) as error:
            out, backward = _again(rule, (x, y), error)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise _failed(op, (x, y), error) from None
        if out.dtype is _float64:
            out = _narrowed(out, (x, y))
        if (x._requires_grad or y._requires_grad) and _recording.get():
            return _node(out, op, (x, y), backward)
        return _node(out)

    def reflected(y, x):
        x = _constant(x)
        return x if x is NotImplemented else method(x, y)

    return method, reflected


def apply(rule, inputs, *args, **options):
    """Apply a rule to inputs: a Tensor, which records the backward function if one of them requires grad.

    Inputs may be Tensors, arrays or numbers; further arguments are passed to the rule. The arrays that its backward
    function gives are to be its own, and none twice: gradients are added up in place. What it got it may pass on, and
    None says that an input has no gradient.
    """
    inputs = tuple(inputs)
    try:
        arrays = [x._data for x in inputs]
    except AttributeError:
        inputs = tuple([x if isinstance(x, Tensor) else _operand(rule.__name__, x) for x in inputs])
        arrays = [x._data for x in inputs]
    if rule.__name__ in _OF_FLOATS and all([getattr(x, "itemsize", 1) == 1 for x in arrays]):
        inputs = tuple(map(_widened, inputs))
        arrays = [x._data for x in inputs]
    try:
        out, backward = rule(*arrays, *args, **options)
    except (RuntimeWarning, FloatingPointError) as error:
        out, backward = _again(rule, inputs, error, *args, **options)
    except (ArithmeticError, ValueError, IndexError, TypeError) as error:
        raise _failed(rule.__name__, inputs, error, args) from None
    if out.dtype is _float64 and rule is not ops.astype:
        out = _narrowed(out, inputs)
    if _recording.get() and any([x._requires_grad for x in inputs]):
        return _node(out, rule.__name__, inputs, backward)
    return _node(out, None, _viewed(out, inputs[0])) if rule in _VIEWS else _node(out)


def _viewed(out, x):
    """The inputs of a constant: the tensor whose memory it shares, which updates in place need."""
    return (x,) if inplace.owner(out) is inplace.owner(x._data) else ()


def _comparison(compare):
    """The comparison operator: it returns a Tensor of booleans, which requires no grad."""

    def method(x, other):
        y = _unwrapped(other)
        if not (isinstance(y, (float, int, np.generic)) or hasattr(y, "__array_function__")):
            return NotImplemented
        check_same_device(compare.__name__, x._data, y)
        try:
            return _node(compare(x._data, y))
        except ValueError as error:
            raise ValueError(f"{compare.__name__} of {x.shape}, {np.shape(y)}: {error}") from None

    return method


def in_place(method):
    """The in-place version of a method, named with `_`: it writes its result into the memory of the Tensor."""

    op = method.__name__

    def update(x, *args, **options):
        def compute(x_before):
            out = method(x_before, *[x_before if y is x else y for y in args], **options)
            if out is NotImplemented:
                raise TypeError(f"{op}_: wanted Tensors, arrays or numbers, got {type(args[0]).__name__}")
            return out

        return inplace.update(op, x, compute, [y for y in args if isinstance(y, Tensor)])

    return update


def _operator_in_place(operate, method):
    """The in-place operator of Tensor: outside the graph that of its array, else as `in_place`."""

    within_graph = in_place(method)

    def update(x, y):
        recorded = (x._requires_grad or type(y) is Tensor and y._requires_grad) and _recording.get()
        if recorded or type(x._data) is not np.ndarray or type(y) not in (Tensor, float, int):
            return within_graph(x, y)
        try:
            operate(x._data, _unwrapped(y))
        except (TypeError, ValueError):
            return within_graph(x, y)  # which raises the error
        except RuntimeWarning:
            pass  # NumPy warns after it has written
        except FloatingPointError as error:
            raise _failed(f"{method.__name__}_", (x,), error) from None
        changed(x._data)
        return x

    return update


def _unwrapped(x):
    return x._data if isinstance(x, Tensor) else x


def _array(data):
    """The data of a new Tensor: a new array of numbers."""
    data = _unwrapped(data)
    array = np.array(data, like=data if hasattr(data, "__array_function__") else None)
    _of_numbers(array, data)
    if array.dtype != np.float64 or hasattr(data, "dtype"):
        return array
    with np.errstate(all="ignore"):
        return array.astype(np.float32)


def _of_numbers(array, data):
    """The array made of the data. TypeError if it holds complex numbers, objects or strings."""
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Tensor: wanted numbers, got {type(data).__name__} of dtype {array.dtype}")
    return array


def _fitting(name, tensor, value):
    """The array of a Tensor, or a copy of an array; ValueError unless it has a tensor's shape and dtype."""
    if isinstance(value, Tensor):
        array = value._data
    else:
        like = value if hasattr(value, "__array_function__") else None
        array = np.array(value, None if hasattr(value, "dtype") else tensor.dtype, like=like)
        array = moved(array, tensor.device)
    if array.shape != tensor.shape or array.dtype != tensor.dtype:
        raise ValueError(
            f"{name}: wanted shape {tuple(tensor.shape)} and {tensor.dtype}, got {array.shape} and {array.dtype}"
        )
    check_same_device(name, tensor._data, array)
    return array


class Size(tuple):
    """The shape of a Tensor, as `torch.Size`."""

    __slots__ = ()

    def numel(self):
        """The product of the sizes."""
        return int(np.prod(self, dtype=int))

    def __getitem__(self, index):
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __repr__(self):
        return f"torch.Size({list(self)})"


class Tensor:
    """An array in a computation graph.

    `data` holds the numbers, `grad` the gradient that `backward()` computed (None before the first), both as Tensors.
    `requires_grad` says whether it gets one; the default is True, unlike that of `torch.Tensor` and `tensor()`. `op`
    and `inputs` say how it was made. Python floats become float32, an array is copied and keeps its dtype; integers
    never require grad. It is on the given `device` or, by default, on that of `data`.
    """

    __slots__ = ("_data", "_grad", "_requires_grad", "op", "inputs", "_backward", "_made", "_was", "__weakref__")
    __slots__ += ("_hooks", "__dict__")  # of some leaves; what a program notes on a tensor
    __array_ufunc__ = None  # so that `array * tensor` calls Tensor.__rmul__

    def __init__(self, data, requires_grad=True, device=None):
        if not isinstance(requires_grad, bool):
            raise TypeError(f"Tensor: wanted True or False for requires_grad, got {requires_grad!r}")
        self._data = _array(data) if device is None else moved(_array(data), device)
        self._grad = None
        self._requires_grad = requires_grad and self._data.dtype.kind == "f"
        self.op, self.inputs, self._backward, self._made = None, (), None, next(_clock)

    @property
    def data(self):
        """The same numbers, in the same memory, without history."""
        return _node(self._data if type(self._data) is np.ndarray else inplace.memory(self))

    @data.setter
    def data(self, value):
        if isinstance(value, Tensor) and value._data is self._data:
            return  # `x.data -= step` has already written to it
        array = _fitting("data", self, value)
        changed(self._data)  # so that graphs which saved it raise an error
        self._data = array

    @property
    def grad(self):
        """The gradient, a Tensor that shares its memory; None before the first `backward()`."""
        if self._grad is None:
            return None
        return _node(self._grad if type(self._grad) is np.ndarray else inplace.memory(self, "_grad"))

    @grad.setter
    def grad(self, value):
        self._grad = None if value is None else _fitting("grad", self, value)

    @property
    def requires_grad(self):
        """Whether `backward()` computes its gradient; it can be set on leaves."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value):
        if self.op and not value:
            raise RuntimeError(
                "requires_grad: only that of a leaf can be unset; detach() gives a tensor without history"
            )
        if value and self._data.dtype.kind != "f":
            raise RuntimeError(f"requires_grad: only floating-point numbers can have a gradient, this is {self.dtype}")
        self._requires_grad = bool(value)

    @np.errstate(all="ignore")
    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Add the gradient of this tensor's sum, or of Σ(self·gradient), to the `grad` of every leaf it depends on.

        Leaves accumulate over calls. Intermediate tensors have their `grad` too, that of the latest call. What the
        rules saved is freed, unless `retain_graph`, which a second call needs.
        """
        if create_graph or inputs is not None:
            raise NotImplementedError("backward: create_graph and inputs are not supported")
        if not self._requires_grad:
            raise RuntimeError("backward: this tensor requires no grad, nor does anything it was made from")
        data = self._data
        if gradient is None:
            gradient = type(data)(1) if isinstance(data, np.generic) else np.ones_like(data)
        else:
            gradient = _unwrapped(gradient)
            check_same_device("backward", data, gradient)
            gradient = np.asarray(gradient, like=np.empty_like(data))
        if gradient.shape != data.shape:
            raise ValueError(f"backward: the gradient has shape {gradient.shape}, the tensor {data.shape}")
        order = topological_order(self)
        latest, updated = inplace.latest, inplace.latest_recorded
        if updated:
            updated = updated > min([tensor._made for tensor in (*order, self)])
        for tensor in order:
            tensor._grad = None
        parts = {}  # tensor -> parts of its gradient, until all are there
        uses = Counter(x for tensor in order for x in tensor.inputs if hasattr(x, "_hooks")) if _hooked else {}
        _callbacks.clear()
        _accumulate(self, gradient, gradient, parts)
        for tensor in reversed(order):
            if parts and tensor in parts:
                _join(tensor, gradient, parts)
            incoming, inputs = tensor._grad, tensor.inputs
            if updated or tensor._made < latest:
                inputs = inplace.inputs_then(tensor)
                if incoming is not None:
                    inplace.check(tensor, inputs, incoming)
            for x, g in zip(inputs, repeat(None) if incoming is None else tensor._backward(incoming)):
                if x._requires_grad:
                    _accumulate(x, g() if callable(g) else g, incoming, parts)
                if x in uses:
                    uses[x] -= 1
                    if not uses[x] and x in parts:
                        _join(x, gradient, parts)
                    for hook in x._hooks if not uses[x] and x._grad is not None else ():
                        hook(x)
            if not retain_graph and tensor._backward.__closure__:
                tensor._backward = _released
        for x in [*parts]:
            _join(x, gradient, parts)
        for callback in _callbacks:
            callback()

    def register_post_accumulate_grad_hook(self, hook):
        """Call `hook(self)` whenever `backward()` has completed the gradient of this leaf, until `handle.remove()`."""
        if self.op or not self._requires_grad:
            raise RuntimeError("register_post_accumulate_grad_hook: wanted a leaf that requires grad")
        global _hooked
        _hooked, self._hooks = True, [*getattr(self, "_hooks", ()), hook]
        return SimpleNamespace(remove=lambda: self._hooks.remove(hook))

    def detach(self):
        """The same numbers without their history; the memory is shared."""
        return _node(inplace.memory(self))

    def item(self):
        """The only element, as a Python number."""
        if self._data.size != 1:
            raise RuntimeError(f"item: wanted a tensor of one number, got shape {tuple(self.shape)}")
        return self._data.item()

    def numpy(self):
        """The array, shared with the tensor; TypeError for one on the GPU, as in PyTorch."""
        return np.asarray(self._on_host())

    def _on_host(self):
        if device_of(self._data) != "cpu":
            raise TypeError("numpy: this tensor is on cuda; .to('cpu') first, which waits for the GPU and copies")
        return inplace.memory(self)

    def to(self, *to, device=None, dtype=None, non_blocking=False, copy=False, memory_format=None):
        """The same numbers with another dtype or on another device; itself where nothing changes, unless `copy`."""
        for what in to:
            if isinstance(what, Tensor):
                device, dtype = what.device, what.dtype
            elif isinstance(what, str):
                device = what
            elif what is not None and not isinstance(what, bool):
                dtype = what
        out = self
        if device is not None and device != out.device:
            out = apply(ops.to, (out,), device)
        if dtype is not None and np.dtype(dtype) != out.dtype:
            dtype = np.dtype(dtype)
            out = apply(ops.astype, (out if dtype.kind == "f" else out.detach(),), dtype)
        return out.clone() if copy and out is self else out

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
    sum = _unary(ops.sum)
    mean = _unary(ops.mean)
    amax = _unary(ops.amax)
    amin = _unary(ops.amin)
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
    clone = _unary(ops.clone)

    __iadd__ = _operator_in_place(operator.iadd, __add__)
    __isub__ = _operator_in_place(operator.isub, __sub__)
    __imul__ = _operator_in_place(operator.imul, __mul__)
    __itruediv__ = _operator_in_place(operator.itruediv, __truediv__)
    __ipow__ = in_place(__pow__)

    def __getitem__(self, index):
        return apply(ops.getitem, (self,), _unwrapped_index(index))

    @np.errstate(all="ignore")
    def __setitem__(self, index, value):
        index = _unwrapped_index(index)
        value = value if isinstance(value, Tensor) else _node(value)
        recorded = inplace.recorded("setitem", self, (value,))
        before = inplace.earlier(self, self._data) if recorded else self
        try:
            written, backward = ops.setitem(inplace.memory(self), value._data, index)
        except (ValueError, IndexError, TypeError) as error:
            raise _failed("setitem", (self, value), error) from None
        if written and recorded:
            inplace.become(self, before, "setitem", (before, value), backward)
        elif written:
            changed(self._data)

    __eq__, __ne__ = _comparison(operator.eq), _comparison(operator.ne)
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __hash__ = object.__hash__

    shape = property(lambda self: Size(self._data.shape))
    ndim = property(lambda self: self._data.ndim)
    device = property(lambda self: device_of(self._data))
    dtype = property(lambda self: self._data.dtype)
    T = property(lambda self: self.permute(range(self.ndim)[::-1]))

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __contains__(self, x):
        return bool((self == x)._data.any())

    def __bool__(self):
        if self._data.size != 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._data)

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self._data.dtype.kind not in "iub":
            raise TypeError(f"only integer tensors of one number can be an index, this is {self.dtype}")
        return int(self.item())

    def __round__(self, ndigits=None):
        return round(self.item(), ndigits)

    def __format__(self, spec):
        return format(self.item(), spec) if self.ndim == 0 else format(str(self), spec)

    def __array__(self, dtype=None, copy=None):
        return np.array(self._on_host(), dtype=dtype, copy=copy)

    def __reduce__(self):
        """What copies and pickles hold, of a leaf: its class, numbers, gradient, requires_grad, and notes."""
        return _restored, (type(self), inplace.memory(self), self._grad, self._requires_grad), self.__dict__ or None

    def __deepcopy__(self, memo):
        if self.op:
            raise RuntimeError(f"only leaves can be copied deeply, this is the result of {self.op}; detach() it first")
        restore, arguments, notes = copy.deepcopy(self.__reduce__(), memo)
        copied = restore(*arguments)
        copied.__dict__.update(notes or {})
        return copied

    def __repr__(self):
        numbers = np.array2string(moved(self._data, "cpu"), separator=", ", prefix="Tensor(")
        return f"Tensor({numbers}, dtype={self.dtype}{'' if on_host(self._data) else ', device=cuda'})"


def _restored(kind, data, grad, requires_grad):
    """A leaf, from its parts."""
    tensor = _new(kind)
    tensor._data, tensor._grad, tensor._requires_grad = data, grad, requires_grad
    tensor.op, tensor.inputs, tensor._backward, tensor._made = None, (), None, next(_clock)
    return tensor


def queue_callback(callback):
    """Call it at the end of the `backward()` that is running."""
    _callbacks.append(callback)


def _unwrapped_index(index):
    return tuple(map(_unwrapped, index)) if isinstance(index, tuple) else _unwrapped(index)


def topological_order(root):
    """The tensors from which `root` was computed and root itself, each once, inputs first, without leaves.

    A result is made after its inputs, so this is the order of creation.
    """
    stack, latest = [root] if root.op else [], inplace.latest
    found = set(stack)
    while stack:
        tensor = stack.pop()
        for x in tensor.inputs if tensor._made > latest else inplace.inputs_then(tensor):
            if x.op and x not in found:
                found.add(x)
                stack.append(x)
    return sorted(found, key=_when_made)


def _accumulate(x, g, incoming, parts):
    """Add g to the gradient of x, in the shape and dtype of x. Here, and only here, broadcasting is undone.

    A Part goes into `parts` instead.
    """
    if g is None:
        return
    data = x._data
    if g.shape != data.shape:
        if type(g) is ops.Part:
            parts.setdefault(x, []).append(g)
            return
        g = ops.unbroadcast(g, data.shape)
    if x._grad is not None:
        if not x.op and x._grad.shape:
            x._grad += g  # in place: others may hold a reference to a leaf's gradient
            return
        g = x._grad + g
    elif not x.op and (g is incoming or g.base is not None and np.may_share_memory(g, incoming)):
        g = g.copy()  # a leaf's gradient shares no memory with another
    x._grad = g if g.dtype is data.dtype else g.astype(data.dtype)


def _join(x, incoming, parts):
    """Add its parts to the gradient of x."""
    _accumulate(x, ops.joined(parts.pop(x)), incoming, parts)


def _released(g):
    raise RuntimeError(
        "backward: a second time through this graph, of which the first let go what it had saved; "
        "call backward(retain_graph=True) there"
    )


def cat(tensors, dim=0, *, axis=None):
    """The tensors concatenated along dim, as `torch.cat`."""
    return apply(ops.cat, tensors, dim=dim if axis is None else axis)


def stack(tensors, dim=0, *, axis=None):
    """The tensors, of one shape, stacked along a new dim, as `torch.stack`."""
    return apply(ops.stack, tensors, dim=dim if axis is None else axis)
