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


def on_device(*arguments):
    """The exit status of pytest, asked for a few tests on the stand-in, and all that it says."""
    tests = ["shared_tests/test_sequences.py", "-k", "step_by_step", "--device", "stand-in", *arguments]
    command = [sys.executable, "-m", "pytest", *tests, "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_on_a_device_the_rungs_that_have_one_are_tested():
    status, said = on_device("--stage", "stage6_sequence")
    assert status == 0 and re.search(r"\nrecurrent layers +3 passed\n", said) and "stage6_sequence stand-in" in said
    status, said = on_device("--stage", "stage4_cnn")
    assert status == 4 and "--device stand-in: wanted rungs of stage5_fast, stage6_sequence, stage7_distributed" in said
