"""The diffs of the book: every hunk has its comment, and nothing of a file is lost between the two columns."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from ladder import lesson
from ladder.stages import ROOT, STAGES, Stage

tomllib = pytest.importorskip("tomllib")
PAGES = ROOT / "docs" / "diffs"
STEPS = [pytest.param(*step, id=f"{step[0].number}-{step[1].number}") for step in pairwise(STAGES)]

OLD = "import math\n\n\ndef add(x, y):\n    return x + y\n\n\ndef mul(x, y):\n    return x * y\n\n\nONE = 1\nTWO = 2\n"
NEW = (
    OLD.replace("import math", "import numpy")
    + "\n\ndef neg(x):\n    return -x\n\n\n@cache\ndef sub(x, y):\n    return x - y\n"
)
COMMENTS = {"ops.py": {"import numpy": "Arrays.", "def neg": "One more."}, "net.py": {"*": "A network."}}


def comments_of(lower, upper):
    return tomllib.loads((PAGES / f"{lower.number}-{upper.number}.toml").read_text(encoding="utf-8"))


@pytest.fixture
def rungs(tmp_path):
    """Two small rungs: the upper one changes ops.py in two places and brings net.py."""
    for package, files in {
        "one": {"ops.py": OLD, "same.py": "a = 1\n", "README.md": "One\n"},
        "two": {"ops.py": NEW, "same.py": "a = 1\n", "README.md": "Two\n", "net.py": "b = 2\n"},
    }.items():
        (tmp_path / package).mkdir()
        for name, text in files.items():
            (tmp_path / package / name).write_text(text)
    one = Stage(1, "one", "the start", dependencies=(), optional=(), demos=(), max_lines=9, root=tmp_path)
    return one, replace(one, number=2, package="two")


@pytest.mark.parametrize(("lower", "upper"), STEPS)
def test_every_hunk_has_its_comment_and_every_comment_its_hunk(lower, upper):
    files, faults = lesson.read(lower, upper, comments_of(lower, upper))
    assert not faults
    parts = [part for file in files for hunk in file.hunks for part in hunk]
    assert parts and all(part.comment.strip() for part in parts)


def test_a_small_step_is_divided_into_its_files_and_hunks(rungs):
    files, faults = lesson.read(*rungs, COMMENTS)
    assert not faults
    assert [(file.name, file.what) for file in files] == [("ops.py", "changed"), ("net.py", "new"), ("same.py", "same")]
    assert [[part.comment for part in hunk] for hunk in files[0].hunks] == [["Arrays."], ["One more."]]
    assert (files[0].changed("old"), files[0].changed("new")) == (1, 10)


def test_several_comments_divide_a_hunk_at_their_lines_and_the_decorators_above(rungs):
    files, faults = lesson.read(*rungs, {**COMMENTS, "ops.py": {**COMMENTS["ops.py"], "def sub": "The other way."}})
    assert not faults
    first, second = files[0].hunks[1]
    assert (first.comment, second.comment) == ("One more.", "The other way.")
    assert files[0].new[second.rows[0].new] == "@cache"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ops.py": {"def neg": "One more."}}, "ops.py: no comment on the hunk at line 1: [+] import numpy"),
        ({"ops.py": {"import numpy": "Arrays."}}, r"ops.py: no comment on the hunk at line \d+: \+"),
        ({"ops.py": {**COMMENTS["ops.py"], "import cupy": "A GPU."}}, "'import cupy', so the hunk .* is gone: A GPU."),
        ({"ops.py": {**COMMENTS["ops.py"], "def add": "Sums."}}, "'def add', so the hunk of this comment is gone"),
        ({"ops.py": {**COMMENTS["ops.py"], "+ ": "All."}}, "'[+] ' is in several hunks"),
        (
            {"ops.py": {**COMMENTS["ops.py"], "numpy": "Again."}},
            "'numpy' and the comment before it are on the same line",
        ),
        ({"net.py": {}}, "net.py: no comment on the file, whose key"),
        ({"same.py": {"a = 1": "One."}}, "same.py has comments, but is the same on both rungs"),
        ({"lost.py": {"*": "New."}}, "lost.py has comments, but two has no such file"),
    ],
)
def test_what_is_wrong_with_comments_is_named(rungs, changes, message):
    _, faults = lesson.read(*rungs, {**COMMENTS, **changes})
    assert len(faults) == 1 and re.search(message, faults[0]), faults


def test_versions_of_a_line_are_side_by_side_and_other_lines_are_not():
    old, new = ["a = f(x, y)", "del a"], ["import b", "a = f(x, y, z)", "return a"]
    (rows,) = lesson.hunks(old, new)
    assert [(row.kind, row.old, row.new) for row in rows] == [("apart", None, 0), ("edited", 0, 1), ("apart", 1, 2)]


def put_together(lines, shown, other_lines, elsewhere):
    """A file's text from the lines that its column shows, {number: line}, and those that are folded, as the other has
    them: the ones that the other column doesn't show either."""
    folded = [line for number, line in enumerate(other_lines, 1) if number not in elsewhere]
    whole = [shown[number] if number in shown else folded.pop(0) for number in range(1, len(lines) + 1)]
    assert not folded
    return "".join([f"{line}\n" for line in whole])


@pytest.mark.parametrize(("lower", "upper"), STEPS)
def test_both_files_are_whole_in_their_hunks(lower, upper):
    for file in lesson.read(lower, upper, comments_of(lower, upper))[0]:
        if file.what == "changed":
            rows = [row for hunk in file.hunks for part in hunk for row in part.rows]
            old = {row.old + 1: file.old[row.old] for row in rows if row.old is not None}
            new = {row.new + 1: file.new[row.new] for row in rows if row.new is not None}
            assert put_together(file.old, old, file.new, new) == text_of(lower, file)
            assert put_together(file.new, new, file.old, old) == text_of(upper, file)
            assert all(file.old[row.old] == file.new[row.new] for row in rows if row.kind == "same")


def text_of(stage, file):
    return (stage.folder / file.name).read_text(encoding="utf-8")


class Columns(HTMLParser):
    """What the HTML of a file shows on each side: the number of each line, its sign and its text."""

    def __init__(self, html):
        super().__init__()
        self.lines, self.side, self.in_sign = {"old": [], "new": []}, None, False
        self.feed(re.sub("<summary>.*?</summary>", "", html))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.in_sign = tag == "i"
        if attributes.get("class") in self.lines:
            self.side = attributes["class"]
        elif tag in ("del", "ins") or tag == "div" and "class" not in attributes:
            number = (
                attributes["style"].rpartition(" ")[2] if "style" in attributes else self.lines[self.side][-1][0] + 1
            )
            self.lines[self.side].append([int(number), "", ""])

    def handle_endtag(self, tag):
        self.in_sign = False

    def handle_data(self, data):
        self.lines[self.side][-1][1 if self.in_sign else 2] += data


@pytest.mark.parametrize(("lower", "upper"), [STEPS[0], STEPS[2], STEPS[5]])  # to colour them all takes long
def test_the_columns_of_the_page_give_back_both_files(lower, upper, monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(ROOT / "docs" / "extensions")
    import ladder_diff

    for file in lesson.read(lower, upper, comments_of(lower, upper))[0]:
        if file.what not in ("new", "changed"):
            continue
        sides = {side: ladder_diff._highlighted(file.name, getattr(file, side)) for side in ("old", "new")}
        parts = [part for hunk in file.hunks for part in hunk]
        columns = Columns("".join([ladder_diff._part(file, part, sides) for part in parts])).lines
        old, new = ({number: line for number, _, line in columns[side]} for side in ("old", "new"))
        assert put_together(file.new, new, file.old, old) == text_of(upper, file)
        if file.what == "changed":
            assert put_together(file.old, old, file.new, new) == text_of(lower, file)
        for side, sign in (("old", "−"), ("new", "+")):
            assert sum(mark == sign for _, mark, _ in columns[side]) == file.changed(side)


def test_a_comment_whose_hunk_is_gone_fails_the_build(tmp_path):
    pytest.importorskip("myst_parser")
    shutil.copy(PAGES / "6-7.md", tmp_path / "6-7.md")
    text = (PAGES / "6-7.toml").read_text(encoding="utf-8")
    (tmp_path / "6-7.toml").write_text(f'{text}\n["nn/linear.py"]\n"class Lin" = "Gone."\n', encoding="utf-8")
    paths = [str(ROOT), str(ROOT / "docs" / "extensions")]
    settings = f"import sys\nsys.path[:0] = {paths}\nextensions = ['myst_parser', 'ladder_diff']\n"
    (tmp_path / "conf.py").write_text(settings)
    build = [sys.executable, "-m", "sphinx", "-q", "-b", "dummy", str(tmp_path), str(tmp_path / "out")]
    ran = subprocess.run(build, capture_output=True, text=True)
    assert ran.returncode and "nn/linear.py has comments, but is the same on both rungs" in ran.stderr, ran.stderr
