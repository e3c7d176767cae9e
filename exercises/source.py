"""The text of a rung: where a function stands in it, what its hole looks like, and how a learner's text gets there."""

import ast
import shutil

from ladder.source import lines_of

UNWRITTEN = "yours to write"


class Unreadable(Exception):
    """A learner's file can't be used as it is; the message says why, `line` where."""

    def __init__(self, message, line=None):
        super().__init__(message)
        self.line = line


def read(path):
    """The text of a file. Unreadable if it is gone, no text or no Python."""
    try:
        text = path.read_text(encoding="utf-8")
        ast.parse(text)
    except FileNotFoundError:
        raise Unreadable(f"{path.name} is gone. `reset` puts it back, with what you have solved.") from None
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path.name} isn't UTF-8 text: {error.reason} at byte {error.start}.") from None
    except SyntaxError as error:
        raise Unreadable(f"Python can't read {path.name}: {error.msg}.", error.lineno) from None
    except ValueError as error:  # a null byte
        raise Unreadable(f"Python can't read {path.name}: {error}.") from None
    return text


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def part(text, function):
    """The text of a function in the text of a file, and its first line, from 1. Unreadable if it isn't there."""
    span = lines_of(ast.parse(text).body, function)
    if span is None:
        raise Unreadable(f"There is no {function} any more. `reset` puts it back.")
    return "".join(text.splitlines(keepends=True)[slice(*span)]), span[0] + 1


def replaced(text, function, new):
    """The text of a file with another text of a function."""
    old, line = part(text, function)
    lines, n = text.splitlines(keepends=True), len(old.splitlines())
    return "".join([*lines[: line - 1], new, *lines[line - 1 + n :]])


def _body(function_text):
    """The lines of a function, dedented so far as to parse, and the node of the function."""
    indent = len(function_text) - len(function_text.lstrip())
    text = "if True:\n" + function_text if indent else function_text
    node = ast.parse(text).body[0]
    return (node.body[0] if indent else node), bool(indent)


def hole(function_text):
    """A function without its body: decorators, signature and docstring stay."""
    node, inside = _body(function_text)
    lines = function_text.splitlines(keepends=True)
    kept = lines[: node.body[0].end_lineno - inside]
    indent = " " * node.body[0].col_offset
    return "".join([*kept, f'{indent}raise NotImplementedError("{UNWRITTEN}")\n'])


def is_hole(function_text):
    """Whether nothing is written yet in the place of the body."""
    last = _body(function_text)[0].body[-1]
    return ast.unparse(last) == f"raise NotImplementedError('{UNWRITTEN}')"


def heading(function_text):
    """What the learner is given: the text of a hole without its last line."""
    return "".join(hole(function_text).splitlines(keepends=True)[:-1])


def copy_rung(stage, folder):
    """A copy of a rung, as the learner's own."""
    shutil.copytree(stage.folder, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
