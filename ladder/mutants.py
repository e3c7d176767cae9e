"""Plants changes at random, one at a time, in a copy of a rung, and prints those that no test notices.

A change is a small one: another operator, a condition turned round, a number more, an argument or a call left out. The
tests nearest to its file run first, until one fails: `nox -s mutants -- stage4 --count 100`.
"""

import argparse
import ast
import copy
import difflib
import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from .stages import STAGES

OTHERS = {  # what is put in the place of what
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
}
NEAREST = {  # the tests that know most of a file or folder, the fastest first; then the others do
    **dict.fromkeys(["engine", "grad_mode"], ["engine", "arrays"]),
    **dict.fromkeys(["moons", "mnist", "autoencoder", "demo"], ["demos"]),
    **dict.fromkeys(["checkpoint", "unpickle"], ["checkpoints"]),
    **dict.fromkeys(["conv", "pooling", "resize"], ["images", "parity"]),
    **dict.fromkeys(["datasets", "download", "data"], ["data"]),
    **{"inplace": ["inplace", "arrays"], "nn": ["modules", "as_pytorch", "parity"], "optim": ["optim", "schedulers"]},
    **{"distributions": ["distributions"], "draw": ["draw"], "torch": ["programs"]},
}
OTHER_TESTS = ["engine", "arrays", "pointwise", "inplace", "modules", "parity", "as_pytorch", "training", "signatures"]
LONGEST = 600  # seconds, after which tests are taken to go on for ever


def changes(text):
    """Every change to the text of a module: (node, what to write in its place)."""
    stack = [ast.parse(text)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.JoinedStr):  # whose parts have no places before Python 3.12
            continue
        stack += ast.iter_child_nodes(node)
        new = copy.deepcopy(node)
        if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in OTHERS:
            new.op = OTHERS[type(node.op)]()
            yield node, ast.unparse(new) if isinstance(node, ast.AugAssign) else f"({ast.unparse(new)})"
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in OTHERS:
            new.ops[0] = OTHERS[type(node.ops[0])]()
            yield node, f"({ast.unparse(new)})"
        elif isinstance(node, ast.UnaryOp):
            yield node, f"({ast.unparse(node.operand)})"
        elif isinstance(node, ast.If | ast.IfExp):
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            yield node, repr(not node.value if isinstance(node.value, bool) else node.value + 1)
        elif isinstance(node, ast.Call) and node.keywords:
            new.keywords.pop()
            yield node, ast.unparse(new)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node, "pass"


def changed(text, node, new):
    """The text with something else in the place of a node, which counts in bytes."""
    lines = text.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    whole = b"".join(lines)
    return (whole[:start] + new.encode() + whole[end:]).decode()


def nearest(path):
    """The names of tests, in the order in which to run them for a change in a file of a rung."""
    first = NEAREST.get(path.stem) or next((NEAREST[part] for part in path.parts[-2::-1] if part in NEAREST), [])
    return list(dict.fromkeys([*first, *OTHER_TESTS]))


def survivors(stage, count, seed, root, tests=nearest):
    """(file, line, diff) of each of so many changes that none of the tests notices; `root` is an empty folder."""
    for name in ("ladder", "shared_tests", stage.package):
        shutil.copytree(stage.root / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(stage.root / "pyproject.toml", root)

    def passes(test):
        command = [sys.executable, "-B", "-m", "pytest", "-qx", "-p", "no:cacheprovider", "--whole", "--stage"]
        command += [stage.package, f"shared_tests/test_{test}.py"]
        try:
            return not subprocess.run(command, cwd=root, capture_output=True, timeout=LONGEST).returncode
        except subprocess.TimeoutExpired:
            return False

    @cache
    def passes_unchanged(test):
        if not passes(test):
            raise RuntimeError(f"test_{test}.py fails on {stage.package} as it is")
        return True

    generator = random.Random(seed)
    paths = [path for path in sorted((root / stage.package).rglob("*.py")) if path.name != "torch.py"]
    places = [(path, i) for path in paths for i, _ in enumerate(changes(path.read_text(encoding="utf-8")))]
    for path, i in generator.sample(places, min(count, len(places))):
        text = path.read_text(encoding="utf-8")
        node, new = list(changes(text))[i]
        for test in tests(path.relative_to(root)):
            passes_unchanged(test)
            path.write_text(changed(text, node, new), encoding="utf-8")
            alive = passes(test)
            path.write_text(text, encoding="utf-8")
            if not alive:
                break
        else:
            both = (each.splitlines() for each in (text, changed(text, node, new)))
            lines = [line for line in difflib.unified_diff(*both, n=0, lineterm="") if line[:3] not in ("---", "+++")]
            yield path.relative_to(root), node.lineno, "\n".join(lines[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=[f"stage{stage.number}" for stage in STAGES if stage.exists])
    parser.add_argument("--count", type=int, default=20, help="how many changes to plant (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same changes (%(default)s)")
    flags, n = parser.parse_args(), 0
    stage = next(stage for stage in STAGES if f"stage{stage.number}" == flags.stage)
    with TemporaryDirectory() as folder:
        for path, line, diff in survivors(stage, flags.count, flags.seed, Path(folder)):
            print(f"{path}:{line}\n{diff}\n", flush=True)
            n += 1
    print(f"{n} of {flags.count} changes survived")


if __name__ == "__main__":
    main()
