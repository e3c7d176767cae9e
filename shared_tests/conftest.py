"""The rung under test, what is left out as it arrives later or has been tested below, and the table at the end.

`pytest shared_tests --stage stage2_tensor` runs the suite on one rung, or on any importable engine; the option may be
repeated, and without it every rung that is built is tested. `--device cuda` runs it on the GPU, on rung 5 unless
`--stage` names others, and `--device stand-in` on a stand-in, an array that behaves as the GPU's as far as possible
without one.
"""

import gc
import importlib
import os
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from functools import cache

import numpy as np
import pytest
from hypothesis import settings

from ladder.stages import STAGES, same_below

from . import standin
from .capabilities import CAPABILITIES
from .engines import Target, make_engine

# The same examples in every run, here and in CI; --hypothesis-profile=explore goes looking for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None, max_examples=60)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("fixed")

OUR_OWN = {"error messages", "planted faults"}  # the wording and the text of the rungs
OF_EACH_RUNG = {"demos", "planted faults", "PyTorch's programs"}  # which may differ though the text is the same
LAST_FOR_ALL = 5  # the rung up to which a lesson can change how any program comes out; above, only those it touches
DEMO_OF_A_LESSON = {2: "gpt", 5: "mnist", 6: "gpt", 7: "mnist"}  # on which all that demos do is tested again
OF_DATA = {"data", "many processes"}  # what depends on utils/

CELL = "cell of the table"  # under this name a report holds the capability and the stage that it counts for
LEFT_OUT = pytest.StashKey()  # how many tests were left out: by capability, stage and outcome
ON_A_GPU = "stage5_fast"  # the first rung that has devices, and the one tested on them unless --stage names others


def pytest_addoption(parser):
    parser.addoption(
        "--stage", action="append", metavar="PACKAGE", help="rung or engine to test, repeatable (default: every rung)"
    )

    parser.addoption("--device", choices=["cpu", "cuda", "stand-in"], default="cpu", help="where its tensors are")


def pytest_configure(config):
    config.addinivalue_line("markers", "capability(name): the row of capabilities.py that the test belongs to")
    config.addinivalue_line("markers", "every_demo: what is tested with each demo on each rung that changes its file")
    config.addinivalue_line("markers", "once: what is tested on the rung where it arrives alone")
    config.addinivalue_line("markers", "whole_on_standin: on the stand-in, what is tested with --whole alone")
    config.addinivalue_line("markers", "host: what it is about are arrays in the host's memory, so no device is needed")
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        _spare_simulated_threads()
        if hasattr(os, "sched_setaffinity"):
            _stay_on_one_core(config)
    for name in _stage_names(config):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise pytest.UsageError(f"--stage {name}: {error}") from error
    with_devices = [stage.package for stage in STAGES][[stage.package for stage in STAGES].index(ON_A_GPU) :]
    if on_device(config) and not set(_stage_names(config)) <= set(with_devices):
        raise pytest.UsageError(f"--device {config.getoption('device')}: wanted rungs of {', '.join(with_devices)}")
    if config.getoption("device") == "cuda" and without_gpu():
        raise pytest.UsageError(f"--device cuda: {without_gpu()}")


def _stay_on_one_core(config):
    """The simulator's threads are Python's, and take twice as long on two cores. Each worker has one of its own."""
    if not config.getoption("numprocesses", None):  # else this process only hands out the tests, and has no need
        cores = sorted(os.sched_getaffinity(0))
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        os.sched_setaffinity(0, {cores[worker % len(cores)]})


def _spare_simulated_threads():
    """Each of a kernel's threads is one of Python's in the simulator, which takes most of its time for starting them.

    Where no barrier is in the kernel, they run one after the other, without. Else the simulator asks its threads all
    the time whether they live, and takes the interpreter from them for it: it is told once they wait or have ended.
    """
    from numba.cuda.simulator.kernel import BlockThread

    start, alive = BlockThread.start, BlockThread.is_alive

    def started_if_it_may_wait(thread):
        if "syncthreads" in thread._manager._f.__code__.co_names:
            return start(thread)
        here = threading.get_ident()
        before, threading._active[here] = threading._active[here], thread  # whom the simulator asks for its index
        thread.abort = True  # a barrier in what the kernel calls would be an error, and is
        try:
            thread.run()
        finally:
            threading._active[here] = before

    def alive_when_it_waits(thread):
        while alive(thread) and not thread.syncthreads_blocked:
            time.sleep(0)
        return alive(thread)

    BlockThread.start, BlockThread.is_alive = started_if_it_may_wait, alive_when_it_waits


def without_gpu():
    """Why there is no GPU to be had, or None."""
    try:
        found = importlib.import_module(f"{ON_A_GPU}.device").gpu()
    except (ImportError, RuntimeError) as error:
        return error
    return "this is the stand-in" if found is standin else None


def gpu_to_use():
    """CuPy; where there is no GPU, the test that asks for one is skipped, and says so."""
    if reason := without_gpu():
        pytest.skip(f"not run: no device: {reason}")
    return importlib.import_module(f"{ON_A_GPU}.device").gpu()


def on_device(config):
    """Whether the suite runs on a device."""
    return config.getoption("device") != "cpu"


def _stage_names(config):
    if on_device(config):
        return config.getoption("stage") or [ON_A_GPU]
    return config.getoption("stage") or [stage.package for stage in STAGES if stage.exists]


def pytest_ignore_collect(collection_path, config):
    """On a device, leave out the tests of the CPU's kernels; on the stand-in those that want kernels or a flag, too."""
    on_host = ["kernels", "sequence_kernels"]
    without = {"cpu": [], "cuda": on_host, "stand-in": [*on_host, "kernels_gpu", "sequence_kernels_gpu", "demos"]}
    return True if collection_path.stem.removeprefix("test_") in without[config.getoption("device")] else None


def pytest_generate_tests(metafunc):
    if "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", _stage_names(metafunc.config), indirect=True, scope="session")


@pytest.fixture(scope="session")
def stage(request):
    """What is under test: a `Target`."""
    return _target(request.param)


def _target(name):
    number = {stage.package: stage.number for stage in STAGES}.get(name)
    return Target(name, number, importlib.import_module(name))


@pytest.fixture(scope="session")
def engine(stage, request):
    """What is under test, behind the face that the cases and the engine tests talk to."""
    return make_engine(stage.package, foreign=stage.foreign, device="cuda" if on_device(request.config) else "cpu")


@pytest.fixture(scope="session", autouse=True)
def placed(request):
    """Let numpy.testing compare arrays on the device too, and the stand-in be found if it is asked for."""
    if not on_device(request.config):
        yield
        return
    modules = [importlib.import_module(f"{name}.device") for name in _stage_names(request.config)]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name in ("assert_allclose", "assert_array_equal"):
            patch.setattr(np.testing, name, _reading(getattr(np.testing, name), modules[0].moved))
        if request.config.getoption("device") == "stand-in":
            for module in modules:
                stack.enter_context(standin.in_place_of_cupy(module, kernels=lambda function: function))
        yield


def _reading(compare, moved):
    def host(x):
        return [host(part) for part in x] if isinstance(x, list) else moved(getattr(x, "_data", x), "cpu")

    return lambda found, wanted, *args, **options: compare(host(found), host(wanted), *args, **options)


def _stage_of(item):
    return item.callspec.params.get("stage") if hasattr(item, "callspec") else None


def _capabilities_of(item):
    return [mark.args[0] for mark in item.iter_markers("capability")]


def _not_yet(item):
    """Those of a test's capabilities that arrive on a rung above the one under test, the last of them first."""
    number = _target(_stage_of(item)).number or max(CAPABILITIES.values())
    later = [name for name in _capabilities_of(item) if CAPABILITIES.get(name, 0) > number]
    return sorted(later, key=CAPABILITIES.get, reverse=True)


def _cell_of(item):
    """The row of the table that a test counts in, and the column."""
    return [*_not_yet(item), *_capabilities_of(item), "none"][0], _stage_of(item)


def _same_below(item, names):
    """Whether the test has run on the same text on the rung below, so that it can't come out otherwise here."""
    number = _target(_stage_of(item)).number
    if number is None or item.config.getoption("whole"):
        return False
    if on_device(item.config) and _stage_of(item) == ON_A_GPU:
        return False
    if item.get_closest_marker("once"):
        return number > max([CAPABILITIES[name] for name in names])
    if OF_EACH_RUNG & set(names):
        return "planted faults" not in names and _tested_with_another_demo(item, number)
    apart = () if OF_DATA & set(names) else ("utils/",)
    return _below(number, max([CAPABILITIES[name] for name in names]), apart) is not None


@cache
def _below(number, arrived, apart):
    return same_below(next(stage for stage in STAGES if stage.number == number), arrived, apart=apart)


def _tested_with_another_demo(item, number):
    """Whether what a test asks of a demo is asked on the rung where the demo arrives, and here of another one.

    What demos do stands in one file, which most have in common; so each is tested in everything where it arrives, and
    each lesson with one demo. The others whose file it changes are tested in what is marked `every_demo`. A test is of
    the demo that its parameter names, or its file.
    """
    here, below = (next(stage for stage in STAGES if stage.number == each) for each in (number, max(number - 1, 1)))
    named = {item.callspec.params.get("name"), item.path.stem.removeprefix("test_")} & set(here.demos)
    if not named:
        return number > LAST_FOR_ALL
    (demo,) = named
    if demo not in below.demos or number == 1:
        return False
    if (here.folder / f"{demo}.py").read_bytes() == (below.folder / f"{demo}.py").read_bytes():
        return True
    return DEMO_OF_A_LESSON.get(number) != demo and not item.get_closest_marker("every_demo")


def _left_out(item):
    """What the table says of a test that isn't run; None if it is."""
    names = _capabilities_of(item)
    if _stage_of(item) is None or not names or not CAPABILITIES.keys() >= set(names):
        return None
    if _not_yet(item):
        return "not yet"
    if on_device(item.config) and item.get_closest_marker("host"):
        return "on the host"
    if not item.config.getoption("whole") and _nearly_tested(item):
        return "with --whole"
    return "as below" if _same_below(item, names) else None


def _nearly_tested(item):
    """Whether other tests ask nearly the same, so that this one waits for --whole."""
    on_standin = item.config.getoption("device") == "stand-in"
    return bool(item.get_closest_marker("whole") or on_standin and item.get_closest_marker("whole_on_standin"))


@pytest.hookimpl(trylast=True)  # of what -k has left
def pytest_collection_modifyitems(config, items):
    """Leave out before it starts what needs no test: on some rungs most of the suite, and each skip takes a while."""
    left = {item: outcome for item in items if (outcome := _left_out(item))}
    config.hook.pytest_deselected(items=[*left])
    items[:] = [item for item in items if item not in left]
    config.stash[LEFT_OUT] = dict(Counter((*_cell_of(item), outcome) for item, outcome in left.items()))
    if hasattr(config, "workeroutput"):
        config.workeroutput["left out"] = config.stash[LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """With several workers, each has left out the same; this process, which collects nothing, asks any of them."""
    if hasattr(node, "workeroutput"):  # it has none if it crashed
        node.config.stash[LEFT_OUT] = node.workeroutput.get("left out", {})


def pytest_sessionfinish(session, exitstatus):
    """That all were left out is no mistake."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash.get(LEFT_OUT, {}):
        session.exitstatus = pytest.ExitCode.OK


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):
    """Nothing is garbage yet, and to look for it among ever more tests takes longer than to collect them."""
    gc.disable()


def pytest_collection_finish(session):
    """Spare the garbage collector, which some tests ask what is left, the thousands of tests and PyTorch's modules."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if _stage_of(item) is None:
        return
    names = _capabilities_of(item)
    if not names or not CAPABILITIES.keys() >= set(names):
        pytest.fail(f"no row of capabilities.py covers this test: it names {names or 'none'}", pytrace=False)
    if _target(_stage_of(item)).foreign and names[0] in OUR_OWN:
        pytest.skip(f"not there: {names[0]} are asked only of the ladder's rungs")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Of somebody else's engine nothing is demanded: what it hasn't got is reported, what it gets wrong fails."""
    try:
        return (yield)
    except (AttributeError, ImportError, NotImplementedError, TypeError) as error:
        if _stage_of(pyfuncitem) is not None and _target(_stage_of(pyfuncitem)).foreign:
            pytest.skip(f"not there: {type(error).__name__}: {error}")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Note on the report where in the table it counts: with several workers, another process than this one counts."""
    report = yield
    stage = _stage_of(item)
    if stage is not None and (report.when == "call" or report.outcome != "passed"):
        report.user_properties.append((CELL, _cell_of(item)))
    return report


def _outcome(report):
    reason = report.longrepr[2] if report.skipped else ""
    if "arrives in stage" in reason:
        return "not yet"
    if "the text is the same" in reason:
        return "as below"
    return "not there" if "not there:" in reason else report.outcome


def _counted(reports):
    """Capability -> stage -> Counter of outcomes, and the Counter of what was skipped for which reason."""
    results, reasons = defaultdict(lambda: defaultdict(Counter)), Counter()
    for report in reports:
        if not isinstance(report, pytest.TestReport):
            continue
        if CELL in (properties := dict(report.user_properties)):
            capability, stage = properties[CELL]
            results[capability][stage][_outcome(report)] += 1
        if _outcome(report) in ("skipped", "not there"):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    return results, reasons


def pytest_terminal_summary(terminalreporter, config):
    results, reasons = _counted(report for reports in terminalreporter.stats.values() for report in reports)
    for (capability, stage, outcome), n in config.stash.get(LEFT_OUT, {}).items():
        results[capability][stage][outcome] += n
    if not results:
        return
    tested = _stage_names(config)
    unbuilt = [stage.package for stage in STAGES if not stage.exists]
    more = dict.fromkeys(unbuilt, "not built")
    heads = tested
    if on_device(config):
        heads = [f"{name} {config.getoption('device')}" for name in tested]
    elif ON_A_GPU in tested:
        more[f"{ON_A_GPU} cuda"] = "not run: no device" if without_gpu() else "not run: --device cuda"
    rows = [["capability", *heads, *more]]
    for name in CAPABILITIES:
        rows.append([name, *(_cell(results[name][stage], name, stage) for stage in tested), *more.values()])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    terminalreporter.section("capabilities")
    for row in rows:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    for reason, n in sorted(reasons.items(), key=lambda each: (-each[1], each[0]))[:20]:
        terminalreporter.write_line(f"skipped {n}: {reason}")


def _cell(counter, capability, stage):
    order = ("failed", "passed", "as below", "with --whole", "not yet", "on the host", "not there", "skipped")
    counts = ", ".join(f"{counter[outcome]} {outcome}" for outcome in order if counter[outcome])
    arrives, number = CAPABILITIES[capability], _target(stage).number
    return counts or (f"arrives in stage {arrives}" if number and number < arrives else "no test")
