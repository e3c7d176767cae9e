"""Containers: modules that hold others in order or by name."""

from itertools import groupby

from ..engine import Tensor
from .module import Module, _printed
from .parameter import Parameter


class _Numbered(Module):
    """Modules named "0", "1", …, which can be used as a list."""

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, index):
        return self._modules[self._name(index)]

    def __setitem__(self, index, module):
        self.add_module(self._name(index), module)

    def __delitem__(self, index):
        modules = list(self)
        del modules[index]
        self._modules.clear()
        self.extend(modules)

    def _name(self, index):
        names = list(self._modules)
        if not -len(names) <= index < len(names):
            raise IndexError(f"index {index} is out of range of {len(names)} modules")
        return names[index]

    def append(self, module):
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules):
        for module in modules:
            self.append(module)
        return self

    def insert(self, index, module):
        modules = list(self)
        modules.insert(index, module)
        self._modules.clear()
        self.extend(modules)

    def pop(self, key):
        module = self[key]
        del self[key]
        return module

    def __add__(self, other):
        return type(self)().extend(self).extend(other)

    def __iadd__(self, other):
        return self.extend(other)


class Sequential(_Numbered):
    """Modules applied one after the other, numbered or, from a dict, with names."""

    def __init__(self, *args):
        super().__init__()
        named = args[0] if len(args) == 1 and isinstance(args[0], dict) else {str(i): x for i, x in enumerate(args)}
        for name, module in named.items():
            self.add_module(name, module)

    def forward(self, input):
        for module in self._modules.values():
            input = module(input)
        return input

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)(dict(list(self._modules.items())[index]))
        return super().__getitem__(index)


class ModuleList(_Numbered):
    """A list of modules, which are registered as children; those in a plain list aren't."""

    def __init__(self, modules=None):
        super().__init__()
        self.extend(modules or ())

    def __getitem__(self, index):
        return type(self)(list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def __repr__(self):
        """Repeated modules are printed once, with their number."""
        below, first = [], 0
        for text, equal in groupby(map(repr, self)):
            n = len(list(equal))
            below.append(f"({first}): {text}" if n == 1 else f"({first}-{first + n - 1}): {n} x {text}")
            first += n
        return _printed(self, below)


class _Named(Module):
    """The base class of dicts, whose items are in `_own`."""

    def __len__(self):
        return len(self._own)

    def __iter__(self):
        return iter(self._own)

    def __contains__(self, key):
        return key in self._own

    def __getitem__(self, key):
        return self._own[key]

    def __delitem__(self, key):
        self.pop(key)

    def keys(self):
        return self._own.keys()

    def values(self):
        return self._own.values()

    def items(self):
        return self._own.items()

    def update(self, named):
        for name, value in dict(named).items():
            self[name] = value

    def pop(self, key):
        value = self[key]
        delattr(self, key)
        return value

    def clear(self):
        for key in list(self):
            del self[key]


class ModuleDict(_Named):
    """A dict of modules, which are registered as children; those in a plain dict aren't."""

    _own = property(lambda self: self._modules)

    def __init__(self, modules=None):
        super().__init__()
        self.update(modules or {})

    def __setitem__(self, key, module):
        self.add_module(key, module)


class ParameterList(Module):
    """Parameters in a list; a plain Tensor becomes one."""

    def __init__(self, values=None):
        super().__init__()
        self.extend(values or ())

    def __len__(self):
        return len(self._parameters)

    def __iter__(self):
        return iter(self._parameters.values())

    def __getitem__(self, index):
        found = list(self)[index]
        return type(self)(found) if isinstance(index, slice) else found

    def __setitem__(self, index, value):
        self.register_parameter(list(self._parameters)[index], _parameter(value))

    def append(self, value):
        self.register_parameter(str(len(self)), _parameter(value))
        return self

    def extend(self, values):
        for value in values:
            self.append(value)
        return self

    def extra_repr(self):
        return "\n".join(_described(name, value) for name, value in self._parameters.items())


class ParameterDict(_Named):
    """Parameters by name; a plain Tensor becomes one."""

    _own = property(lambda self: self._parameters)

    def __init__(self, parameters=None):
        super().__init__()
        self.update(parameters or {})

    def __setitem__(self, key, value):
        self.register_parameter(key, _parameter(value))

    extra_repr = ParameterList.extra_repr


def _parameter(value):
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _described(name, value):
    return f"({name}): Parameter containing: [{value.dtype} of size {'x'.join(map(str, value.shape))}]"


class DataParallel(Module):
    """The module, on the one device that there is: what PyTorch's does without several GPUs."""

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        self.module = module

    def forward(self, *inputs, **options):
        return self.module(*inputs, **options)
