"""The ladder check: every rung is the one below it plus its lesson, and no more.

`python -m ladder` prints the ladder table and every fault that it finds, and ends with 1 if there are any.
With `--write` it also puts the table into README.md. Standard library only.

How lines are counted. A code line is a line of a rung's Python files on which something stands besides blanks, comments
and docstrings; the demos, and `demo.py` which they share, are left out. The code lines of a file are compared, in
order, with those of the same file on the rung below. Where a run of old lines gives way to a run of new ones, they pair
off as changed lines; what is left over of the longer run counts as removed or added. So a rung has the code lines of
the one below, plus added, minus removed, plus those of the files beside the lesson, which can be left out when it is
read.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise

from .stages import ROOT, STAGES

OWN = {"README.md", "__init__.py", "pyproject.toml"}  # every rung writes these anew
LAYOUT = {tokenize.COMMENT, tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
IN_README = re.compile(r"(?<=<!-- ladder -->\n).*?(?=<!-- /ladder -->)", re.DOTALL)


@cache  # most texts stand on several rungs, and each is asked for several times
def code_lines(source):
    """The lines of a Python source that hold code, without those of blanks, comments and docstrings."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    numbers = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_docstring = token.type == tokenize.STRING and token.start[0] in docstrings
        if token.type not in LAYOUT and not is_docstring:
            numbers.update(range(token.start[0], token.end[0] + 1))
    return [line.rstrip() for number, line in enumerate(source.splitlines(), 1) if number in numbers]


def code(stage):
    """File name -> code lines, for the Python files of a rung that are not demos."""
    demos = {f"{demo}.py" for demo in ("demo", *stage.demos)}
    names = [name for name in stage.files() if name.endswith(".py") and name not in demos]
    return {name: code_lines((stage.folder / name).read_text(encoding="utf-8")) for name in names}


def compare(old, new):
    """How many lines lead from one list of lines to another, as a Counter of added, changed and removed."""
    counts = Counter()
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        pairs = min(i2 - i1, j2 - j1)
        if tag != "equal":
            counts.update(added=j2 - j1 - pairs, changed=pairs, removed=i2 - i1 - pairs)
    return counts


def step(lower, upper):
    """The same counts for the lesson between two rungs, and how many lines come `beside` it."""
    old, new = code(lower), code(upper)
    lesson = (old | new).keys() - set(upper.beside)
    counts = sum((compare(old.get(name, []), new.get(name, [])) for name in lesson), Counter())
    counts["beside"] = sum([len(new.get(name, [])) for name in upper.beside])
    return counts


def table(stages):
    """The ladder as a Markdown table, where files are those of `code`; a rung that is not built yet has its row too."""
    rows = [["rung", "it adds", "files", "code lines", "added", "changed", "removed", "beside the lesson"]]
    below = None
    for stage in stages:
        counts = ["–"] * 6
        if stage.exists:
            own = code(stage)
            counts[:2] = [str(len(own)), str(sum(map(len, own.values())))]
            if below:
                lines = step(below, stage)
                counts[2:] = [str(lines[kind]) for kind in ("added", "changed", "removed", "beside")]
            below = stage
        rows.append([f"`{stage.package}`", stage.adds, *counts])
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ["-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)])
    justify = [str.ljust] * 2 + [str.rjust] * 6
    padded = [[just(*cell) for just, *cell in zip(justify, row, widths)] for row in rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in padded)


def faults(stages):
    """Everything that is wrong with the rungs that are built, one sentence each."""
    built = [stage for stage in stages if stage.exists]
    found = [fault for stage in built for fault in (*size_faults(stage), *import_faults(stage))]
    return found + [fault for steps in pairwise(built) for fault in (*file_faults(*steps), *step_faults(*steps))]


def size_faults(stage):
    """A rung that is longer than its budget."""
    lines = sum(map(len, code(stage).values()))
    if lines > stage.max_lines:
        yield f"{stage.package}: {lines} code lines, over the budget of {stage.max_lines}"


def import_faults(stage):
    """Imports that leave the package for anything but the standard library and the rung's own dependencies."""
    allowed = {*sys.stdlib_module_names, *stage.dependencies, *stage.optional, *stage.modules}
    for name in filter(lambda name: name.endswith(".py"), stage.files()):
        for node in ast.walk(ast.parse((stage.folder / name).read_bytes())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                inside = node.level and node.level <= name.count("/") + 1  # no more dots than folders
                modules = [] if inside else ["." * node.level + (node.module or "")]
            else:
                continue
            for module in modules:
                if module.split(".")[0] not in allowed:
                    yield (
                        f"{stage.package}/{name}:{node.lineno}: imports {module}, which is neither of this package "
                        "(by a relative import), nor of the standard library, nor a dependency in the table of stages"
                    )


def file_faults(lower, upper):
    """Files that got lost, that changed although the lesson doesn't touch them, or that the table doesn't know."""
    old, new = set(lower.files()), set(upper.files())
    for name in sorted(old - new):
        yield f"{upper.package}: {name} of {lower.package} is missing"
    declared = {*upper.new, *upper.beside}
    for name in sorted(new - old - declared):
        yield f"{upper.package}: {name} is new, but the table of stages doesn't say so"
    for name in sorted(declared - (new - old)):
        yield f"{upper.package}: {name} is not new, but the table of stages says so"
    for name in sorted(old & new - OWN):
        same = (lower.folder / name).read_bytes() == (upper.folder / name).read_bytes()
        if same and name in upper.touched:
            yield f"{upper.package}: {name} is as in {lower.package}, but the table of stages says that it is touched"
        if not same and name not in upper.touched:
            yield f"{upper.package}: {name} differs from {lower.package}, but the lesson doesn't touch it"


def step_faults(lower, upper):
    """A lesson that is longer than its budgets."""
    lines = step(lower, upper)
    if lines["added"] > upper.max_added:
        yield f"{upper.package}: adds {lines['added']} lines, over the budget of {upper.max_added}"
    gone, of = lines["changed"] + lines["removed"], sum(map(len, code(lower).values()))
    if gone * 100 > upper.max_changed * of:
        yield (
            f"{upper.package}: changes or removes {gone} of the {of} lines of {lower.package} "
            f"({100 * gone / of:.1f} %), over the budget of {upper.max_changed} %"
        )


def readme_faults(readme, wanted):
    """A README that shows another table than this one."""
    shown = IN_README.search(readme.read_text(encoding="utf-8")) if readme.is_file() else None
    if not shown:
        yield f"{readme.name}: has no lines <!-- ladder --> and <!-- /ladder --> to hold the table"
    elif shown.group() != wanted:
        yield f"{readme.name}: shows another ladder table; `nox -s ladder -- --write` puts this one in"


def write(readme, wanted):
    """Put the table into the README, where its markers are."""
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        readme.write_text(IN_README.sub(lambda _: wanted, text, count=1), encoding="utf-8")


def main(arguments=None, stages=STAGES, readme=ROOT / "README.md"):
    """Print the table and the faults, and return the exit code."""
    parser = argparse.ArgumentParser(prog="ladder", description="Check the ladder of rungs.")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    if parser.parse_args(arguments).write:
        write(readme, table(stages))
    print(table(stages), flush=True)
    found = [*faults(stages), *readme_faults(readme, table(stages))]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0
