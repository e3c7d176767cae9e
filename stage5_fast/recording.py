"""Arrays that record what is done to them: how a step of training becomes a list of operations.

While a step is recorded, an `Array` stands in the place of every NumPy array that a Tensor holds. It goes through
forward, backward and optimizer by NumPy's own protocols (NEP 13 and 18), as CuPy's arrays do, computes what NumPy
would, and notes it. Views cost nothing: what is noted is where in memory an operation reads and writes. What would need
a number before the step is over, as `if loss > 1` does, is refused with the line that asked for it.
"""

import gc
import inspect
import linecache
import operator
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .device import Recorded, Setting
from .kernels_cpu.layout import transposed_by_reshape
from .kernels_cpu.matrix_product import laid_out_like
from .kernels_cpu.threads import ENOUGH
from .random import Generator, default_generator

HERE = str(Path(__file__).parent)
UFUNCS = {"add", "subtract", "multiply", "divide", "negative", "maximum", "minimum", "exp", "log", "sqrt", "tanh"}
UFUNCS |= {"square", "absolute", "power", "reciprocal", "isnan", "trunc", "copysign"}
COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
COMPARISONS |= {"logical_and", "logical_or", "logical_not"}
REDUCED = {"add", "maximum", "minimum"}
BY_VALUE = {"argwhere", "compress", "extract", "flatnonzero", "nonzero", "unique", "setdiff1d", "union1d", "histogram"}
OF_SHAPES = {"may_share_memory", "shares_memory", "shape", "ndim", "size", "result_type", "can_cast"}
# Kernels in whose place NumPy's function is recorded: products and masks, of any size, and others of small arrays
INLINED = {"affine", "affine_relu", "affine_to_bias", "affine_to_weight", "affine_to_x", "filled", "product"}
INLINED_SMALL = {"adadelta", "adagrad", "adam", "nll", "nll_gradient", "rectify", "rectify_gradient"}
INLINED_SMALL |= {"moments", "normalized", "rmsprop", "sgd"}

READ = "it reads a number, which will be another in each step: return the tensor, and read it after the call"


@dataclass
class Each:
    """out[i] = function(inputs[0][i], …), number by number; inputs broadcast."""

    function: str
    out: np.ndarray
    inputs: list
    types: tuple = ()  # the dtypes in which it is computed, of the inputs and of the result
    label: str = ""


@dataclass
class Reduce:
    """out = Σ input or its largest or least number over the axes, which stay in `out` with size 1."""

    function: str
    out: np.ndarray
    input: np.ndarray
    axes: tuple
    label: str = ""


@dataclass
class Product:
    """out = a @ b: (…, m, k) @ (…, k, n) -> (…, m, n), each of as many dims."""

    out: np.ndarray
    a: np.ndarray
    b: np.ndarray
    label: str = ""


@dataclass
class Indexed:
    """values = array[indices], array[indices] = values or, adding up what is taken twice, array[indices] += values."""

    mode: str
    array: np.ndarray
    indices: list
    values: np.ndarray
    label: str = ""


@dataclass
class Within:
    """IndexError unless all numbers of the index lie from 0 to size − 1."""

    index: np.ndarray
    size: int
    label: str = ""


@dataclass
class Call:
    """results = function(*arguments, **options): a kernel, or a function of NumPy's, as it is."""

    function: object
    arguments: tuple
    options: dict
    results: list = field(default_factory=list)
    label: str = ""


class Number:
    """A number that changes from step to step, as a learning rate: in operations with arrays it is as Python's."""

    def __init__(self, array):
        self.array = array  # of no dims


class Record:
    """What a step did: `operations` in order, on the memory of arrays `outside` of it and of some that it made."""

    def __init__(self, step, there):
        """`there` are the Generators, Settings and Tensors before the step."""
        self.file = getattr(getattr(inspect.unwrap(getattr(step, "func", step)), "__code__", None), "co_filename", None)
        self.operations, self.settings, self.numpy = [], {}, default_generator.numpy
        self.generators = [(x, x.numpy) for x in there if isinstance(x, Generator)]
        self.began = self.numpy.bit_generator.state
        self.rates = [(x, x.held(), x.value()) for x in there if isinstance(x, Setting)]
        self.outside, self.made, self.saved = {}, {}, {}  # id of the array that owns memory -> it, or how it was made
        self.written, self._owners = set(), {}

    def begin(self):
        """Let nothing be drawn from generators but by dropout."""
        for generator, _ in self.generators:
            generator.numpy = _Undrawn(self)

    def end(self):
        """Give the generators back what is theirs."""
        for generator, numpy in self.generators:
            generator.numpy = numpy

    # Memory

    def of_outside(self, array):
        """The Array for one that is there before the step and after it."""
        owner = owner_of(array)
        self.outside[id(owner)] = owner
        return self.owner(array) if owner is array else Array(self, array)

    def owner(self, array):
        """The Array that owns the memory of a NumPy array; the same one each time."""
        owner = owner_of(array)
        if id(owner) not in self._owners:
            self._owners[id(owner)] = Array(self, owner)
        return self._owners[id(owner)]

    def by_call(self, array):
        """Whether an array is of memory that a call gave."""
        return any(
            owner_of(array) is owner_of(x)
            for made in self.operations
            if isinstance(made, Call)
            for x in made.results
            if x is not None
        )

    def _compiles(self, array):
        if array.dtype.kind not in "fiub" or array.dtype in (np.float16, np.longdouble) or not array.dtype.isnative:
            raise self.refusal(f"wanted float32, float64, integers or booleans, got {array.dtype}")

    def new(self, array):
        """The Array for a NumPy array that an operation has made."""
        self._compiles(array)
        owner = owner_of(array)
        self.made[id(owner)] = owner
        return self.owner(array) if owner is array else Array(self, array)

    def view(self, array):
        return Array(self, array)

    def raw(self, x):
        """The NumPy array or number that stands for what an operation is given."""
        if isinstance(x, Array):
            if x.record is not self:
                raise self.refusal("it uses an array of another recording")
            self._compiles(x.array)
            return Number(x.array) if x.is_number else x.array
        if isinstance(x, np.ndarray):
            if id(owner_of(x)) not in self.made:
                self.outside.setdefault(id(owner_of(x)), owner_of(x))
            return x
        return x

    def writes(self, array, surely=True):
        """Note that memory is about to be written, if not surely by a call: what is there already can be put back."""
        owner = owner_of(array)
        if id(owner) in self.outside and id(owner) not in self.saved:
            self.saved[id(owner)] = owner, owner.copy()
        if surely:
            self.written.add(id(owner))

    def restore(self):
        """Put back what was in memory before the step, and the state of generators."""
        for array, before in self.saved.values():
            array[...] = before
        self.numpy.bit_generator.state = self.began

    def updated(self, own):
        """The places of those arrays, among the copies of arguments, that the step updates.

        Which arguments a call updates shows in their numbers alone.
        """
        called = [x for x in own if id(x) in self.saved and x.tobytes() != self.saved[id(x)][1].tobytes()]
        return [i for i, x in enumerate(own) if id(x) in self.written | set(map(id, called))]

    def release(self):
        """Let go of all arrays, which know the record: they would stay in memory until garbage is collected."""
        self.operations, self.outside, self.made, self.saved, self._owners = [], {}, {}, {}, {}
        self.settings = {}

    # Operations

    def each(self, name, function, inputs, out=None):
        """An operation number by number, into a new array or into `out`."""
        raws = [self.raw(x) for x in inputs]
        with np.errstate(all="ignore"):
            value = function(*map(value_of, raws))
        if out is None:
            value = np.asarray(value)
            if value.base is not None or any(value is x for x in raws):
                value = value.copy(order="K")
            out = self.new(value)
            is_number = any(isinstance(x, Number) for x in raws)
            out.is_number = is_number and not any(isinstance(x, np.ndarray | np.generic) for x in raws)
        else:
            if not isinstance(out, Array):
                if id(owner_of(out)) not in self.made:
                    raise self.refusal(
                        "an array that was made in the step is updated in place, or one of NumPy's from outside: let "
                        "it be a Tensor that is made outside, or write out + x"
                    )
                out = Array(self, out)
            self.writes(out.array)
            np.copyto(out.array, value, casting="same_kind")
        self.operations.append(Each(name, out.array, raws, _types(function, raws, out.is_number), _asked_by()))
        return out

    def fill(self, array, value):
        return self.each("copy", lambda x: x, [value], out=array)

    def copy(self, x, dtype=None, order="K"):
        """A copy, in another dtype if there is one."""
        return self.each("copy", lambda x: np.array(x, dtype, order=order), [x])

    def reduce(self, name, x, axis, dtype, keepdims):
        array = self.raw(x)
        axes = range(array.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = tuple(sorted(i % array.ndim for i in axes)) if array.ndim else ()
        with np.errstate(all="ignore"):
            kept = np.array(getattr(np, name).reduce(array, axis=axes, dtype=dtype, keepdims=True))
        out = self.new(kept)
        self.operations.append(Reduce(name, kept, array, axes, _asked_by()))
        return out if keepdims else self.view(kept.reshape([n for i, n in enumerate(kept.shape) if i not in axes]))

    def product(self, x, y):
        """x @ y of arrays of one dtype."""
        a, b = self.raw(x), self.raw(y)
        with np.errstate(all="ignore"):
            value = np.array(np.matmul(a, b))
        if a.ndim == b.ndim > 2:
            value, numbers = laid_out_like(b, value.shape, np.empty), value
            value[...] = numbers
        out = self.new(value)
        rows, columns = a if a.ndim > 1 else a[None], b if b.ndim > 1 else b[:, None]
        full = value[..., None, :] if a.ndim == 1 and b.ndim > 1 else value
        full = full[..., None] if b.ndim == 1 else full
        full = full[None] if a.ndim == b.ndim == 1 else full
        lead = full.shape[:-2]
        whole = [(m, (*lead, *m.shape[-2:])) for m in (rows, columns)]  # what is broadcast is read-only, and copied
        rows, columns = [m if m.shape == shape else np.broadcast_to(m, shape) for m, shape in whole]
        self.operations.append(Product(full, rows, columns, _asked_by()))
        return out

    def call(self, function, *arguments, **options):
        """A function called as it is, in each step anew."""
        made = Call(function, arguments, options, label=_asked_by())
        for x in _arrays_in((arguments, options)):
            self.writes(self.raw(x) if isinstance(x, np.ndarray) else x.array, surely=False)
        with np.errstate(all="ignore"):
            result = function(*unwrapped(self, arguments), **unwrapped(self, options))
        self.operations.append(made)
        result = self._results(result, made)
        if result is not None and not made.results:
            raise self.refusal(READ)
        return result

    def _results(self, result, made):
        if isinstance(result, tuple | list):
            return type(result)([self._results(x, made) for x in result])
        if isinstance(result, np.generic):
            result = np.asarray(result)
        if not isinstance(result, np.ndarray):
            return result
        known = {**self.outside, **self.made}
        owner = owner_of(result)
        if id(owner) not in known or not _inside(result, known[id(owner)]):
            if not is_dense(result) or id(owner) in known:
                result = result.copy(order="K")
            self.made[id(owner_of(result))] = result
            made.results.append(result)
        else:
            made.results.append(None)  # a view of what is known
        return Array(self, result)

    def indexed(self, mode, array, indices, values=None):
        """`array[indices]` and its kin for indices that are arrays of integers, of the first dims."""
        raw, places = self.raw(array), [self.raw(i) for i in indices]
        index = tuple(places)
        if mode == "get":
            out = self.new(np.array(raw[index]))
            self.operations.append(Indexed(mode, raw, places, out.array, _asked_by()))
            return out
        self.writes(raw)
        value = values.array if isinstance(values, Array) else self.raw(np.asarray(values))
        shape = np.broadcast_shapes(*[np.shape(i) for i in places]) + raw.shape[len(places) :]
        if mode == "set":
            raw[index] = value
        else:
            np.add.at(raw, index, value)
        self.operations.append(Indexed(mode, raw, places, np.broadcast_to(value, shape), _asked_by()))
        return None

    def within(self, index, size):
        array = self.raw(index)
        if array.size and not 0 <= array.min() <= array.max() < size:
            return False
        self.operations.append(Within(array, size, _asked_by()))
        return True

    def setting(self, setting):
        """A setting of an optimizer as a number that is read anew before each step."""
        if setting not in self.settings:
            array = np.array(setting.value())
            self.outside[id(array)] = array
            self.settings[setting] = array
        return Array(self, self.settings[setting], is_number=True)

    def random(self, shape):
        """Random numbers from 0 to 1, drawn in each step anew."""
        default_generator.numpy, undrawn = self.numpy, default_generator.numpy
        try:
            return self.call(_drawn, tuple(shape))
        finally:
            default_generator.numpy = undrawn

    def finish(self):
        """RuntimeError if the step has done what doesn't show in arrays, and would be missing from now on."""
        if not all([isinstance(generator.numpy, _Undrawn) for generator, _ in self.generators]):
            raise self.refusal("it seeds random numbers, as it would in no other step: call manual_seed outside")
        if any([setting.held() is not held or setting.value() != value for setting, held, value in self.rates]):
            raise self.refusal("it sets a learning rate, which would stay as it is: call the scheduler outside")

    def refusal(self, why):
        """The error that names the line of the step that asked for what can't be recorded."""
        return RuntimeError(f"capture: the step can't be recorded: {why}{_line(self.file)}")


class _Undrawn:
    """What takes the place of a generator of NumPy's while a step is recorded: nothing is drawn but by dropout."""

    def __init__(self, record):
        self.record = record

    def __getattr__(self, name):
        raise self.record.refusal(
            "random numbers were drawn by other means than dropout, and would be the same in each step: draw them "
            "outside and give them to the step as an argument"
        )


def every(*kinds):
    """All objects of these classes and of those below them, also those that `gc.freeze` hides."""
    frozen, wanted = gc.get_freeze_count(), set(_with_those_below(kinds))
    gc.unfreeze()
    found = [x for x in gc.get_objects() if type(x) in wanted]
    if frozen:
        gc.freeze()
    return found


def _with_those_below(classes):
    for each in classes:
        yield each
        yield from _with_those_below(each.__subclasses__())


def _drawn(shape):
    return default_generator.numpy.random(shape)


def owner_of(array):
    """The NumPy array to which the memory belongs that an array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def value_of(x):
    return x.array.item() if isinstance(x, Number) else x


def _types(function, raws, is_number):
    """The dtypes in which a function of NumPy's computes: of what it is given, and of its result."""
    if not isinstance(function, np.ufunc):
        return ()
    kinds = [float if isinstance(x, Number) else getattr(x, "dtype", type(x)) for x in raws]
    kinds = [np.dtype(bool) if kind is bool else kind for kind in kinds]
    if is_number:
        return (np.dtype(float),) * (len(raws) + 1)
    if function.__name__ in COMPARISONS:
        common = np.result_type(*[kind() if isinstance(kind, type) else kind for kind in kinds])
        return (common,) * len(raws) + (np.dtype(bool),)
    return function.resolve_dtypes((*kinds, None))


def is_dense(x):
    """Whether the numbers of x lie in memory without gaps, in whatever order of its dims."""
    dims = sorted((stride, n) for stride, n in zip(x.strides, x.shape) if n > 1)
    expected = x.itemsize
    for stride, n in dims:
        if stride != expected:
            return False
        expected *= n
    return True


def _inside(x, known):
    """Whether all the memory of x is in that of a known array."""
    (low, high), (first, last) = np.lib.array_utils.byte_bounds(x), np.lib.array_utils.byte_bounds(known)
    return first <= low and high <= last


def _arrays_in(tree):
    if isinstance(tree, tuple | list):
        for part in tree:
            yield from _arrays_in(part)
    elif isinstance(tree, dict):
        yield from _arrays_in(list(tree.values()))
    elif isinstance(tree, Array | np.ndarray):
        yield tree


def unwrapped(record, tree):
    """The same tuples, lists and dicts with NumPy's arrays and numbers in the place of recording ones."""
    if isinstance(tree, tuple | list):
        return type(tree)([unwrapped(record, part) for part in tree])
    if isinstance(tree, dict):
        return {name: unwrapped(record, part) for name, part in tree.items()}
    return value_of(record.raw(tree))


def _frames():
    frame = sys._getframe(2)
    while frame:
        yield frame
        frame = frame.f_back


def _asked_by():
    """Which function of the library's asked for an operation."""
    for frame in _frames():
        name = frame.f_code.co_filename
        if name.startswith(HERE) and not name.endswith(("recording.py", "device.py")):
            asked = f"{Path(name).stem}.{frame.f_code.co_qualname}"
            return asked.replace(".<locals>.<lambda>", " backwards").replace(".<locals>", "")
        if not name.startswith(HERE) and "numpy" not in name:
            break
    return frame.f_code.co_name


def _line(file):
    """The line that is being run: of the step's own file or, if that isn't there, outside of this package."""
    frames = list(_frames())
    found = [frame for frame in frames if frame.f_code.co_filename == file]
    found = found or [frame for frame in frames if not frame.f_code.co_filename.startswith(HERE)]
    if not found:
        return ""
    file, number = found[0].f_code.co_filename, found[0].f_lineno
    text = linecache.getline(file, number).strip()
    return f" ({Path(file).name}, line {number}{f': {text}' if text else ''})"


class Array(np.lib.mixins.NDArrayOperatorsMixin, Recorded):
    """An array that notes in a record what is done to it. `array` is its memory, with the numbers of this first time.

    With `is_number` it stands for a Python number that changes from step to step.
    """

    def __init__(self, record, array, is_number=False):
        self.record, self.array, self.is_number = record, array, is_number

    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)
    dtype = property(lambda self: self.array.dtype)
    size = property(lambda self: self.array.size)
    itemsize = property(lambda self: self.array.itemsize)
    nbytes = property(lambda self: self.array.nbytes)
    strides = property(lambda self: self.array.strides)
    flags = property(lambda self: self.array.flags)
    T = property(lambda self: self._view(self.array.T))

    @property
    def base(self):
        return None if not isinstance(self.array.base, np.ndarray) else self.record.owner(self.array)

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return (self[i] for i in range(len(self.array)))

    def _view(self, array, copied=None):
        """The Array for a view or, where NumPy had to copy, what `copied()` gives."""
        return self.record.view(array) if owner_of(array) is owner_of(self.array) else copied()

    # What NumPy's protocols ask

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        name, record = ufunc.__name__, self.record
        options = {key: value for key, value in options.items() if value is not None or key == "axis"}
        if method == "__call__" and name in UFUNCS | COMPARISONS and not options:
            return record.each(name, ufunc, inputs, *out)
        if method == "__call__" and ufunc is np.matmul and not options and not out and _products(*inputs):
            return record.product(*inputs)
        if (
            method == "reduce"
            and name in REDUCED
            and inputs[0].size
            and options.keys() <= {"axis", "dtype", "keepdims"}
            and out in ((), (None,))
        ):
            dtype, keepdims = options.get("dtype"), options.get("keepdims", False)
            return record.reduce(name, inputs[0], options.get("axis", 0), dtype, keepdims)
        if method == "at" and name == "add" and isinstance(inputs[0], Array):
            indices = _leading(inputs[1])
            if indices:
                return record.indexed("add", inputs[0], indices, inputs[2])
        if out:
            options["out"] = out
        return record.call(ufunc if method == "__call__" else getattr(ufunc, method), *inputs, **options)

    def __array_function__(self, function, types, args, options):
        name, record = function.__name__, self.record
        given = {key: value for key, value in options.items() if key != "like"}
        if name in BY_VALUE:
            raise record.refusal(f"the shape of what {name} gives depends on numbers that are not known yet")
        if name in OF_SHAPES:
            return function(*unwrapped(record, args), **unwrapped(record, given))
        if name in ("zeros_like", "ones_like", "full_like", "empty_like", "zeros", "ones", "full", "empty"):
            return self._created(function, name.removesuffix("_like"), args, given)
        if name in ("array", "asarray") and isinstance(args[0], Array):
            dtype = args[1] if len(args) > 1 else given.get("dtype")
            same = dtype is None or np.dtype(dtype) == args[0].dtype
            return args[0] if name == "asarray" and same else record.copy(args[0], dtype)
        if name in ("array", "asarray", "arange"):
            return record.of_outside(function(*unwrapped(record, args), **unwrapped(record, given)))
        if name == "copy":
            return record.copy(args[0])
        if name == "clip" and len(args) == 3 and not given and not any(x is None for x in args):
            return np.minimum(np.maximum(args[0], args[1]), args[2])
        if name == "where" and len(args) == 3:
            return record.each("where", np.where, args)
        if name == "copyto":
            record.each("copy", lambda x: x, [args[1]], out=args[0])
            return None
        raw = unwrapped(record, args)
        if name in ("expand_dims", "broadcast_to", "swapaxes", "moveaxis", "transpose", "squeeze", "split", "reshape"):
            out = function(*raw, **unwrapped(record, given))
            if isinstance(out, list):
                return list(map(record.view, out))
            return self._view(out, lambda: getattr(record.copy(args[0], order="C"), name)(*args[1:], **given))
        return record.call(function, *args, **given)

    def _created(self, function, kind, args, options):
        """A new array of the same number everywhere."""
        record = self.record
        value = {"zeros": 0, "ones": 1}.get(kind)
        if kind == "full":
            args, (value,) = (args[0], 0, *args[2:]), args[1:2] or [options.pop("fill_value")]
        out = record.new(function(*unwrapped(record, args), **unwrapped(record, options)))
        return out if kind == "empty" else record.fill(out, value)

    # Its methods, as NumPy's arrays have them

    def reshape(self, *shape, **options):
        array = self.array.reshape(*shape, **options)
        return self._view(array, lambda: self.record.copy(self, order="C").reshape(*shape))

    def ravel(self, order="C"):
        array = self.array.ravel(order)
        return self._view(array, lambda: self.record.copy(self, order=order).ravel(order))

    def swapaxes(self, *axes):
        return self._view(self.array.swapaxes(*axes))

    def transpose(self, *axes):
        return self._view(self.array.transpose(*axes))

    def squeeze(self, axis=None):
        return self._view(self.array.squeeze(axis))

    def copy(self, order="C"):
        return self.record.copy(self, order=order)

    def astype(self, dtype, copy=True, **options):
        return self if not copy and np.dtype(dtype) == self.dtype else self.record.copy(self, dtype)

    def fill(self, value):
        self.record.fill(self, value)

    def dot(self, other):
        if _products(self, other) and self.ndim <= 2 and other.ndim <= 2:
            return self.record.product(self, other)
        return self.record.call(np.dot, self, other)

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return np.add.reduce(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def max(self, axis=None, out=None, keepdims=False):
        return np.maximum.reduce(self, axis=axis, keepdims=keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return np.minimum.reduce(self, axis=axis, keepdims=keepdims)

    def __getitem__(self, index):
        if _is_basic(index):
            parts = index if isinstance(index, tuple) else (index,)
            return self.record.view(self.array[parts if ... in parts else (*parts, ...)])
        self._of_known_size(index)
        indices = _leading(index)
        return self.record.indexed("get", self, indices) if indices else self.record.call(operator.getitem, self, index)

    def __setitem__(self, index, value):
        if _is_basic(index):
            target = self[index]
            # Python ends x[index] += y with x[index] = x[index], where nothing is left to do.
            if not isinstance(value, Array) or value.array.__array_interface__ != target.array.__array_interface__:
                self.record.fill(target, value)
        elif indices := _leading(index):
            self.record.indexed("set", self, indices, value)
        else:
            self.record.call(operator.setitem, self, index, value)

    def _of_known_size(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, Array | np.ndarray) and part.dtype.kind == "b" for part in parts):
            raise self.record.refusal(
                "how many numbers a mask takes depends on numbers that are not known yet: use where(mask, x, 0) instead"
            )

    def _refused(self, *args, **options):
        raise self.record.refusal(READ)

    item = tolist = tobytes = get = __bool__ = __float__ = __int__ = __index__ = __format__ = _refused

    def __array__(self, *args, **options):
        raise self.record.refusal(
            "numbers of it go into an array of NumPy's, but will be others in each step: call numpy() after it, and "
            "let what is indexed or updated in place be made outside, or like another tensor, as by zeros_like"
        )

    # What device.py asks

    def called(self, choose, function, least, arguments):
        """What a kernel makes of this array: itself called, or what NumPy's function does, where that is as fast."""
        name, floats = function.__name__, self.dtype in (np.float32, np.float64) and self.ndim
        inlined = name in INLINED or name in INLINED_SMALL and self.size <= ENOUGH
        if name == "reshaped" and not transposed_by_reshape(self.array, *arguments):
            return function(self, *arguments)
        if inlined and name == "rectify_gradient":
            return np.where(arguments[0], self, arguments[0])  # without a look at the numbers, which NumPy's takes
        if not floats or self.size < least or inlined:
            return function(self, *arguments)
        return self.record.call(choose, self, *arguments)

    def number(self):
        """Of an array without dims: a number."""
        return Array(self.record, self.array, is_number=True)

    __hash__ = object.__hash__


def _method(name):
    def method(self, *args, **options):
        return self.record.call(getattr(np, name), self, *args, **options)

    return method


_METHODS = "all", "any", "argmax", "argmin", "argsort", "clip", "cumprod", "cumsum", "mean", "prod", "repeat", "round"
for _name in (*_METHODS, "take", "var"):
    setattr(Array, _name, _method(_name))


def _is_basic(index):
    """Whether an index gives a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all([part is None or part is ... or type(part) is int or isinstance(part, slice) for part in parts])


def _leading(index):
    """The arrays of integers of an index that takes them of the first dims, and of the others all; else None."""
    parts = list(index) if isinstance(index, tuple) else [index]
    while parts and (parts[-1] is ... or isinstance(parts[-1], slice) and parts[-1] == slice(None)):
        parts.pop()
    integers = [isinstance(part, Array | np.ndarray) and part.dtype.kind in "iu" for part in parts]
    return parts if parts and all(integers) else None


def _products(x, y):
    """Whether two arrays have a product that can be planned: of one dtype, of floating-point numbers."""
    if not all([isinstance(each, Array | np.ndarray) and each.ndim and each.size for each in (x, y)]):
        return False
    return x.dtype == y.dtype and x.dtype.kind == "f" and x.dtype.itemsize > 2
