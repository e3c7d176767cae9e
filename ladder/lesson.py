"""The diff of one lesson: the files of two neighbouring rungs, side by side, with comments on what has changed.

The comments on a step stand in a TOML file, one table a file, in the order in which they are to be read:

    ["engine.py"]
    "def unbroadcast" = "The gradient of broadcasting is a sum over the dims that it added."
    "- from numbers import Real" = "Operands may be arrays now."

A key is a piece of a line that the hunk changes, by which the comment finds its hunk; with `+ ` or `- ` before the
line's text it also says on which side, and it may go on in the next line, after a blank. So the line may move, and the
rest of it change. Several comments on one hunk divide it: each stands above its own line, the first above the hunk.
`"*"` is the comment on a file that is new. Standard library only.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest

SHOWN = (".py", ".toml")  # other files are data, which are only named
CONTEXT = 3  # how many same lines are shown before and after a change
SIMILAR = 0.6  # two lines that have more than this share of words in common count as one line, edited


@dataclass(frozen=True)
class Row:
    """A line of the lower rung beside a line of the upper one, as indices; None where a side has no line.

    `kind` is "same", "edited" where they are versions of one line, or "apart".
    """

    kind: str
    old: int | None
    new: int | None


@dataclass
class Part:
    """The rows of a hunk that one comment is about."""

    rows: list
    comment: str = ""


@dataclass
class File:
    """A file of a step. `what` is "same", "new", "changed" or, for one that isn't shown, "data".

    `old` and `new` are its lines on both rungs, `hunks` lists of parts; lines that are in no hunk are the same.
    A new file is one hunk, whose first part has the comment on the file.
    """

    name: str
    what: str
    old: list = field(default_factory=list)
    new: list = field(default_factory=list)
    hunks: list = field(default_factory=list)

    def changed(self, side):
        """How many lines of a side, "old" or "new", the other doesn't have."""
        rows = [row for hunk in self.hunks for part in hunk for row in part.rows if row.kind != "same"]
        return sum(_has(row, side) for row in rows)


def read(lower, upper, comments):
    """The files of the step between two stages, in reading order, and what is wrong with their comments, as sentences.

    `comments` is {file: {piece of a line: comment}}; files that it doesn't have come last. Each rung's README is left
    out. No rung lacks a file of the one below: `python -m ladder` would say so.
    """
    old, new = ({name for name in stage.files() if not name.endswith("README.md")} for stage in (lower, upper))
    files = [_compared(lower, upper, name, name in old) for name in sorted(new)]
    order = {name: place for place, name in enumerate(comments)}
    files.sort(key=lambda file: order.get(file.name, len(order)))
    faults = [f"{name} has comments, but {upper.package} has no such file" for name in comments if name not in new]
    return files, faults + [fault for file in files for fault in _place(comments.get(file.name, {}), file)]


def _compared(lower, upper, name, was_there):
    content = (upper.folder / name).read_bytes()
    if was_there and content == (lower.folder / name).read_bytes():
        return File(name, "same")
    if not name.endswith(SHOWN):
        return File(name, "data", hunks=[[Part([])]])
    new = content.decode().splitlines()
    if not was_there:
        return File(name, "new", new=new, hunks=[[Part([Row("apart", None, j) for j in range(len(new))])]])
    old = (lower.folder / name).read_text(encoding="utf-8").splitlines()
    return File(name, "changed", old, new, [[Part(rows)] for rows in hunks(old, new)])


def hunks(old, new):
    """The hunks that lead from one list of lines to another, each a list of rows."""
    says_nothing = {"", ")", "]", "}", '"""'}  # such lines are the same everywhere: by them alone nothing is matched
    matcher = SequenceMatcher(lambda line: line.strip() in says_nothing, old, new, autojunk=False)
    found = []
    for group in matcher.get_grouped_opcodes(CONTEXT):
        rows = []
        for tag, i1, i2, j1, j2 in group:
            before, after = range(i1, i2), range(j1, j2)
            same = tag == "equal"
            rows += [Row("same", i, j) for i, j in zip(before, after)] if same else _aligned(old, new, before, after)
        found.append(rows)
    return found


def _aligned(old, new, before, after):
    """The rows of old lines that gave way to new ones: versions of one line side by side, the others in between."""
    rows = []
    i = j = 0
    for edited in [*_versions([old[i] for i in before], [new[j] for j in after]), (len(before), len(after))]:
        rows += [Row("apart", a, b) for a, b in zip_longest(before[i : edited[0]], after[j : edited[1]])]
        i, j = edited
        if i < len(before):
            rows.append(Row("edited", before[i], after[j]))
            i, j = i + 1, j + 1
    return rows


def _versions(old, new):
    """Pairs of indices of lines that are versions of one line, in the order of both: those with the most in common."""
    words = [[_words(line) for line in lines] for lines in (old, new)]
    best = [[(0.0, None)] * (len(new) + 1) for _ in range(len(old) + 1)]  # of the first i and j lines
    for i, a in enumerate(words[0], 1):
        for j, b in enumerate(words[1], 1):
            ways = [(best[i - 1][j][0], (i - 1, j)), (best[i][j - 1][0], (i, j - 1))]
            if (share := _in_common(*a, *b)) > SIMILAR:
                ways.append((best[i - 1][j - 1][0] + share, (i - 1, j - 1)))
            best[i][j] = max(ways, key=lambda way: way[0])
    pairs = []
    at = len(old), len(new)
    while (came := best[at[0]][at[1]][1]) is not None:
        if came == (at[0] - 1, at[1] - 1):
            pairs.append(came)
        at = came
    return pairs[::-1]


def _words(line):
    """What a line defines, or None, and how often each word is in it."""
    defined = re.match(r" *(?:def|class) (\w+)", line)
    return defined and defined[1], Counter(re.findall(r"\d+\.\d+|\w+", line))


def _in_common(defines, words, other_defines, other_words):
    """The share of their words that two lines have in common; 0 if they define different names."""
    if defines != other_defines or words.keys().isdisjoint(other_words):
        return 0
    return 2 * (words & other_words).total() / (words.total() + other_words.total())


def _place(comments, file):
    """Put each comment above the line that it finds, and yield what is wrong with them."""
    if file.what == "same" and comments:
        yield f"{file.name} has comments, but is the same on both rungs"
        return
    on_file = file.what in ("new", "data")
    if on_file:
        file.hunks[0][0].comment = comments.get("*", "")
    found = {}  # (hunk, row) -> comment
    for piece, comment in comments.items():
        if on_file and piece == "*":
            continue
        places = _where(piece, file)
        if not places:
            yield f"{file.name}: no line that changed has {piece!r}, so the hunk of this comment is gone: {comment}"
        elif len({hunk for hunk, _ in places}) > 1:
            yield f"{file.name}: {piece!r} is in several hunks; take a longer piece for this comment: {comment}"
        elif (place := _begin(file, *places[0])) in found:
            yield f"{file.name}: {piece!r} and the comment before it are on the same line: {comment}"
        else:
            found[place] = comment
    for number, hunk in enumerate(file.hunks):
        marks = {row: comment for (at, row), comment in sorted(found.items()) if at == number}
        if marks and not on_file:
            hunk[0].comment = marks.pop(min(marks))
        if not hunk[0].comment:
            yield f"{file.name}: no comment on {_named(file, hunk)}"
        cuts = [0, *marks, len(hunk[0].rows)]
        rows, texts = hunk[0].rows, [hunk[0].comment, *marks.values()]
        hunk[:] = [Part(rows[start:end], text) for start, end, text in zip(cuts, cuts[1:], texts)]


def _where(piece, file):
    """The places (hunk, row) of the lines that changed in which this piece of text begins."""
    places = []
    for number, (part,) in enumerate(file.hunks):
        for sign, side, lines in (("-", "old", file.old), ("+", "new", file.new)):
            shown = [
                (at, row, lines[getattr(row, side)].strip()) for at, row in enumerate(part.rows) if _has(row, side)
            ]
            for (at, row, line), (*_, after) in zip(shown, [*shown[1:], (None, "")]):
                line = f"{sign} {line} "
                if row.kind != "same" and 0 <= (line + after).find(piece) < len(line):
                    places.append((number, at))
    return sorted(places)


def _begin(file, hunk, at):
    """The place from which a comment on this row is true: that of the decorators above it."""
    rows = file.hunks[hunk][0].rows
    while at and (row := rows[at - 1]).new is not None and file.new[row.new].lstrip().startswith("@"):
        at -= 1
    return hunk, at


def _has(row, side):
    return getattr(row, side) is not None


def _named(file, hunk):
    """A hunk in words: where it is, and how the first line that changes begins."""
    if file.what in ("new", "data"):
        return "the file, whose key is '*'"
    rows = [row for row in hunk[0].rows if row.kind != "same"]
    lines = [
        ("+", row.new, file.new[row.new]) if _has(row, "new") else ("-", row.old, file.old[row.old]) for row in rows
    ]
    sign, at, line = next((shown for shown in lines if shown[2].strip()), lines[0])
    return f"the hunk at line {at + 1}: {sign} {line.strip()}"
