"""The judge: a process that has loaded PyTorch and the suite, and runs the tests of an exercise on a learner's rung.

It is asked by lines of JSON, and drops and imports the rung anew each time: that takes a fraction of a second, where
PyTorch takes seconds. It ends itself when something takes too long, and the next question starts another.
"""

import ast
import faulthandler
import fnmatch
import importlib
import importlib.util
import io
import json
import linecache
import math
import os
import sys
import threading
import time
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from ladder.stages import STAGES
from shared_tests import check, engines
from shared_tests.cases import CASES

from .table import EXERCISES

HERE = Path(__file__).resolve().parent
BY_THE_CLOCK = 12  # times the limit, after which a test is ended although it hasn't computed for so long
SHOWN = 12  # numbers, up to which an array is shown whole
LINES, LONGEST = 14, 160  # of what an error or a test says, and how long they may be
PRINTED = 20  # lines of what a learner's own `print` says
DIGITS = {"float64": 8, "float32": 5}


class Watch:
    """Ends this process, saying on stderr where it was, when a test has computed for too long.

    What counts is the time of the processor, as the machine may be busy with other things. Code that waits, or that
    lets no other thread run, is ended when the clock has gone much further.
    """

    def __init__(self, limit):
        self.limit, self.running, self.lock = limit, False, threading.Lock()
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self):
        """A test begins: its time counts from now."""
        with self.lock:
            self.began, self.running = time.process_time(), True
            faulthandler.dump_traceback_later(BY_THE_CLOCK * self.limit, exit=True, file=2)

    def end(self):
        with self.lock:
            self.running = False
            faulthandler.cancel_dump_traceback_later()

    def _look(self):
        while True:
            time.sleep(self.limit / 8)
            with self.lock:
                if self.running and time.process_time() - self.began > self.limit:
                    os.write(2, b"Timeout (of the processor)\n")
                    faulthandler.dump_traceback(2)
                    os._exit(1)


# The rung


def load(stage, folder):
    """Import the rung in a folder, and nothing of what was imported of any rung before."""
    package = stage.package
    for name in rungs_imported():
        del sys.modules[name]
    linecache.clearcache()
    for path in folder.rglob("*.py"):
        if path.stat().st_mtime > time.time() - 5:  # bytecode of one second isn't told from that of the same second
            Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
    file = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(package, file, submodule_search_locations=[str(folder)])
    module = sys.modules[package] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # from there alone: a file that is missing isn't looked for elsewhere
    return module


def rungs_imported():
    """The modules of rungs that are imported, by name."""
    packages = {stage.package for stage in STAGES}
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages}


def check_that_it_is_theirs(folder):
    """LookupError if anything of a rung was imported from elsewhere than the learner's folder."""
    files = {name: getattr(module, "__file__", None) for name, module in rungs_imported().items()}
    others = [name for name, file in files.items() if file and not Path(file).is_relative_to(folder)]
    if others:
        raise LookupError(f"not the learner's: {', '.join(others)}")


class Printed(io.TextIOBase):
    """What a learner's program prints: its first lines, and how many more there were."""

    def __init__(self):
        self.text, self.more = "", 0

    def write(self, text):
        room = max(0, PRINTED - self.text.count("\n"))
        lines = text.splitlines(keepends=True)
        self.text += "".join(lines[:room])[:10_000]
        self.more += len(lines[room:])
        return len(text)

    def lines(self):
        return [*self.text.splitlines(), *([f"… and {self.more} lines more"] if self.more else [])]


# What is said of a failure


def failure(test, headline, lines=(), place=None):
    """The first failure in words and numbers, and the line of the learner's file, if it is known."""
    return {"test": test, "headline": headline, "lines": list(lines), "place": place}


def place_of(error, folder):
    """(file, line number, line) of the innermost line in a folder that an error went through, or None."""
    place, chain = None, []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for error in chain:  # the first cause last: an engine's error hides the rule's
        trace = error.__traceback__
        while trace:
            path = Path(trace.tb_frame.f_code.co_filename)
            if path.is_relative_to(folder):
                text = linecache.getline(str(path), trace.tb_lineno).strip()
                place = [path.relative_to(folder).as_posix(), trace.tb_lineno, text]
            trace = trace.tb_next
    return place


def of_error(test, error, folder):
    """The failure that an error is."""
    lines = [line[:LONGEST] for line in str(error).splitlines() if line.strip()]
    first, *more = dict.fromkeys(lines) or ["without a message"]  # a compiler says some of them several times
    return failure(test, f"{type(error).__name__}: {first}", more[:LINES], place_of(error, folder))


def number(x, dtype):
    if x.dtype.kind != "f":
        return str(x)
    return f"{float(x):.{DIGITS.get(dtype, 8)}g}"


def shown(array, dtype):
    """An array as lines: whole if it is small, else its shape."""
    array = np.asarray(array)
    if array.size > SHOWN:
        return [f"{array.shape} of {array.dtype}"]
    if array.ndim == 0:
        return [number(array, dtype)]
    formatter = {"float_kind": lambda x: number(np.asarray(x), dtype)}
    lines = np.array2string(array, separator=", ", formatter=formatter).splitlines()
    return [line.rstrip() for line in lines if line.strip()]


def labelled(rows):
    """Lines that begin with labels, aligned: rows of (label, lines)."""
    width = max(len(label) for label, _ in rows)
    return [
        f"{label if i == 0 else '':{width}}  {line}" for label, lines in rows for i, line in enumerate(lines or [""])
    ]


@cache
def parsed(file):
    """The text of a file, and its lambdas."""
    text = Path(file).read_text(encoding="utf-8")
    return text, [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)]


def formula(case):
    """What a case computes, as it stands in the suite; None if that is no expression."""
    code = getattr(case.body, "__code__", None)
    if code is None or code.co_name != "<lambda>":
        return None
    text, lambdas = parsed(code.co_filename)
    names = [*code.co_varnames[: code.co_argcount]]
    here = [node for node in lambdas if node.lineno == code.co_firstlineno]
    found = [node.body for node in here if [argument.arg for argument in node.args.args] == names]
    return " ".join(ast.get_source_segment(text, found[0]).split()) if len(found) == 1 else None


def difference(got, wanted, dtype):
    """Two arrays that differ, as rows for `labelled`."""
    if got.shape != wanted.shape:
        return [("yours", [f"has shape {got.shape}"]), ("PyTorch", [f"has shape {wanted.shape}"])]
    if got.dtype != wanted.dtype:
        return [("yours", [f"is {got.dtype}"]), ("PyTorch", [f"is {wanted.dtype}"])]
    if got.size <= SHOWN:
        return [("yours", shown(got, dtype)), ("PyTorch", shown(wanted, dtype))]
    differ = ~np.isclose(got, wanted, rtol=check.RELATIVE.get(dtype, 0), atol=1e-12, equal_nan=True)
    if not differ.any():
        differ = got != wanted
    first = np.unravel_index(differ.argmax(), differ.shape)
    where = f"at [{', '.join(map(str, first))}], the first of {differ.sum()} that differ, of {got.size}"
    return [
        ("yours", [f"{number(got[first], dtype)}   {where}"]),
        ("PyTorch", [number(wanted[first], dtype)]),
    ]


# Tests


class Numbers(engines.ScalarEngine):
    """Rung 1 as the suite sees it, but the cotangent isn't brought in by its own multiplication, which may be wrong."""

    def backward(self, out, cotangent):
        for x, g in zip(out.array.flat, cotangent.flat):
            if isinstance(x, self.Tensor):  # and not a plain number, as a sum of nothing
                x.backward(float(g))


def engine_of(package, rung):
    return Numbers(package) if rung == 1 else engines.make_engine(package)


def size_of(case):
    """How many numbers a case takes, and in how many dims; those of nothing come last, as they say least."""
    shapes = [np.shape(value) for value in case.values] or case.shapes
    sizes = [math.prod(shape) for shape in shapes]
    return 0 in sizes, sum(sizes), sum(map(len, shapes))


def cases_of(exercise):
    """The cases of an exercise with their dtypes, the smallest first."""
    patterns = [pattern for pattern in exercise.tests if "::" not in pattern]
    found = [
        case
        for case in CASES
        if any(fnmatch.fnmatchcase(f"{case.capability}: {case.name}", pattern) for pattern in patterns)
    ]
    found.sort(key=size_of)
    dtypes = [dtype for dtype in exercise.dtypes if dtype == "float64" or exercise.rung > 1]
    return [(case, dtype) for dtype in dtypes for case in found if dtype == "float64" or case.float32]


def of_case(case, dtype, engine, folder):
    """The failure of a case, or None."""
    title = f"{case.capability}: {case.name}" + (f", {dtype}" if dtype != "float64" else "")
    wanted, given = check.expected(case, dtype), case.arrays(engine, dtype)
    try:
        got = case.observe(engine, dtype)
    except Exception as error:
        out = of_error(title, error, folder)
        out["lines"] = labelled(inputs(case, given, dtype)) + out["lines"]
        return out
    for name in wanted:
        try:
            check.compare(name, got[name], wanted[name])
        except AssertionError:
            rows = inputs(case, given, dtype)
            if "gradient" in name and "output" in wanted:
                rows.append(("g", shown(case.cotangent(np.asarray(got["output"])), dtype)))
            rows += difference(np.asarray(got[name]), wanted[name], dtype)
            return failure(title, f"The {name} isn't PyTorch's.", labelled(rows))
    return None


def inputs(case, given, dtype):
    text = formula(case)
    return [*([("of", [text])] if text else []), *[(name, shown(array, dtype)) for name, array in given.items()]]


class Reports:
    """A plugin of pytest: it keeps the tests that an exercise names, and what becomes of them.

    `patterns` are those of the parameters, by the name of the function; an empty one takes all.
    """

    def __init__(self, patterns, folder, watch):
        self.patterns, self.folder, self.watch = patterns, folder, watch
        self.found, self.passed, self.failure = set(), 0, None

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if self.is_named(item)]
        self.found = {item.originalname for item in items}

    def is_named(self, item):
        pattern = self.patterns[item.originalname]
        return not pattern or fnmatch.fnmatchcase(item.callspec.id, pattern)

    def pytest_runtest_setup(self, item):
        self.watch.begin()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.when == "call" and report.passed:
            self.passed += 1
        elif report.failed and not self.failure:
            self.failure = self.words(item, call, report)
        elif report.skipped:
            self.failure = self.failure or failure(item.name, f"not run: {report.longrepr[2]}")
        return report

    def words(self, item, call, report):
        title = f"{item.path.stem}: {item.originalname.removeprefix('test_').replace('_', ' ')}"
        if hasattr(item, "callspec"):
            title += f" [{item.callspec.id}]"
        error = call.excinfo.value
        if not isinstance(error, AssertionError):
            return of_error(title, error, self.folder)
        trace = call.excinfo.traceback[-1]
        tests = [each for each in call.excinfo.traceback if Path(each.path).parent.name == "shared_tests"]
        trace = tests[-1] if tests else trace
        words = str(error).replace("ACTUAL", "yours").replace("DESIRED", "wanted")  # NumPy's
        lines = [line[:LONGEST] for line in words.splitlines() if line.strip()]
        return failure(
            title,
            f"What the test asks for in line {trace.lineno + 1} of {Path(trace.path).name} isn't so.",
            [str(trace.statement).strip(), *lines[:LINES]],
        )


def run_pytest(arguments, *plugins):
    """Run the suite's pytest in this process, without a word."""
    quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-x", "--whole"]
    root = str(check.__file__).rpartition("shared_tests")[0]
    return pytest.main([*quiet, f"--rootdir={root}", *arguments], plugins=[*plugins])


def of_functions(tests, stage, folder, watch):
    """How many of the runs of test functions passed, and the first failure."""
    nodes = [test.partition(": ")[::2] for test in tests]
    patterns = {node.partition("::")[2]: pattern for node, pattern in nodes}
    reports = Reports(patterns, folder, watch)
    suite = Path(check.__file__).parent
    run_pytest([*[str(suite / node) for node, _ in nodes], "--stage", stage.package], reports)
    if missing := patterns.keys() - reports.found:
        raise LookupError(f"the suite has no such test: {', '.join(missing)}")
    return reports.passed, reports.failure


def judged(exercise, folder, watch):
    """Run the tests of an exercise on the rung in a folder, up to the first failure."""
    os.environ["GRADUAL_KERNELS"] = "compiled" if exercise.compiled else "numpy"
    watch.begin()
    passed, stage = 0, exercise.stage
    try:
        package = load(stage, folder)
        engine = engine_of(package, exercise.rung)
    except Exception as error:
        return {"passed": 0, "failure": of_error(f"importing {stage.package}", error, folder)}
    for case, dtype in cases_of(exercise):
        watch.begin()
        found = of_case(case, dtype, engine, folder)
        if found:
            return {"passed": passed, "failure": found}
        passed += 1
    if functions := [test for test in exercise.tests if "::" in test]:
        n, found = of_functions(functions, stage, folder, watch)
        passed += n
        if found:
            return {"passed": passed, "failure": found}
    check_that_it_is_theirs(folder)
    return {"passed": passed, "failure": None}


# Questions


def test(watch, name, folder):
    """The verdict on the rung in a folder, with what the learner's own program printed."""
    printed = Printed()
    with redirect_stdout(printed):
        try:
            found = judged(EXERCISES[name], Path(folder), watch)
        except SystemExit as error:
            found = {"passed": 0, "failure": failure("", f"The program ended itself: SystemExit({error.code})")}
    return {**found, "printed": printed.lines()}


@cache
def planted_faults():
    """The faults of the suite; imported as pytest would, so that failing assertions say what they found."""
    from shared_tests import conftest

    os.environ.setdefault("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    stage = EXERCISES[next(iter(EXERCISES))].stage.package
    run_pytest(["--collect-only", str(Path(conftest.__file__).with_name("test_the_suite.py")), "--stage", stage])
    return importlib.import_module("shared_tests.test_the_suite").FAULTS


def faults(watch, name):
    """The suite's faults in the function of an exercise, as pairs: what is right, and what is put in its place."""
    exercise = EXERCISES[name]
    found = [fault for arrived, faults in planted_faults().items() if arrived <= exercise.rung for fault in faults]
    found = [fault for fault in found if fault.function == exercise.function and exercise.rung <= fault.until]
    return {"faults": [(fault.old, fault.new) for fault in found]}


def noticing(watch, name, folder):
    """Which of the tests that a hunt asks about notice its fault."""
    hunt = EXERCISES[name]
    os.environ["GRADUAL_KERNELS"] = "numpy"
    engine = engine_of(load(hunt.stage, Path(folder)), hunt.rung)
    cases = {f"{case.capability}: {case.name}": case for case in CASES}
    return {"notice": [title for title in hunt.which if of_case(cases[title], "float64", engine, Path(folder))]}


def output(watch, name):
    """What the program of a prediction prints, on the rung as it stands in the repository."""
    exercise, printed = EXERCISES[name], io.StringIO()
    os.environ["GRADUAL_KERNELS"] = "numpy"
    load(exercise.stage, exercise.stage.folder)
    with redirect_stdout(printed):
        exec(compile(exercise.program, name, "exec"), {"__name__": "__main__"})
    return {"output": printed.getvalue()}


QUESTIONS = {f.__name__: f for f in (test, faults, noticing, output)}


@contextmanager
def pipes():
    """What is asked and what is answered; prints of a program that go round `sys.stdout` don't get into it."""
    with (
        open(os.dup(0), encoding="utf-8") as asked,
        open(os.dup(1), "w", encoding="utf-8") as answered,
        open(os.devnull) as nothing,
    ):
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        yield asked, answered


def main():
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    torch.set_num_threads(1)
    faulthandler.enable(2)
    watch = Watch(float(sys.argv[1]))
    check.expected(CASES[0], "float64")  # the first time takes PyTorch seconds, too
    with pipes() as (asked, answered):
        for line in asked:
            question = json.loads(line)
            try:
                answer = QUESTIONS[question.pop("ask")](watch, **question)
            finally:
                watch.end()
            print(json.dumps(answer), file=answered, flush=True)


if __name__ == "__main__":
    main()
