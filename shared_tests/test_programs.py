"""Programs in PyTorch's idiom print the same numbers under PyTorch and on each rung that has what they need."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ladder.stages import ROOT, STAGES

from .capabilities import CAPABILITIES

PROGRAMS = {path.stem: path for path in sorted(Path(__file__).with_name("programs").glob("*.py"))}
NEEDS = {"images": "convolution"}  # what all others need is a program of PyTorch's
DOUBLE = {"in_place", "own_function", "schedules", "shared_layers", "tensors"}  # those that compute in float64
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf)(?![\w.])")

# Run each program that is named and say where the output of the next begins.
ONE_AFTER_THE_OTHER = """
import runpy, sys
for path in sys.argv[1:]:
    print(f"\\f{path}")
    runpy.run_path(path, run_name="__main__")
"""


def run(*command, folder):
    """What a program prints, run in a process of its own, as a user runs it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_all(paths, folder):
    """What each program prints, by name; they share a process, as PyTorch takes its time to start."""
    outputs = run("-c", ONE_AFTER_THE_OTHER, *paths, folder=folder).split("\f")[1:]
    return {Path(path).stem: output for path, _, output in (text.partition("\n") for text in outputs)}


def assert_same(found, wanted, tolerance):
    """The same text, but for the last digits of its numbers."""
    assert NUMBER.sub("#", found) == NUMBER.sub("#", wanted)
    numbers = [np.array([float(number) for number in NUMBER.findall(text)]) for text in (found, wanted)]
    np.testing.assert_allclose(*numbers, rtol=tolerance, atol=tolerance / 10)


def tolerance(program):
    return 1e-9 if program in DOUBLE else 2e-4


@pytest.fixture(scope="session")
def by_pytorch(tmp_path_factory):
    """What each program prints under PyTorch."""
    return run_all(PROGRAMS.values(), tmp_path_factory.mktemp("pytorch"))


def programs():
    """A parameter for each program, with the capability that it takes."""
    marks = {name: pytest.mark.capability(NEEDS.get(name, "PyTorch's programs")) for name in PROGRAMS}
    return [pytest.param(name, marks=marks[name], id=name) for name in PROGRAMS]


@pytest.mark.parametrize("program", programs())
def test_a_program_as_it_stands_prints_what_it_prints_under_pytorch(stage, program, by_pytorch, tmp_path):
    found = run("-m", f"{stage.package}.torch", PROGRAMS[program], folder=tmp_path)
    assert_same(found, by_pytorch[program], tolerance(program))
