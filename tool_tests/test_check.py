"""The ladder check catches each fault that it is there for, on small ladders of two rungs."""

from collections import Counter
from dataclasses import replace
from textwrap import dedent

import pytest

from ladder import check
from ladder.stages import STAGES, Stage, same_below

OPS = "def add(x, y):\n    return x + y\n\n\ndef mul(x, y):\n    return x * y\n"
MORE = OPS + "\n\ndef neg(x):\n    return -x\n"


@pytest.fixture
def rungs(tmp_path):
    """A sound ladder: rung two adds two lines to ops.py and brings net.py."""
    same = {"tensor.py": "import math\n", "demo.py": "a = 1\n", "moons.py": "b = 1\n", "README.md": "Read me\n"}
    net = "import numpy as np\n\nfrom .ops import neg\n"
    folders = {
        "one": {**same, "__init__.py": "from . import ops\n", "ops.py": OPS},
        "two": {**same, "__init__.py": "from . import net, ops\n", "ops.py": MORE, "net.py": net},
    }
    for package, files in folders.items():
        (tmp_path / package).mkdir()
        for name, text in files.items():
            (tmp_path / package / name).write_text(text)
    common = {"optional": ("tqdm",), "demos": ("moons",), "root": tmp_path}
    return [
        Stage(1, "one", "the start", dependencies=(), max_lines=6, **common),
        Stage(
            number=2,
            package="two",
            adds="negation",
            dependencies=("numpy",),
            max_lines=10,
            max_added=4,
            max_changed=20,
            touched=("ops.py",),
            new=("net.py",),
            **common,
        ),
        Stage(3, "three", "nothing yet", dependencies=(), max_lines=0, **common),
    ]


def put(stage, name, text):
    (stage.folder / name).write_text(text)


def only_fault(rungs):
    (fault,) = check.faults(rungs)
    return fault


def test_a_sound_ladder_has_no_faults(rungs):
    assert check.faults(rungs) == []


def test_caches_are_no_files_of_a_rung(rungs):
    (rungs[0].folder / "__pycache__").mkdir()
    put(rungs[0], "__pycache__/ops.cpython-310.pyc", "")
    assert check.faults(rungs) == []


def test_a_file_that_got_lost_is_a_fault(rungs):
    (rungs[1].folder / "tensor.py").unlink()
    assert "two: tensor.py of one is missing" in check.faults(rungs)


def test_a_change_outside_the_lesson_is_a_fault_even_in_a_comment(rungs):
    put(rungs[1], "tensor.py", "import math\n# same\n")
    assert only_fault(rungs) == "two: tensor.py differs from one, but the lesson doesn't touch it"


@pytest.mark.parametrize("name", ["demo.py", "moons.py"])
def test_a_demo_must_stay_too(rungs, name):
    put(rungs[1], name, "a = 2\n")
    assert only_fault(rungs) == f"two: {name} differs from one, but the lesson doesn't touch it"


def test_each_rung_has_a_readme_of_its_own(rungs):
    put(rungs[1], "README.md", "Another story\n")
    assert check.faults(rungs) == []


def test_a_touched_file_that_stays_as_it_is_makes_the_table_wrong(rungs):
    put(rungs[1], "ops.py", OPS)
    assert "ops.py is as in one" in only_fault(rungs)


def test_a_new_file_that_the_table_does_not_know_is_a_fault(rungs):
    put(rungs[1], "extra.py", "")
    assert only_fault(rungs) == "two: extra.py is new, but the table of stages doesn't say so"


def test_a_new_file_that_is_only_in_the_table_is_a_fault(rungs):
    (rungs[1].folder / "net.py").unlink()
    assert only_fault(rungs) == "two: net.py is not new, but the table of stages says so"


@pytest.mark.parametrize(
    "line", ["import one.ops", "from one import ops", "import ops", "from .. import one", "import two", "import scipy"]
)
def test_an_import_that_leaves_the_package_is_a_fault(rungs, line):
    put(rungs[1], "net.py", f"def f():\n    {line}\n")
    fault = only_fault(rungs)
    assert fault.startswith("two/net.py:2: imports ") and line.split()[1] in fault


def test_a_dependency_of_the_next_rung_is_none_of_this_one(rungs):
    put(rungs[0], "__init__.py", "import numpy\n")
    assert "one/__init__.py:1: imports numpy" in only_fault(rungs)


def test_imports_within_the_package_and_of_optional_packages_are_no_fault(rungs):
    put(rungs[1], "net.py", "import os.path, tqdm\nfrom .ops import add\n")
    assert check.faults(rungs) == []


def test_a_rung_over_its_budget_of_lines_is_a_fault(rungs):
    rungs[0] = replace(rungs[0], max_lines=5)
    assert only_fault(rungs) == "one: 6 code lines, over the budget of 5"


def test_a_lesson_that_adds_too_much_is_a_fault(rungs):
    put(rungs[1], "net.py", "a = 1\nb = 2\nc = 3\n")
    faults = check.faults(rungs)
    assert "two: adds 5 lines, over the budget of 4" in faults


def test_a_lesson_that_changes_too_much_is_a_fault(rungs):
    put(rungs[1], "ops.py", MORE.replace("x + y", "y + x"))
    assert only_fault(rungs) == "two: changes or removes 2 of the 6 lines of one (33.3 %), over the budget of 20 %"


def test_every_fault_is_listed_not_only_the_first(rungs, capsys, tmp_path):
    put(rungs[0], "__init__.py", "from . import ops\na = 1\n")
    put(rungs[1], "net.py", "import scipy\n")
    put(rungs[1], "extra.py", "")
    assert check.main([], stages=rungs, readme=tmp_path / "README.md") == 1
    errors = capsys.readouterr().err
    assert all(part in errors for part in ("budget of 6", "scipy", "extra.py", "README.md")), errors


def test_code_lines_leave_out_blanks_comments_and_docstrings():
    source = dedent('''
        """Module."""

        # a comment
        class A:
            """Two
            lines."""

            x = """not a docstring

            but a string"""  # with a comment

            def f(self):
                "Doc."
                return [
                    1,
                    # inside
                ]
    ''')
    assert [line.strip() for line in check.code_lines(source)] == [
        "class A:",
        'x = """not a docstring',
        "",
        'but a string"""  # with a comment',
        "def f(self):",
        "return [",
        "1,",
        "]",
    ]


def test_lines_pair_off_as_changed_and_the_rest_is_added_or_removed():
    assert check.compare(list("abcd"), list("aXYd")) == Counter(changed=2)
    assert check.compare(list("abcd"), list("aXYZd")) == Counter(changed=2, added=1)
    assert check.compare(list("abcd"), list("aXd")) == Counter(changed=1, removed=1)
    assert check.compare([], list("ab")) == Counter(added=2)


def test_the_counts_add_up_from_rung_to_rung(rungs):
    put(rungs[1], "ops.py", "def mul(x, y):\n    return y * x\n")
    lines = check.step(*rungs[:2])
    lengths = [sum(map(len, check.code(stage).values())) for stage in rungs[:2]]
    assert lengths[1] == lengths[0] + lines["added"] - lines["removed"]


def test_the_table_has_a_row_for_every_rung_built_or_not(rungs):
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in check.table(rungs).splitlines()]
    assert rows[2:] == [
        ["`one`", "the start", "3", "6", "–", "–", "–", "–"],
        ["`two`", "negation", "4", "10", "4", "1", "0", "0"],
        ["`three`", "nothing yet", "–", "–", "–", "–", "–", "–"],
    ]


def test_a_readme_with_another_table_is_a_fault_until_it_is_written(rungs, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("# Before\n\n<!-- ladder -->\n| old |\n<!-- /ladder -->\n\nAfter\n")
    assert check.main([], stages=rungs, readme=readme) == 1
    assert "shows another ladder table" in capsys.readouterr().err
    assert check.main(["--write"], stages=rungs, readme=readme) == 0
    assert check.main([], stages=rungs, readme=readme) == 0
    assert readme.read_text() == f"# Before\n\n<!-- ladder -->\n{check.table(rungs)}<!-- /ladder -->\n\nAfter\n"


def test_a_readme_without_a_place_for_the_table_is_a_fault_and_stays_as_it_is(rungs, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("# Nothing here\n")
    assert check.main(["--write"], stages=rungs, readme=readme) == 1
    assert "<!-- ladder -->" in capsys.readouterr().err
    assert readme.read_text() == "# Nothing here\n"


def test_the_rungs_are_in_order_and_named_by_their_numbers():
    assert [stage.number for stage in STAGES] == [1, 2, 3, 4, 5, 6, 7]
    assert all(stage.package.startswith(f"stage{stage.number}_") for stage in STAGES)


# What needs no second test


@pytest.fixture
def third(rungs):
    """Rung three, with the text of rung two."""
    rungs[2].folder.mkdir()
    for name in rungs[1].files():
        put(rungs[2], name, (rungs[1].folder / name).read_text())
    return rungs[2]


@pytest.mark.parametrize("arrived", [1, 2])
def test_what_stands_on_the_same_text_needs_no_second_test(rungs, third, arrived):
    assert same_below(third, arrived, rungs) is rungs[1]
    put(third, "net.py", "from .ops import mul, neg\nimport numpy as np\n")
    assert same_below(third, arrived, rungs) is rungs[1], "more imports change nothing"
    put(third, "ops.py", (third.folder / "ops.py").read_text() + "\n\ndef more():\n    pass\n")
    assert same_below(third, arrived, rungs) is rungs[1], "nor does a function more"


@pytest.mark.parametrize(
    "text", [MORE.replace("-x", "+x"), OPS, "import math\n", MORE + "\nmul = None\n", MORE + "\ndef mul():\n    pass\n"]
)
def test_another_text_is_tested_again(rungs, third, text):
    put(third, "ops.py", text)
    assert same_below(third, 1, rungs) is None and same_below(third, 2, rungs) is None


def test_folders_may_be_left_apart(rungs, third):
    put(third, "ops.py", "import math\n")
    assert same_below(third, 2, rungs, apart=("ops",)) is rungs[1]


def test_what_only_the_later_rung_has_is_tested_there(rungs, third):
    assert same_below(third, 3, rungs) is None and same_below(rungs[0], 1, rungs) is None
    put(third, "net.py", "import numpy as np\n")
    assert same_below(third, 1, rungs) is rungs[1] and same_below(third, 2, rungs) is None
