"""Modules: they hold parameters, buffers and other modules by name, and are called like functions."""

from collections import namedtuple
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ..device import moved
from ..engine import Tensor, changed, constant
from ..files import shown
from ..loaded import cast, numbers
from .parameter import Parameter


class Module:
    """A part of a network: parameters, buffers and other modules as attributes, and `forward`, which uses them.

    Parameters and modules are registered when they are assigned to an attribute; modules in a plain list aren't, but
    those in a `ModuleList` are. Buffers are Tensors that are saved but not trained, such as running statistics.
    """

    def __new__(cls, *args, **options):
        module = super().__new__(cls)  # here, so that a class that doesn't call `super().__init__()` works too
        vars(module).update(training=True, _kinds={}, _modules={}, _unsaved=set())
        return module

    def __init__(self):
        super().__init__()

    def __call__(self, *args, **options):
        return self.forward(*args, **options)

    def forward(self, *input):
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __getattr__(self, name):
        modules = self.__dict__["_modules"]  # parameters and buffers are plain attributes, whose lookup is faster
        if name in modules:
            return modules[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name, value):
        """Register parameters and modules; TypeError if the value would silently replace one."""
        held = "module" if name in self._modules else self._kinds.get(name)
        kind = "parameter" if isinstance(value, Parameter) else "module" if isinstance(value, Module) else held
        if kind is None:
            super().__setattr__(name, value)
            return
        _check_kind(kind, name, value)
        if kind != held and (held or name in vars(self)):
            delattr(self, name)
        self._hold(kind, name, value)

    def __delattr__(self, name):
        if name in self._modules:
            del self._modules[name]
        else:
            super().__delattr__(name)
            self._kinds.pop(name, None)
            self._unsaved.discard(name)

    def _hold(self, kind, name, value):
        if kind == "module":
            self._modules[name] = value
        else:
            self._kinds[name], vars(self)[name] = kind, value

    def _held(self, kind):
        """name -> Tensor or None, read-only: assigning to it would bypass the module."""
        return MappingProxyType({name: vars(self)[name] for name, its in self._kinds.items() if its == kind})

    _parameters = property(lambda self: self._held("parameter"))
    _buffers = property(lambda self: self._held("buffer"))

    def __dir__(self):
        return [*super().__dir__(), *self._modules]

    def register_parameter(self, name, param):
        """Make the Parameter an attribute. None stands for one that is left out, such as a layer's bias."""
        self._register("parameter", name, param)

    def register_buffer(self, name, tensor, persistent=True):
        """Make the Tensor an attribute that isn't trained; if persistent, it is saved with the parameters."""
        self._register("buffer", name, tensor)
        if not persistent:
            self._unsaved.add(name)

    def add_module(self, name, module):
        """Make the module an attribute; its name need not be a Python identifier, such as "0" in Sequential."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{getattr(module, '__name__', type(module).__name__)} is not a Module subclass")
        self._register("module", name, module)

    register_module = add_module

    def _register(self, kind, name, value):
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"wanted a name without dots, got {name!r}")
        if hasattr(self, name) and name not in self._modules and name not in self._kinds:
            raise KeyError(f"attribute '{name}' already exists")
        _check_kind(kind, name, value)
        self._hold(kind, name, value)

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        """(path, module) for this module and all below, the path being like "0.conv"; "" is this one."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, _path(prefix, name), remove_duplicate)

    def modules(self, remove_duplicate=True):
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self):
        """(name, module) for each module directly in this one, once."""
        seen = {None}
        for name, child in self._modules.items():
            if child not in seen:
                seen.add(child)
                yield name, child

    def children(self):
        return (child for _, child in self.named_children())

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """(path, parameter) for each parameter here and, if asked to recurse, below: once, as "0.weight"."""
        return self._named("parameter", prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """(path, buffer) for each buffer here and, if asked to recurse, below: once, as "1.running_mean"."""
        return self._named("buffer", prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named(self, kind, prefix, recurse, remove_duplicate):
        seen = set()
        owners = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, owner in owners:
            for name, tensor in owner._held(kind).items():
                if tensor is not None and tensor not in seen:
                    if remove_duplicate:
                        seen.add(tensor)
                    yield _path(path, name), tensor

    def get_submodule(self, target):
        """The module at a path such as "0.conv"; "" is this one."""
        module = self
        for name in filter(None, target.split(".")):
            module = getattr(module, name)
        return module

    def get_parameter(self, target):
        """The parameter at a path such as "0.weight"."""
        path, _, name = target.rpartition(".")
        return getattr(self.get_submodule(path), name)

    get_buffer = get_parameter

    def state_dict(self, *, destination=None, prefix="", keep_vars=False):
        """The numbers of every parameter and buffer, under PyTorch's names for the same network: name -> Tensor.

        Unlike PyTorch's, these are copies, which training doesn't change. They are read-only, since changing them would
        not change the model; `copy.deepcopy` of them is writable. With `keep_vars` they are the model's Tensors.
        """
        state = {} if destination is None else destination
        for name, tensor in self._named_state():
            state[prefix + name] = tensor if keep_vars else _snapshot(tensor)
        return state

    def _named_state(self):
        """(path, Tensor) for all that is saved; a shared one under each of its names."""
        for path, owner in self.named_modules(remove_duplicate=False):
            saved = {name: buffer for name, buffer in owner._buffers.items() if name not in owner._unsaved}
            for name, tensor in (*owner._parameters.items(), *saved.items()):
                if tensor is not None:
                    yield _path(path, name), tensor

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copy the numbers of a `state_dict` of Tensors or arrays, also PyTorch's; returns missing and unexpected keys.

        RuntimeError, and no change, if it is strict and keys are missing or unexpected, or if shapes differ or numbers
        can't be converted to the dtype.
        """
        if assign:
            raise NotImplementedError("load_state_dict: assign=True is not supported: numbers are copied")
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        mine, new = dict(self._named_state()), {}
        missing = [name for name in mine if name not in state_dict]
        keys = _Incompatible(missing, [name for name in state_dict if name not in mine])
        faults = []
        for kind, names in zip(("Missing", "Unexpected"), keys if strict else ()):
            if names:
                text = ", ".join(f'"{shown(name)}"' for name in names)
                faults.append(f"{kind} key(s) in state_dict: {shown(text, 2000)}.")
        for name in [name for name in mine if name in state_dict]:
            try:
                array, wanted = numbers(name, state_dict[name]), mine[name].shape
                if array.shape != wanted:
                    raise ValueError(
                        f"size mismatch for {name}: copying a param with shape {array.shape} from checkpoint, "
                        f"the shape in current model is {tuple(wanted)}"
                    )
                new[name] = cast(name, array, mine[name]._data.dtype)
            except ValueError as error:
                faults.append(f"{error}.")
        if faults:
            raise RuntimeError("\n\t".join([f"Error(s) in loading state_dict for {type(self).__name__}:", *faults]))
        for name, array in new.items():
            tensor = mine[name]
            tensor._data[...] = moved(array, tensor.device)
            changed(tensor._data)
        return keys

    def train(self, mode=True):
        """Set training mode, or with False evaluation mode, for dropout and batch norm. Returns the module."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: wanted True or False, got {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self):
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Set requires_grad of all parameters here and below: False freezes them. Returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        for parameter in self.parameters():
            if set_to_none:
                parameter._grad = None
            elif parameter._grad is not None:
                parameter._grad = np.zeros_like(parameter._grad)

    def apply(self, fn):
        """Call fn on every module below and then on this one, as to initialize weights. Returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args, **kwargs):
        """Move all parameters, with their gradients, and buffers, or change the floating ones' dtype, as Tensor.to.

        What changes gets new memory, so graphs and views of the old memory remain valid. Returns the module.
        """
        for tensor in (*self.parameters(), *self.buffers()):
            tensor._data = _converted(tensor._data, args, kwargs)
            if tensor._grad is not None:
                tensor._grad = _converted(tensor._grad, args, kwargs)
        return self

    def cpu(self):
        return self.to("cpu")

    def cuda(self, device=None):
        return self.to("cuda" if device is None else device)

    def float(self):
        return self.to(np.dtype(np.float32))

    def double(self):
        return self.to(np.dtype(np.float64))

    def extra_repr(self):
        """What `repr` shows of this module in its parentheses."""
        return ""

    def __repr__(self):
        return _printed(self, [f"({name}): {child!r}" for name, child in self._modules.items()])


_WANTED = {  # what a name takes that has held one of a kind, in Python and in PyTorch's words
    "parameter": (Parameter, "parameter", "torch.nn.Parameter"),
    "module": (Module, "child module", "torch.nn.Module"),
    "buffer": (Tensor, "buffer", "torch.nn.Buffer, torch.Tensor"),
}


def _check_kind(kind, name, value):
    wanted, what, words = _WANTED[kind]
    if value is not None and not isinstance(value, wanted):
        raise TypeError(f"cannot assign '{type(value).__name__}' as {what} '{name}' ({words} or None expected)")


def _path(prefix, name):
    return f"{prefix}.{name}" if prefix else name


def _snapshot(tensor):
    array = tensor._data.copy()
    if isinstance(array, np.ndarray):  # other arrays can't be made read-only
        array.flags.writeable = False
    return constant(array)


def _converted(array, args, kwargs):
    """The array converted as by Tensor.to; arrays that aren't floating-point only change device."""
    out = constant(array).to(*args, **kwargs)
    if array.dtype.kind == "f" and out.dtype.kind != "f":
        raise TypeError(f"to: a module's parameters can only be floating, got {out.dtype}")
    return (out if array.dtype.kind == "f" else constant(array).to(out.device))._data


def _printed(module, below):
    """The module's class with what it prints of itself, and of what is below it, a line each."""
    extra = [line for line in module.extra_repr().split("\n") if line]
    if below or len(extra) > 1:
        extra = ["", *[line.replace("\n", "\n  ") for line in (*extra, *below)]]
        return f"{type(module).__name__}(" + "\n  ".join(extra) + "\n)"
    return f"{type(module).__name__}({''.join(extra)})"


class _Incompatible(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """The result of load_state_dict."""

    __slots__ = ()

    def __repr__(self):
        return super().__repr__() if any(self) else "<All keys matched successfully>"
