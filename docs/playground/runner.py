"""Runs the reader's program on rung 1, in the browser, and says what the page shall show.

The rung needs no change for it: `backward()` takes tensor after tensor from what `topological_order` returned, and when
it asks for the next it is done with the one before. So a list that notes the gradients then has them step by step.
"""

import ast
import json
import re
import sys
import traceback

PROGRAM = "your program"  # its file name, by which its lines are told from all others in a traceback
MOST = 200  # operations: a larger picture can't be read
NODE = re.compile(r'^(\d+) \[label="(.*?)"', re.MULTILINE)  # of a tensor, by its id, in what draw.py writes


class Recording(list):
    """A topological order that notes what `backward()` does with each of its tensors.

    `steps` are pairs: the tensor that was visited, or None before the first, and the gradients that it changed.
    """

    def __init__(self, root, order):
        super().__init__(order)
        self.root, self.steps = root, []

    def __reversed__(self):
        if len(self) > MOST:
            yield from super().__reversed__()
            return
        tensors = dict.fromkeys([x for tensor in self for x in tensor.inputs] + [self.root])
        self.numbers = {x: x.data for x in tensors}  # which the program may change later
        self.steps = [(None, {x: x.grad for x in tensors})]
        for tensor in super().__reversed__():
            yield tensor
            self.steps.append((tensor, {x: x.grad for x in tensor.inputs if x.requires_grad}))


def run(program):
    """Run the program. What the page shall show, as JSON: of `error`, `value`, `picture` and `note` what there is."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "stage1_scalar"]:
        del sys.modules[name]  # and with it what an earlier program changed there
    import stage1_scalar
    from stage1_scalar import draw, engine

    latest, order = None, engine.topological_order

    def recorded(root):
        nonlocal latest
        latest = Recording(root, order(root))
        return latest

    engine.topological_order = recorded
    names = {"__name__": "__main__"} | {name: getattr(stage1_scalar, name) for name in stage1_scalar.__all__}
    shown = {}
    try:
        value = last_value(program, names)
        if latest is None and isinstance(value, engine.Tensor) and value.requires_grad:
            value.backward()
        elif value is not None:
            shown["value"] = repr(value)
    except BaseException as error:
        shown["error"] = explained(error, program)
    if latest is None:
        if "error" not in shown:
            shown["note"] = "No graph: no backward() is called, and the last line makes no Tensor that requires grad."
    elif len(latest) > MOST:
        shown["note"] = f"A graph of {len(latest):,} operations can't be read; up to {MOST} are drawn."
    else:
        shown["picture"] = picture(latest, named(names, engine.Tensor), draw)
    sys.stdout.flush()  # a last line without its end
    return json.dumps(shown)


def last_value(program, names):
    """Run the program with these names; the value of its last line, if that is an expression or sets a name."""
    tree = ast.parse(program, PROGRAM)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        del tree.body[-1]
        exec(compile(tree, PROGRAM, "exec"), names)
        return eval(compile(ast.Expression(last.value), PROGRAM, "eval"), names)
    exec(compile(tree, PROGRAM, "exec"), names)
    if isinstance(last, ast.Assign | ast.AugAssign):
        target = last.targets[-1] if isinstance(last, ast.Assign) else last.target
        return names[target.id] if isinstance(target, ast.Name) else None


def explained(error, program):
    """The error, for who wrote the program: its message, its line, and the lines from which that was called."""
    message = "".join(traceback.TracebackException.from_exception(error).format_exception_only()).strip()
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == PROGRAM]
    if isinstance(error, SyntaxError) and error.filename == PROGRAM:
        lines, message = [error.lineno], message[message.index(f"{type(error).__name__}: ") :]
    elif isinstance(error, ModuleNotFoundError):
        message = f"There is no module {error.name} on this page, only stage1_scalar and what comes with Python."
    elif isinstance(error, ImportError):
        message = message.replace(f" ({error.path})", "")  # of a file that the reader hasn't got
    text = program.splitlines()[lines[-1] - 1].strip() if lines else ""
    return {"message": message, "lines": list(dict.fromkeys(reversed(lines))), "text": text}


def named(names, kind):
    """Tensor -> the first name that the program gave it, such as `a` or `w[0]`."""
    found = {}
    for name, value in names.items():
        parts = {name: value}
        if isinstance(value, list | tuple):
            parts = {f"{name}[{i}]": part for i, part in enumerate(value)}
        for part, tensor in parts.items():
            if isinstance(tensor, kind):
                found.setdefault(tensor, part)
    return found


def picture(recording, names, draw):
    """The graph in Graphviz's language; and the steps, with what each says and the labels of all boxes, by their ids.

    The graph is laid out once, each box for its longest label, so that no step moves any.
    """
    names = {x: name for x, name in names.items() if x in recording.numbers}
    called = {str(id(x)): f"{name}: " for x, name in names.items()}
    for x, number in recording.numbers.items():
        x.data = number
    steps = []
    for tensor, changed in recording.steps:
        says = said(tensor, changed, names)
        for x, grad in changed.items():
            x.grad = grad
        source = draw.source(recording.root)
        step = {"at": tensor and str(id(tensor)), "gets": [str(id(x)) for x in changed if tensor], "says": says}
        step["labels"] = {node: called.get(node, "") + label for node, label in NODE.findall(source)}
        step["names"] = [
            (name, f"{x.data:.7g}", "" if x.grad is None else f"{x.grad:.7g}") for x, name in names.items()
        ]
        steps.append(step)
    longest = {node: max((step["labels"][node] for step in steps), key=len) for node in steps[0]["labels"]}
    source = NODE.sub(lambda found: f'{found[1]} [label="{longest[found[1]]}"', source)
    return {"source": source.replace("{", '{ node [fontname="Courier"]', 1), "steps": steps}


def said(tensor, changed, names):
    """What a step of `backward()` does: a sentence, and a line for each gradient that it computes."""

    def called(x):
        return names.get(x) or f"{x.op or 'leaf'} {x.data:.4g}"

    if tensor is None:
        root = list(changed)[-1]
        return [f"backward() begins with {called(root)}: its gradient with respect to itself is {changed[root]:.4g}."]
    says = [f"{called(tensor)} has all of its gradient, and passes it on:"]
    for x, slope in zip(tensor.inputs, tensor.derivatives):
        if x.requires_grad:
            slope = slope() if callable(slope) else slope
            how = "=" if x.grad is None else "+="
            says.append(f"{called(x)}: grad {how} {tensor.grad:.4g} · {slope:.4g}, which makes {changed[x]:.4g}")
    return says
