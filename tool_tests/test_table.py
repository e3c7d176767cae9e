"""The table at the end of a run counts every test once, in however many processes they run."""

import os
import re
import subprocess
import sys

import pytest

from ladder.stages import ROOT

# The first rung with a wrong derivative, and without one of its functions.
ENGINE = """
import stage1_scalar

class Tensor(stage1_scalar.Tensor):
    tanh = lambda self: self * self.data
    sigmoid = None
"""


def printed(folder, workers):
    """What a run of some tests on the first rung and on that engine prints at its end."""
    tests = ["shared_tests/test_numeric.py", "-k", "tanh or sigmoid", "--stage", "stage1_scalar", "--stage", "engine"]
    command = [sys.executable, "-m", "pytest", *tests, "-n", str(workers), "--tb", "no", "-p", "no:cacheprovider"]
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    return done.stdout.partition(" capabilities ")[2]


def total(text, outcome):
    """How many tests had the outcome, by all numbers before it."""
    return sum(map(int, re.findall(rf"(\d+) {outcome}\b", text)))


def counted(row, column):
    """How many tests a column of the table has in a row, whatever became of them."""
    cell = re.split("  +", row)[column]
    return sum(int(part.split()[0]) for part in cell.split(", ") if part[0].isdigit())


def test_the_table_is_the_same_with_several_workers(tmp_path):
    pytest.importorskip("xdist")
    (tmp_path / "engine.py").write_text(ENGINE)
    alone, together = (printed(tmp_path, workers) for workers in (0, 2))
    table, reasons, rest = re.match(r"=+\n(.*?)(^skipped .*?)(^=.*)", alone, re.DOTALL | re.MULTILINE).groups()
    assert table + reasons in together
    assert total(table, "passed") == total(rest, "passed") > 0
    assert total(table, "failed") == total(rest, "failed") > 0
    assert total(table, "not there") == total(rest, "skipped") > 0
    assert total(table, "not yet") > 0
    for row in table.splitlines()[1:]:
        assert counted(row, 1) == counted(row, 2), "both columns hold the same tests"
