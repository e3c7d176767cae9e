"""Names and arguments of networks are PyTorch's, in its order and with its defaults."""

import inspect
import math
import re
from types import FunctionType

import pytest

from .engines import torch_engine

modules = pytest.mark.capability("modules")
OUR_OWN = {"hinge_loss", "refuse"}  # which PyTorch hasn't got


def public(module, kinds):
    """name -> object, for what a module of the package offers."""
    names = [name for name in vars(module) if not name.startswith("_")]
    return {name: getattr(module, name) for name in names if isinstance(getattr(module, name), kinds)}


def arguments(callable, skip=()):
    """(name, default) of each argument; of one that takes the rest by name, or in order, its kind."""
    parameters = inspect.signature(callable).parameters.values()
    return [
        (x.name, x.default.__name__ if isinstance(x.default, FunctionType) else x.default)
        if x.kind not in (x.VAR_POSITIONAL, x.VAR_KEYWORD)
        else str(x.kind)
        for x in parameters
        if x.name not in skip
    ]


def documented(function):
    """The arguments of what PyTorch has in C++, as the first line of its documentation says."""
    (inside,) = re.match(r"\s*\w+\((.*?)\) -> ", function.__doc__, re.DOTALL).groups()
    found = []
    for argument in re.split(r",\s+", inside):
        name, _, default = argument.replace(" ", "").partition("=")
        found.append((name, eval(default) if default else inspect.Parameter.empty))
    return found


def of_torch(function):
    try:
        found = arguments(function)
        if found == ["VAR_POSITIONAL", "VAR_KEYWORD"]:  # it chooses between two functions, one of which is named so
            found = arguments(getattr(torch_engine().torch.nn.functional, f"_{function.__name__}"))
        return found
    except ValueError:
        return documented(function)


@modules
def test_functions_have_pytorchs_arguments(stage):
    theirs = torch_engine().torch.nn.functional
    for name, function in public(stage.part("nn.functional"), FunctionType).items():
        if function.__module__.startswith(stage.name) and hasattr(theirs, name):
            wanted = getattr(theirs, f"{name}_with_indices", getattr(theirs, name))  # pooling goes through the former
            assert arguments(function) == of_torch(wanted), name


@modules
def test_functions_of_networks_are_pytorchs(stage):
    theirs = torch_engine().torch.nn.functional
    names = {
        name for name, f in public(stage.part("nn.functional"), FunctionType).items() if "nn.functional" in f.__module__
    }
    assert {name for name in names if not hasattr(theirs, name)} == OUR_OWN


@modules
@pytest.mark.parametrize("module", ["init", "utils"])
def test_initial_weights_and_utilities_have_pytorchs_arguments(stage, module):
    theirs = getattr(torch_engine().torch.nn, module)
    for name, function in public(stage.part(f"nn.{module}"), FunctionType).items():
        if function.__module__ == f"{stage.name}.nn.{module}":
            assert arguments(function) == arguments(getattr(theirs, name)), name


@modules
def test_modules_have_pytorchs_arguments(stage):
    torch, nn = torch_engine().torch, stage.part("nn")
    for name, kind in public(nn, type).items():
        if name in ("Module", "Identity"):
            continue
        if arguments(getattr(torch.nn, name)) == ["VAR_POSITIONAL", "VAR_KEYWORD"]:
            continue  # test_sequences.py asks for those of recurrent layers
        assert arguments(kind) == arguments(getattr(torch.nn, name)), name
        if issubclass(kind, nn.Module) and kind.forward is not nn.Module.forward:
            assert arguments(kind.forward) == arguments(getattr(torch.nn, name).forward), f"{name}.forward"


@modules
def test_methods_of_modules_have_pytorchs_arguments(stage):
    torch, nn = torch_engine().torch, stage.part("nn")
    for name, method in public(nn.Module, FunctionType).items():
        skip = ("args",) if name == "state_dict" else ()  # which are deprecated there
        assert arguments(method) == arguments(getattr(torch.nn.Module, name), skip), name
    for name in ("Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"):
        theirs = getattr(torch.nn, name)
        for method in public(getattr(nn, name), FunctionType):
            assert hasattr(theirs, method), f"{name}.{method}"


# What is in PyTorch and not here is refused by name


REFUSED = {
    "max_norm": lambda nn, T: nn.Embedding(3, 2, max_norm=1.0),
    "scale_grad_by_freq": lambda nn, T: nn.Embedding(3, 2, scale_grad_by_freq=True),
    "sparse": lambda nn, T: nn.Embedding(3, 2, sparse=True),
    "track_running_stats": lambda nn, T: nn.InstanceNorm1d(3, track_running_stats=True),
    "running_mean": lambda nn, T: nn.functional.instance_norm(T([[[1.0]]]), running_mean=T([1.0])),
    "out": lambda nn, T: nn.functional.normalize(T([[1.0]]), out=T([[1.0]])),
    "assign": lambda nn, T: nn.Linear(1, 1).load_state_dict({}, assign=True),
    "min_value": lambda nn, T: nn.Hardtanh(min_value=math.pi),
}


@modules
@pytest.mark.parametrize("argument", REFUSED)
def test_an_argument_that_is_not_supported_is_refused_by_name(stage, argument):
    with pytest.raises(NotImplementedError, match=argument):
        REFUSED[argument](stage.part("nn"), stage.package.Tensor)
