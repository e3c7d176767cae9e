"""The directive `ladder-diff`: one lesson, side by side, with its comments, made from the rungs when the book is built.

    ```{ladder-diff} stage3_nn stage4_cnn
    ```

stands in a page beside which a TOML file of the same name has the comments; ladder/lesson.py says how. A hunk without
a comment, and a comment whose hunk is gone, fail the build.
"""

import re
from difflib import SequenceMatcher
from html import escape
from itertools import accumulate, groupby
from pathlib import Path

import tomllib
from docutils import nodes
from pygments.lexers import PythonLexer, TOMLLexer
from pygments.token import STANDARD_TYPES, Name, Punctuation, Text
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from ladder import lesson
from ladder.stages import STAGES

STATIC = Path(__file__).with_name("static")
PLAIN = Text, Name, Punctuation  # of the text's own colour in any style
SIGNS = {"old": ("del", "−"), "new": ("ins", "+")}


class LadderDiff(SphinxDirective):
    """The files of a step: first what became of each, then those that are new or have changed."""

    required_arguments = 2

    def run(self):
        lower, upper = (self._stage(name) for name in self.arguments)
        source = Path(self.env.doc2path(self.env.docname)).with_suffix(".toml")
        for path in (source, *(stage.folder / name for stage in (lower, upper) for name in stage.files())):
            self.env.note_dependency(str(path))
        files, faults = lesson.read(lower, upper, tomllib.loads(source.read_text(encoding="utf-8")))
        if faults:
            raise ExtensionError(f"{source}:\n" + "\n".join(faults))
        shown = [file for file in files if file.what != "same"]
        same = [file.name for file in files if file.what == "same"]
        return [self._overview(shown, same, upper), *[self._section(file) for file in shown]]

    def _stage(self, package):
        try:
            return next(stage for stage in STAGES if stage.package == package)
        except StopIteration:
            raise self.error(f"ladder-diff: wanted two rungs, got {package}") from None

    def _overview(self, shown, same, upper):
        """What became of each file, with links to those that are shown; the others are named."""
        listed = nodes.bullet_list()
        for file in shown:
            link = nodes.reference("", "", nodes.literal("", file.name), refid=_anchor(file.name))
            what = f" {_summary(file)}{', beside the lesson' if file.name in upper.beside else ''}"
            listed += nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(what)))
        spaced = [node for name in same for node in (nodes.Text(", "), nodes.literal("", name))][1:]
        said = f"{len(same)} {'file is' if len(same) == 1 else 'files are'} the same, byte for byte"
        names = nodes.paragraph("", "", *spaced, nodes.Text("."))
        folded = [Html(f"<details><summary>{said}</summary>"), names, Html("</details>")] if same else []
        return nodes.container("", listed, *folded, classes=["diff-overview"])

    def _section(self, file):
        """A file: its comments, and its hunks below them."""
        title = nodes.title("", "", nodes.literal("", file.name))
        what = nodes.paragraph("", _summary(file).capitalize(), classes=["diff-what"])
        section = nodes.section("", title, what, ids=[_anchor(file.name)], classes=["diff-file"])
        sides = {side: _highlighted(file.name, getattr(file, side)) for side in SIGNS}
        end = 0  # how far the upper rung's file has been shown
        for hunk in file.hunks:
            lines = [row.new for part in hunk for row in part.rows if row.new is not None]
            section += _skipped(min(lines, default=end) - end)
            end = max(lines, default=end - 1) + 1
            for part in hunk:
                section += nodes.container("", *self.parse_text_to_nodes(part.comment), classes=["diff-comment"])
                if part.rows:
                    section += Html(_part(file, part, sides))
        section += _skipped(len(file.new) - end)
        return section


class Html(nodes.General, nodes.Element):
    """HTML as it is, which the search doesn't read."""

    def __init__(self, html=""):
        super().__init__()
        self.html = html


def _anchor(name):
    return nodes.make_id(f"file-{name}")


def _summary(file):
    if file.what == "data":
        return "data, not shown"
    if file.what == "new":
        return f"new, {len(file.new)} lines"
    return "changed, " + " ".join(f"{SIGNS[side][1]}{n}" for side in ("new", "old") if (n := file.changed(side)))


def _skipped(count):
    lines = "1 line is" if count == 1 else f"{count} lines are"
    return [nodes.paragraph("", f"{lines} the same", classes=["diff-skipped"])] if count else []


def _highlighted(name, lines):
    """The lines of a file, each a list of pieces (CSS class, text)."""
    lexer = (TOMLLexer if name.endswith(".toml") else PythonLexer)(stripnl=False, ensurenl=False)
    out = [[]]
    for kind, text in lexer.get_tokens("\n".join(lines)):
        while kind not in STANDARD_TYPES:
            kind = kind.parent
        style = "" if kind in PLAIN or not text.strip() else STANDARD_TYPES[kind]
        first, *more = text.split("\n")
        out[-1].append((style, first))
        out += [[(style, line)] for line in more]
    return out


def _part(file, part, sides):
    """The rows below one comment; a new file's are folded."""
    if file.what == "new":
        first, *others = [row.new for row in part.rows]
        lines = _line(sides["new"][first], "new", (), first + 1)
        lines += "".join([_line(sides["new"][at], "new") for at in others])
        texts = [file.new[at].strip() for at in (first, *others)]
        begins = next((text for text in texts if text and not text.startswith("@")), "")
        title = f"Lines {first + 1} to {part.rows[-1].new + 1}: <code>{escape(begins, quote=False)}</code>"
        block = _whole(part, f'<div class="new">{lines}</div>')
        return f"<details><summary>{title}</summary>{block}</details>"
    blocks = []
    for same, rows in groupby(part.rows, key=lambda row: row.kind == "same"):
        rows = list(rows)
        blocks.append(f'<div class="{"same" if same else "change"}">')
        for side in SIGNS:
            lines, number = [], True  # the first line of a block says its number, the others count on
            for row in rows:
                at = getattr(row, side)
                if at is None:
                    lines.append("<i></i>")  # keeps the row free beside a line of the other side
                    continue
                edits = _edits(file, row)[side] if row.kind == "edited" else ()
                lines.append(_line(sides[side][at], None if same else side, edits, at + 1 if number else None))
                number = False
            while lines and lines[-1] == "<i></i>":
                lines.pop()
            blocks.append(f'<div class="{side}">{"".join(lines)}</div>')
        blocks.append("</div>")
    return _whole(part, "".join(blocks))


def _whole(part, blocks):
    """The blocks as one, which says about how high it will be: the browser lays out only what is seen."""
    return f'<div class="diff highlight" style="--rows:{len(part.rows)}">{blocks}</div>'


def _line(pieces, side, edits=(), number=None):
    """A line as HTML, with its sign if it is on one side only, what was edited in it marked, and perhaps its number."""
    out, at = [], 0
    for style, text in pieces:
        cuts = [at, *sorted({cut for edit in edits for cut in edit if at < cut < at + len(text)}), at + len(text)]
        for start, end in zip(cuts, cuts[1:]):
            html = escape(text[start - at : end - at], quote=False)
            html = f'<span class="{style}">{html}</span>' if style and html else html
            out.append(f"<b>{html}</b>" if any(a <= start and end <= b for a, b in edits) and html else html)
        at += len(text)
    tag, sign = SIGNS[side] if side else ("div", " ")
    own = f' style="counter-set:n {number}"' if number else ""
    return f"<{tag}{own}><i>{sign}</i>{''.join(out)}</{tag}>"


def _edits(file, row):
    """Where two versions of a line differ: for each side, the ranges of the characters that the other doesn't have."""
    pieces = [re.findall(r"\d+\.\d+|\w+|\s+|.", line) for line in (file.old[row.old], file.new[row.new])]
    ends = [[0, *accumulate(map(len, side))] for side in pieces]
    edits = {"old": [], "new": []}
    at = 0, 0  # where the piece between the last edit and the next begins
    for i, j, size in SequenceMatcher(None, *pieces, autojunk=False).get_matching_blocks():
        if size == 1 and i > at[0] and not pieces[0][i][0].isalnum() and i + 1 < len(pieces[0]):
            continue  # a sign alone, between two edits, divides them no more than it joins them
        for side, start, end, own, positions in zip(edits, at, (i, j), pieces, ends):
            if "".join(own[start:end]).strip():
                edits[side].append((positions[start], positions[end]))
        at = i + size, j + size
    return edits


def _visit(translator, node):
    translator.body.append(node.html)
    raise nodes.SkipNode


def _skip(translator, node):
    raise nodes.SkipNode


def setup(app):
    app.add_node(Html, html=(_visit, None), **dict.fromkeys(("text", "latex", "man", "texinfo"), (_skip, None)))
    app.add_directive("ladder-diff", LadderDiff)
    app.connect("config-inited", lambda app, config: config.html_static_path.append(str(STATIC)))
    app.add_css_file("ladder_diff.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
