"""What the suite talks to: PyTorch, a rung of the ladder or somebody else's engine, all behind the same few methods.

An engine offers `tensor(array)`, `value(tensor)`, `grad(tensor)`, `backward(out, cotangent)`, and two namespaces: `F`,
functions under torch's names, and `nn`, modules under torch's names. A case is written against these and no more.
"""

import importlib
from dataclasses import dataclass
from functools import cache, reduce
from types import ModuleType

import numpy as np
import pytest


@dataclass(frozen=True)
class Target:
    """What is under test: a package, by name, and its number on the ladder, which a foreign engine has not."""

    name: str
    number: int | None
    package: ModuleType

    @property
    def foreign(self):
        return self.number is None

    def part(self, name):
        """A module of the package, such as `optim`; a test of a foreign engine without it is skipped."""
        try:
            return importlib.import_module(f"{self.name}.{name}")
        except ModuleNotFoundError as error:
            if self.foreign:
                pytest.skip(f"not there: {error}")
            raise


def make_engine(package, foreign=False, device="cpu"):
    """The engine for a package: scalar if its tensors hold one number, else of arrays, which may be on a device."""
    if device != "cpu":
        return DeviceEngine(package, device)
    if hasattr(package, "Tensor") and _takes_arrays(package.Tensor):
        return ForeignEngine(package) if foreign else ArrayEngine(package)
    return ScalarEngine(package)


def _takes_arrays(tensor_class):
    try:
        return np.shape(tensor_class(np.ones((2, 3))).data) == (2, 3)
    except Exception:  # whatever a foreign engine raises, it means no
        return False


class ArrayEngine:
    """An engine whose tensors hold arrays, with the names of rung 2."""

    keep = {"retain_graph": True}  # the arguments of a backward() that is not the last through its graph

    def __init__(self, package):
        self.package = package
        self.Tensor = package.Tensor
        self.F = self.nn = Functions(package)

    def tensor(self, array):
        """A tensor with a copy of the array, that requires grad."""
        return self.Tensor(array)

    def number(self, x):
        """A tensor of one number, in double precision."""
        return self.tensor(np.array(x, np.float64))

    def constant(self, array):
        """What a caller writes where no gradient is wanted: the array itself."""
        return array

    def value(self, tensor):
        """The array of a tensor."""
        return tensor.detach().numpy()

    def grad(self, tensor):
        """The gradient of a tensor as an array, zeros where none came."""
        return np.zeros_like(self.value(tensor)) if tensor.grad is None else tensor.grad.numpy()

    def backward(self, out, cotangent):
        """Run backward from Σ(out·cotangent)."""
        out.backward(cotangent)

    def loaded(self, module, arrays):
        """The module with the arrays, by their names in its state_dict, as its parameters and buffers."""
        if any(array.dtype == np.float64 for array in arrays.values()):
            module.double()
        module.load_state_dict({name: self.constant(array) for name, array in arrays.items()})
        return module

    def host(self, array):
        """The array in the host's memory: of anything that the engine's state_dict holds."""
        return np.asarray(array)

    def placed(self, module):
        """The module where the engine's tensors are."""
        return module


class DeviceEngine(ArrayEngine):
    """An engine of arrays whose tensors and modules are on a device, to where all goes and from where all is read."""

    def __init__(self, package, device):
        super().__init__(package)
        self.device = device
        self._moved = importlib.import_module(f"{package.__name__}.device").moved  # package.device is a class
        self.F = self.nn = DeviceFunctions(package, device)
        self.Tensor = _tensor_on(device, package.Tensor)

    def constant(self, array):
        return self._moved(np.array(array), self.device)

    def value(self, tensor):
        return self.host(tensor._data)

    def grad(self, tensor):
        return np.zeros(tensor.shape, tensor.dtype) if tensor.grad is None else self.host(tensor._grad)

    def backward(self, out, cotangent):
        out.backward(self.constant(cotangent))

    def host(self, array):
        return np.asarray(self._moved(getattr(array, "_data", array), "cpu"))

    def placed(self, module):
        return module.to(self.device)


def _tensor_on(device, tensor_class):
    """A class that makes tensors on the device, and whose instances all tensors are."""

    class OnDevice(type):
        def __call__(cls, data, requires_grad=True):
            return tensor_class(data, requires_grad, device=device)

        def __instancecheck__(cls, tensor):
            return isinstance(tensor, tensor_class)

        def __subclasscheck__(cls, kind):
            return issubclass(kind, tensor_class)

    return OnDevice("Tensor", (), {})


class Functions:
    """torch's functions as the rungs spell them: in its `nn.functional`, `nn` or `nn.init`, or in the package."""

    def __init__(self, package):
        self._package = package

    def __getattr__(self, name):
        package = self._package.__name__
        for place in (f"{package}.nn.functional", f"{package}.nn", f"{package}.nn.init", package):
            try:
                return getattr(importlib.import_module(place), name)
            except (AttributeError, ModuleNotFoundError):
                continue
        raise AttributeError(f"{package} has no {name}")

    def pad(self, x, pad, mode="constant", value=0):
        try:
            functional = importlib.import_module(f"{self._package.__name__}.nn.functional")
        except ModuleNotFoundError:
            return x.pad(pad, value)
        return functional.pad(x, pad, mode, value)


class DeviceFunctions(Functions):
    """The same, where modules begin on a device."""

    def __init__(self, package, device):
        super().__init__(package)
        self._device = device

    def __getattr__(self, name):
        found = super().__getattr__(name)
        if isinstance(found, type) and issubclass(found, self._package.nn.Module):
            return lambda *args, **options: found(*args, **options).to(self._device)
        return found


class ForeignEngine(ArrayEngine):
    """Somebody else's engine of arrays: `Tensor(array)` with `.data` or `.numpy()`, `.grad` and `.backward()`."""

    keep = {}
    warns = True  # of infinities and NaN, as NumPy does

    def tensor(self, array):
        try:
            tensor = self.Tensor(array.copy(), requires_grad=True)
        except TypeError:
            tensor = self.Tensor(array.copy())
        if self.value(tensor).dtype != array.dtype:
            raise NotImplementedError(f"it makes {self.value(tensor).dtype} of {array.dtype}")
        return tensor

    def value(self, tensor):
        array = tensor.detach() if hasattr(tensor, "detach") else tensor
        return np.asarray(array.numpy() if hasattr(array, "numpy") else array.data)

    def grad(self, tensor):
        grad = tensor.grad
        if grad is None:
            return np.zeros_like(self.value(tensor))
        return self.value(grad) if isinstance(grad, self.Tensor) else np.asarray(grad)

    def backward(self, out, cotangent):
        (out * self.Tensor(cotangent)).sum().backward()

    def loaded(self, module, arrays):
        for name, array in arrays.items():
            *path, attribute = name.split(".")
            owner = reduce(getattr, path, module)
            if hasattr(getattr(owner, attribute), "grad"):
                getattr(owner, attribute).data = array.copy()
            else:
                setattr(owner, attribute, array.copy())
        return module


class ScalarEngine:
    """An engine whose tensors hold one number: an object array of them broadcasts, multiplies and adds up in NumPy.

    The class is `Tensor` or, as in micrograd, `Value`.
    """

    keep = {}  # the numbers that a rule saves stay

    def __init__(self, package):
        self.package = package
        self.Tensor = package.Tensor if hasattr(package, "Tensor") else package.Value
        self.F = self.nn = Functions(package)
        self._lift = np.frompyfunc(self.Tensor, 1, 1)

    def tensor(self, array):
        if array.dtype != np.float64:
            raise NotImplementedError(f"its numbers are Python's, which are float64, not {array.dtype}")
        return Lifted(self._lift(array))

    def number(self, x):
        return self.Tensor(x)

    def constant(self, array):
        return array

    def value(self, lifted):
        return lifted.numbers(lambda x: getattr(x, "data", x))

    def grad(self, lifted):
        return lifted.numbers(lambda x: x.grad or 0.0)

    def backward(self, out, cotangent):
        total = (out * cotangent).sum().array.item()
        if isinstance(total, self.Tensor):  # NumPy's sum of nothing is a plain 0
            total.backward()


def _binary(operator):
    def method(self, other):
        return Lifted(operator(self.array, other.array if isinstance(other, Lifted) else other))

    return method


def _unary(name):
    each = np.frompyfunc(lambda x: getattr(x, name)(), 1, 1)
    return lambda self: Lifted(each(self.array))


class Lifted:
    """An object array of scalar tensors, with the methods of one tensor that holds an array."""

    __array_ufunc__ = None  # so that `array * lifted` asks the Lifted

    def __init__(self, array):
        self.array = np.asarray(array, dtype=object)

    def numbers(self, number):
        """The array of what `number` says of each scalar tensor."""
        return np.array([number(x) for x in self.array.flat], dtype=np.float64).reshape(self.array.shape)

    __add__, __radd__ = _binary(lambda x, y: x + y), _binary(lambda x, y: y + x)
    __sub__, __rsub__ = _binary(lambda x, y: x - y), _binary(lambda x, y: y - x)
    __mul__, __rmul__ = _binary(lambda x, y: x * y), _binary(lambda x, y: y * x)
    __truediv__, __rtruediv__ = _binary(lambda x, y: x / y), _binary(lambda x, y: y / x)
    __pow__, __rpow__ = _binary(lambda x, y: x**y), _binary(lambda x, y: y**x)
    __matmul__, __rmatmul__ = _binary(lambda x, y: x @ y), _binary(lambda x, y: y @ x)
    __neg__ = _unary("__neg__")
    exp, log, tanh, sigmoid, relu = map(_unary, ("exp", "log", "tanh", "sigmoid", "relu"))

    shape = property(lambda self: self.array.shape)

    def sum(self, dim=None, keepdim=False):
        return Lifted(self.array.sum(axis=dim, keepdims=keepdim))

    def mean(self, dim=None, keepdim=False):
        total = self.sum(dim, keepdim)
        return total / (self.array.size / total.array.size)


@cache
def torch_engine():
    """PyTorch as an engine; the test is skipped, visibly, where it is not installed."""
    return TorchEngine(pytest.importorskip("torch", reason="PyTorch is not installed"))


class TorchEngine:
    """PyTorch itself: the reference."""

    def __init__(self, torch):
        self.torch = torch
        self.F, self.nn = TorchFunctions(torch), torch.nn

    def tensor(self, array):
        return self.torch.tensor(array, requires_grad=True)

    def constant(self, array):
        return self.torch.tensor(array)

    loaded = ArrayEngine.loaded

    def host(self, array):
        return np.asarray(array)

    def value(self, tensor):
        return tensor.detach().numpy()

    def grad(self, tensor):
        return np.zeros_like(self.value(tensor)) if tensor.grad is None else tensor.grad.numpy()

    def backward(self, out, cotangent):
        out.backward(self.torch.tensor(cotangent))


class TorchFunctions:
    """torch's functions, found in `torch` or in `torch.nn.functional`."""

    def __init__(self, torch):
        self._torch = torch

    def __getattr__(self, name):
        return getattr(self._torch.nn.functional, name, None) or getattr(self._torch, name)

    def amax(self, x, dim=None, keepdim=False):
        return self._torch.amax(x, () if dim is None else dim, keepdim)

    def amin(self, x, dim=None, keepdim=False):
        return self._torch.amin(x, () if dim is None else dim, keepdim)

    def where(self, condition, x, y):
        return self._torch.where(self._torch.as_tensor(condition), x, y)

    def hinge_loss(self, input, target, reduction="mean"):
        """torch has none of this form; micrograd's: max(0, 1 − t·x)."""
        loss = (1 - target * input).relu()
        return loss if reduction == "none" else getattr(loss, reduction)()
