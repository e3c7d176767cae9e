"""What is planted, and whether it is said what no test noticed."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from ladder.mutants import changed, changes, nearest, survivors
from ladder.stages import STAGES

TEXT = '''"""A module, of which é takes two bytes."""


def f(x, y=2):
    """é"""
    log(x)
    if x < y:
        return -x + y * 3
    return g(x, flag=True)
'''


def test_every_change_is_one_of_its_kind_and_leaves_the_rest_as_it_is():
    found = {changed(TEXT, node, new) for node, new in changes(TEXT)}
    lines = {line for text in found for line in text.splitlines()} - set(TEXT.splitlines())
    assert lines == {
        "def f(x, y=3):",
        "    pass",
        "    if (x <= y):",
        "    if (not (x < y)):",
        "        return (-x - y * 3)",
        "        return (x) + y * 3",
        "        return -x + (y / 3)",
        "        return -x + y * 4",
        "    return g(x)",
        "    return g(x, flag=False)",
    }
    assert all([ast.parse(text) for text in found])


def test_tests_that_know_a_file_come_first_and_each_once():
    assert nearest(Path("stage4_cnn/optim/adam.py"))[:2] == ["optim", "schedulers"]
    assert nearest(Path("stage4_cnn/checkpoint.py"))[0] == "checkpoints"
    assert len(set(nearest(Path("stage4_cnn/engine.py")))) == len(nearest(Path("stage4_cnn/engine.py")))


CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--stage")
    parser.addoption("--whole", action="store_true")
"""


@pytest.fixture
def small(tmp_path):
    """A rung of one function, and a test that notices the sign of its result alone."""
    for name, text in {
        "stage1_scalar/__init__.py": "def double(x):\n    return x * 2\n",
        "shared_tests/conftest.py": CONFTEST,
        "shared_tests/test_engine.py": "from stage1_scalar import double\n\n\ndef test(): assert double(1.5) > 1\n",
        "ladder/__init__.py": "",
        "pyproject.toml": "",
    }.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text(text)
    return replace(STAGES[0], root=tmp_path / "here"), tmp_path / "copy"


def test_what_no_test_notices_is_said_and_the_rung_is_left_as_it_was(small):
    stage, copy = small
    copy.mkdir()
    (survivor,) = survivors(stage, 10, 0, copy, tests=lambda path: ["engine"])
    assert survivor == (Path("stage1_scalar/__init__.py"), 2, "-    return x * 2\n+    return x * 3")
    assert (stage.folder / "__init__.py").read_text() == "def double(x):\n    return x * 2\n"


def test_tests_that_fail_as_it_is_are_an_error(small):
    stage, copy = small
    copy.mkdir()
    (stage.root / "shared_tests" / "test_engine.py").write_text("def test(): assert False\n")
    with pytest.raises(RuntimeError, match="test_engine.py fails on stage1_scalar as it is"):
        list(survivors(stage, 1, 0, copy, tests=lambda path: ["engine"]))
