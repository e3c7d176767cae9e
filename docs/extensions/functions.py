"""`{functions}`: a table of every public name, found in the rungs: where it arrives, PyTorch's page, what is refused.

The names are those that the highest rung offers under PyTorch's (its torch.py says which), and a name arrives on the
lowest rung that has it. What is refused is asked of the function itself: each of PyTorch's arguments that it doesn't
know; and read in its code: the arguments that it knows, and raises NotImplementedError for.
"""

import ast
import html
import inspect
import re
import textwrap
from functools import cache
from importlib import import_module
from types import FunctionType, ModuleType

import torch  # before the rungs, whose own modules of that name then leave it alone
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ladder.stages import STAGES

RUNGS = [stage for stage in STAGES if stage.exists]
TOP = RUNGS[-1].package
DOCS = f"https://docs.pytorch.org/docs/{'.'.join(torch.__version__.split('.')[:2])}"
METHODS = ["torch.Tensor", "torch.nn.Module", "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"]
# Most of PyTorch's names have a page of their own. Those of these places are on one page together,
TOGETHER = {"torch.nn.init": "nn.init", "torch.utils.data": "data", "torch.distributed": "distributed"}
TOGETHER |= {"torch.utils.data.distributed": "data", "torch.amp": "amp", "torch.cuda.amp": "amp"}
TOGETHER |= {kind: f"generated/{kind}" for kind in METHODS[1::2]}
TOGETHER |= {"torch.backends.cudnn": "backends", "torch.backends.mps": "backends"}
# these are elsewhere than at their name,
ELSEWHERE = {
    "torch.Generator": "generated/torch.Generator.html",
    "torch.Size": "size.html#torch.Size",
    "torch.Tensor": "tensors.html#torch.Tensor",
    "torch.Tensor.T": "tensors.html#torch.Tensor.T",
    "torch.Tensor.mT": "tensors.html#torch.Tensor.mT",
    "torch.device": "tensor_attributes.html#torch.device",
    "torch.dtype": "tensor_attributes.html#torch.dtype",
    "torch.autocast": "amp.html#torch.autocast",
    "torch.finfo": "type_info.html#torch.finfo",
    "torch.iinfo": "type_info.html#torch.iinfo",
    "torch.inference_mode": "generated/torch.autograd.grad_mode.inference_mode.html",
    "torch.set_grad_enabled": "generated/torch.autograd.grad_mode.set_grad_enabled.html",
    "torch.autograd.Function": "autograd.html#torch.autograd.Function",
    "torch.cuda.empty_cache": "generated/torch.cuda.memory.empty_cache.html",
    "torch.nn.Parameter": "generated/torch.nn.parameter.Parameter.html",
    "torch.nn.parallel.DistributedDataParallel": "generated/torch.nn.parallel.DistributedDataParallel.html",
    "torch.optim.Optimizer": "optim.html#torch.optim.Optimizer",
    "torch.distributions.Bernoulli": "distributions.html#torch.distributions.bernoulli.Bernoulli",
    "torch.distributions.Categorical": "distributions.html#torch.distributions.categorical.Categorical",
    "torch.distributions.Normal": "distributions.html#torch.distributions.normal.Normal",
    "torch.distributions.kl_divergence": "distributions.html#torch.distributions.kl.kl_divergence",
}
# and these have a docstring and no page.
NO_PAGE = ["Tensor.exp2", "Tensor.exp2_", "Tensor.is_mps", "Tensor.is_xpu"]
NO_PAGE += [f"nn.functional.{name}" for name in ("celu_", "selu_", "multi_head_attention_forward")]


def resolved(name):
    """What a dotted name, as `torch.nn.Linear`, is in PyTorch; None if it isn't there."""
    found = torch
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def link(name):
    """The address of PyTorch's page for a name such as `torch.nn.Linear`, or None where it has none."""
    place, found = name.rpartition(".")[0], resolved(name)
    if name in ELSEWHERE:
        return f"{DOCS}/{ELSEWHERE[name]}"
    if isinstance(found, torch.dtype):
        return f"{DOCS}/tensor_attributes.html#torch.dtype"
    if found is None or not getattr(found, "__doc__", None) or name.removeprefix("torch.") in NO_PAGE:
        return None
    if not isinstance(found, type) and not callable(found) and not name.startswith("torch.Tensor."):
        return None  # a number
    return f"{DOCS}/{TOGETHER[place]}.html#{name}" if place in TOGETHER else f"{DOCS}/generated/{name}.html"


# Where a name arrives


@cache
def places(rung):
    """Place, such as `torch.nn` -> the names that a rung has there -> what they are; a Tensor's methods too."""
    package = import_module(rung)
    found = {"torch": {name: getattr(package, name) for name in package.__all__}}
    stack = [import_module(f"{rung}.torch")] if hasattr(package, "nn") else []  # before rung 3 that isn't there
    while stack:
        place = stack.pop()
        within = {name: value for name, value in vars(place).items() if not name.startswith("_")}
        modules = [value for value in within.values() if isinstance(value, type(place))]
        stack += [module for module in modules if module.__name__ not in found]
        found.setdefault(place.__name__, {}).update(within)
    found = {
        place: {name: value for name, value in names.items() if not isinstance(value, ModuleType)}
        for place, names in found.items()
    }
    for kind in METHODS:
        place, _, name = kind.rpartition(".")
        if owner := found.get(place, {}).get(name):
            found[kind] = {name: getattr(owner, name) for name in dir(owner) if not name.startswith("_")}
    if hasattr(package, "datasets"):
        own = [f for f in vars(package.datasets).values() if getattr(f, "__module__", "") == f"{rung}.datasets"]
        found["datasets"] = {f.__name__: f for f in own if not f.__name__.startswith("_")}
    return found


def arrival(place, name):
    """The number of the lowest rung that has the name."""
    return next(rung.number for rung in RUNGS if name in places(rung.package).get(place, {}))


def rows():
    """(place, name, what it is here, what it is in PyTorch or None) of every name, each in one place."""
    known, ours, found = [], [], []
    first = ["torch", "torch.Tensor"]
    order = first + sorted((place for place in places(TOP) if place not in first), key=lambda x: (x == "datasets", x))
    for place in order:
        names = places(TOP)[place]
        for name, value in sorted(names.items(), key=lambda item: item[0].lower()):
            theirs = inspect.unwrap(resolved(f"{place}.{name}"))  # its compiler wraps some, once it is imported
            again = [(theirs, x) for x in known] if callable(theirs) else [(value, x) for x in ours if theirs is None]
            if place not in ("torch", *METHODS) and any(x is y for x, y in again):
                continue  # it has another place already, as torch.no_grad for torch.autograd.no_grad
            known.append(theirs)
            ours.append(value)
            found.append((place, name, value, theirs))
    return found


# What is refused


def arguments(function):
    """The names of the arguments of one of PyTorch's functions, by its signature or else by its documentation."""
    try:
        parameters = inspect.signature(function).parameters.values()
        found = [x.name for x in parameters if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)]
    except (TypeError, ValueError):
        text, name = function.__doc__ or "", function.__name__
        if same := re.search(r"Alias (?:for|of) :\w+:`~?(torch\.[\w.]+)`", text):
            return arguments(resolved(same[1]))
        listed = re.findall(rf"^\s*(?:torch\.)?{name}\((.*?)\) *->", text, re.DOTALL | re.MULTILINE)
        found = [re.split("[=:]", argument)[0].strip() for inside in listed for argument in inside.split(",")]
    return [name for name in dict.fromkeys(found) if name.isidentifier() and name[0] != "_" and name != "self"]


def knows(function, name):
    """Whether a function has an argument of this name. One that passes on what it gets is called with it to see."""
    parameters = inspect.signature(function, follow_wrapped=False).parameters
    if not any(x.kind == x.VAR_KEYWORD for x in parameters.values()):
        return name in parameters and parameters[name].kind != inspect.Parameter.VAR_POSITIONAL
    try:
        function(import_module(TOP).Tensor([[1.0, 2.0], [3.0, 4.0]]), **{name: object()})
    except TypeError as error:
        return f"unexpected keyword argument '{name}'" not in str(error)
    except Exception:
        pass  # it knows the argument, and has something against its value
    return True


def unknown(place, name, value, theirs):
    """PyTorch's arguments that aren't known here."""
    if not callable(value) or not callable(theirs) or isinstance(theirs, torch.dtype):
        return []
    function = getattr(torch, name, None)
    if place == "torch.Tensor" and callable(function):  # whose documentation has the names that the method takes too
        return [x for x in arguments(function)[1:] if x != "out" and not knows(value, x)]
    return [x for x in arguments(theirs) if not knows(value, x)]


def code(value):
    """The syntax trees of a function, or of a class's methods and of what makes an object of it."""
    functions = [inspect.unwrap(value)] if isinstance(value, FunctionType) else []
    if isinstance(value, type):
        makers = [kind.__init__ for kind in value.__mro__ if kind.__module__.startswith(TOP)]
        for maker in makers:  # to which those are added that it calls
            called = re.findall(r"\bself\.(\w+)\(", inspect.getsource(maker)) if isinstance(maker, FunctionType) else []
            makers += [f for name in called if (f := getattr(value, name, None)) and f not in makers]
        functions = dict.fromkeys(f for f in [*vars(value).values(), *makers] if isinstance(f, FunctionType))
    trees = [ast.parse(textwrap.dedent(inspect.getsource(f))).body[0] for f in functions]
    return [tree for tree in trees if isinstance(tree, ast.FunctionDef)]  # and no line with a lambda


def raised(name, value):
    """What the code says that it raises NotImplementedError for: arguments as `name=`, else sentences."""
    found = []
    method = isinstance(value, type) or re.fullmatch(r"\w+\.\w+", getattr(value, "__qualname__", ""))
    for function in code(value):
        body = function.body[ast.get_docstring(function) is not None :]
        if method and len(body) == 1 and isinstance(body[0], ast.Raise):
            continue  # it's for subclasses to write
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "refuse":
                found += [f"{argument}=" for argument in refused_by(node, function)]
            elif isinstance(node, ast.Raise) and ast.unparse(node.exc).startswith("NotImplementedError("):
                found.append(sentence(name, node.exc.args[0]))
    return list(dict.fromkeys(found))


def refused_by(call, function):
    """The names that a call of `refuse` gives, also those in a dict that the function makes for it."""
    dicts = {ast.unparse(node.targets[0]): node.value for node in ast.walk(function) if isinstance(node, ast.Assign)}
    for keyword in call.keywords:
        if keyword.arg:
            yield keyword.arg
        elif isinstance(made := dicts.get(ast.unparse(keyword.value)), ast.Dict):
            yield from [key.value for key in made.keys]


def sentence(name, message):
    """The text of an error, with … for what is put in, and without the name of the op at its beginning."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
    return re.sub(rf"^({name}|…)_?(: |\.)", "", text)


@cache
def table():
    """(place, name, number of the rung, link or None, what is refused) of every name."""
    found, tensor = [], import_module(TOP).Tensor
    for place, name, value, theirs in rows():
        refused = [f"{argument}=" for argument in unknown(place, name, value, theirs)]
        if not (isinstance(value, type) and issubclass(value, tensor)):  # whose methods have rows of their own
            refused += raised(name, value)
        address = link(f"{place}.{name}") if theirs is not None else None
        found.append((place, name, arrival(place, name), address, list(dict.fromkeys(refused))))
    return found


# The page


class Functions(SphinxDirective):
    """`{functions}`: the table, a section of the page a place, and a box to filter it."""

    def run(self):
        whole = table()
        box = (
            '<label class="functions-filter">Filter <input type="search" placeholder="conv, rung 4, dtype=, …"> '
            f'<output>{len(whole):,} names</output></label><script defer src="_static/functions.js"></script>'
        )
        found = [nodes.raw("", box, format="html")]
        for place in dict.fromkeys(place for place, *_ in whole):
            section = nodes.section(ids=[place.replace(".", "-").lower()])
            section += nodes.title("", "", nodes.literal(text=place.removeprefix("torch.")))
            section += nodes.raw("", markup([row for row in whole if row[0] == place]), format="html")
            found.append(section)
        return found


def markup(rows):
    """The HTML of the rows of one place."""
    lines = ['<table class="functions"><thead><tr><th>name</th><th>arrives</th><th>refused</th></tr></thead><tbody>']
    for _, name, rung, address, refused in rows:
        shown = f"<code>{html.escape(name)}</code>"
        if address:
            shown = f'<a class="reference external" href="{html.escape(address)}">{shown}</a>'
        said = [f"<code>{x}</code>" if re.fullmatch(r"\w+=", x) else html.escape(x) for x in refused]
        lines.append(f"<tr><td>{shown}</td><td>rung {rung}</td><td>{'; '.join(said)}</td></tr>")
    return "\n".join([*lines, "</tbody></table>"])


def setup(app):
    app.add_directive("functions", Functions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
