"""The benchmark runs, measures what it says, and takes no contender that computes something else."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import bench, gpu, measure, programs, ranks, report, serve
from benchmarks.operations import SIZES
from benchmarks.steps import library
from benchmarks.workloads import ALL, COMPUTE_BOUND, SINGLE_OPS, WORKLOADS, Contender, Workload
from ladder.stages import ROOT, STAGES
from shared_tests.conftest import without_gpu

whole = pytest.mark.whole  # what whoever measures would notice, and takes long


def workload_of(*names, **targets):
    """A workload of contenders, the last of which has the targets."""
    *others, last = names
    contenders = (*[Contender(name, None) for name in others], Contender(last, None, targets))
    return Workload("work", 3, 1e-4, contenders)


def rounds(*times):
    """What was measured in rounds of one step each, from the milliseconds of each contender."""
    return [{name: {"milliseconds": [time], "others": 0.0} for name, time in each.items()} for each in times]


def last_rows(workload, runs):
    return measure.contender_rows(workload, workload.contenders[-1], runs)


def test_the_ratio_compares_times_of_the_same_round():
    workload = workload_of("torch", "ours", torch=0.5)
    times = {"torch": 10, "ours": 4}, {"torch": 100, "ours": 45}, {"torch": 10, "ours": 6}
    (row,) = last_rows(workload, rounds(*times))
    assert (row["milliseconds"], row["ratio"], row["ratio_min"], row["ratio_max"]) == (6, 0.45, 0.4, 0.6)
    assert row["met"] is True


def test_a_missed_target_is_reported():
    (row,) = last_rows(workload_of("torch", "ours", torch=0.5), rounds({"torch": 10, "ours": 6}))
    assert row["met"] is False and "missed" in report.speed_table([row])


def test_there_is_a_row_for_each_target():
    workload = workload_of("torch", "tuned", "below", "ours", torch=0.5, below=0.2)
    runs = rounds({"torch": 10, "tuned": 5, "below": 16, "ours": 4})
    against = {row["against"]: (row["ratio"], row["target"], row["met"]) for row in last_rows(workload, runs)}
    assert against == {"torch": (0.4, 0.5, True), "below": (0.25, 0.2, False)}


def test_the_reference_has_a_row_even_without_a_target():
    workload = workload_of("torch", "below", "ours", below=0.5)
    to_torch, to_below = last_rows(workload, rounds({"torch": 10, "below": 4, "ours": 2}))
    assert (to_torch["against"], to_torch["ratio"], to_torch["met"]) == ("torch", 0.2, None)
    assert (to_below["against"], to_below["ratio"], to_below["met"]) == ("below", 0.5, True)


def test_who_is_not_there_has_a_row_without_numbers():
    (row,) = last_rows(workload_of("torch", "ours", torch=0.5), [])
    assert row["ratio"] is row["met"] is row["milliseconds"] is None
    assert "not there" in report.speed_table([row])


def test_a_target_against_who_is_not_there_is_neither_met_nor_missed():
    workload = workload_of("torch", "below", "ours", below=0.5)
    _, row = last_rows(workload, rounds({"torch": 10, "ours": 2}))
    assert row["milliseconds"] == 2 and row["ratio"] is row["met"] is None


def test_steps_that_come_before_are_run_after_the_check_and_before_the_rounds(monkeypatch):
    asked = []

    class Server:
        def __init__(self, workload, contender, threads):
            self.name = contender.name

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def run(self, steps, seconds=None):
            asked.append((self.name, steps))
            return {"milliseconds": [1.0], "losses": [0.5], "others": 0.0}

        run_undisturbed = run

    monkeypatch.setattr(measure, "Server", Server)
    contenders = Contender("json", None), Contender("json later", None, {"json": 1.1}, after=3000)
    rows = measure.measure(Workload("work", 30, 0.0, contenders), rounds=2, threads=1)
    check, aging, a_round = [("json", 3), ("json later", 3)], [("json later", 3000)], [("json", 30), ("json later", 30)]
    assert asked == check + aging + 2 * a_round
    assert [row["met"] for row in rows] == [None, True]


@pytest.mark.parametrize("wrong", [0.9002, float("nan")])
def test_a_contender_with_other_losses_is_an_error(wrong):
    workload = workload_of("reference", "ours")
    with pytest.raises(SystemExit, match="work: ours has losses"):
        measure.check_losses(workload, {"reference": [1.0, 0.9], "ours": [1.0, wrong]})
    measure.check_losses(workload, {"reference": [1.0, 0.9], "ours": [1.0, 0.90005]})


def test_every_target_is_against_a_contender_that_is_measured():
    names = [workload.name for workload in ALL]
    assert len(set(names)) == len(names)
    for workload in ALL:
        contenders = [contender.name for contender in workload.contenders]
        assert len(set(contenders)) == len(contenders)
        for contender in workload.contenders:
            assert contender.targets.keys() <= set(contenders) - {contender.name}


def test_the_floating_point_operations_of_the_network_are_counted():
    pytest.importorskip("torch")
    speed = [{"workload": "cnn-64", "contender": "stage5_fast", "milliseconds": 3.0}]
    limits = [{"limit": "sgemm", "rate": 100.0}, {"limit": "sgemm", "rate": 200.0}, {"limit": "copy", "rate": 900.0}]
    (row,) = measure.floor_rows(COMPUTE_BOUND, speed, limits)
    # A multiplication and an addition for each weight at each place, forward and twice backward; the images need none.
    first, others = 28 * 28 * 16 * 9, 14 * 14 * 32 * 16 * 9 + 1568 * 128 + 128 * 10
    assert row["gflop"] == pytest.approx(64 * 2 * (2 * first + 3 * others) / 1e9)
    assert row["floor"] == pytest.approx(1000 * row["gflop"] / 200) and row["multiple"] == 3.0 / row["floor"]


def test_an_epoch_must_be_fast_and_as_accurate_as_on_the_rung_below():
    printed = "MNIST: 60,000 training images\nResult: test accuracy {}%, in 5.0 s\n".format
    below = programs.epoch_row("stage4_cnn", "mnist", 20.0, printed(98.10), [])
    assert (below["accuracy"], below["met"]) == (0.981, None)
    for accuracy, seconds, met in ((97.95, 7.5, True), (97.85, 7.5, False), (98.10, 8.5, False)):
        assert programs.epoch_row("stage5_fast", "mnist", seconds, printed(accuracy), [below])["met"] is met


def test_an_epoch_of_other_data_is_not_taken_for_one_of_mnist():
    row = programs.epoch_row("stage5_fast", "mnist", 1.0, "Running on the small digits\nResult: test accuracy 84%", [])
    assert row["seconds"] is row["accuracy"] is row["met"] is None
    assert "not there" in report.program_table([row])


def test_the_ladder_picture_is_drawn_with_and_without_the_rungs_above(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [{"contender": "torch eager", "milliseconds": 0.24}, {"contender": "jax", "milliseconds": None}]
    for stage in STAGES:
        rows.append({"contender": stage.package, "milliseconds": 60 / 5**stage.number})
        report.draw_ladder(tmp_path / "ladder.png", rows, "a machine")
        assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG")
        (tmp_path / "ladder.png").unlink()


def test_the_picture_shows_a_step_that_is_measured_on_every_rung_and_captured():
    workload = next(workload for workload in WORKLOADS if workload.name == bench.PICTURED)
    contenders = {contender.name for contender in workload.contenders}
    rungs = {stage.package for stage in STAGES if stage.number <= 5}  # those above take its step from rung 5
    assert contenders >= rungs | {"torch eager", "jax", "stage5_fast captured"}


def made_up_rows(skipped=()):
    """A row for each contender of each workload, without a time where it was skipped."""
    rows = []
    for workload in WORKLOADS:
        for i, contender in enumerate(workload.contenders):
            runs = (
                [] if contender.name in skipped else rounds(dict.fromkeys([c.name for c in workload.contenders], i + 2))
            )
            rows += measure.contender_rows(workload, contender, runs)
    return rows


def test_the_page_has_at_most_ten_rows_each_with_the_milliseconds_of_its_network():
    head, _, *lines = report.summary(made_up_rows(skipped=["jax"])).splitlines()
    assert len(lines) == len(report.NETWORKS) <= 10 and len({len(line) for line in [head, *lines]}) == 1
    names = [name.strip() for name in head.strip("|").split("|")]
    for line, workload in zip(lines, report.NETWORKS):
        words, *times = [cell.strip() for cell in line.strip("|").split("|")]
        contenders = [c.name for c in next(w for w in WORKLOADS if w.name == workload).contenders]
        assert words == report.NETWORKS[workload] and len(times) == len(names) - 1
        for contender, time in zip(report.SHOWN, times):
            there = contender in contenders and contender != "jax"
            assert time == report.figure(contenders.index(contender) + 2 if there else None)


def test_a_whole_run_is_written_into_both_pages_and_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    pages = tmp_path / "README.md", tmp_path / "benchmarks" / "README.md"
    for page in pages:
        page.write_text("Before\n\n<!-- bench -->\nold\n<!-- /bench -->\n\nAfter\n")
    rows = made_up_rows()
    figures = {**dict.fromkeys(report.TABLES, []), "speed": rows}
    bench.put_into_pages("A processor, 2 cores; 2 threads\npython 3", figures, tmp_path)
    short, whole = (page.read_text() for page in pages)
    assert short == (
        f"Before\n\n<!-- bench -->\n{report.summary(rows)}\n"
        "Measured on A processor, 2 cores; 2 threads; python 3.\n<!-- /bench -->\n\nAfter\n"
    )
    assert f"A processor, 2 cores; 2 threads\npython 3\n\n{report.speed_table(rows)}" in whole and "old" not in whole
    assert (tmp_path / "docs" / "ladder.png").read_bytes().startswith(b"\x89PNG")
    rows[-1]["others"] = 0.5
    bench.put_into_pages("A processor, 2 cores; 2 threads\npython 3", figures, tmp_path)
    said = "The machine was not idle: in one round other programs used 50% of a core."
    assert all(page.read_text().count(said) == 1 for page in pages)


@pytest.mark.parametrize("part", [["--only", "moons"], ["--quick"]])
def test_a_part_of_the_figures_does_not_take_the_place_of_all(part, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--write", *part])
    monkeypatch.setattr(bench, "measure", lambda *arguments: pytest.fail("it measures"))
    with pytest.raises(SystemExit):
        bench.main()
    assert "--write wants a whole run" in capsys.readouterr().err


def measured(path, *flags, threads=1):
    """What `bench.py --quick` writes, and what it prints; two threads would wait long for a core that others keep."""
    command = [sys.executable, "benchmarks/bench.py", "--quick", "--threads", str(threads), "--json", str(path), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


@pytest.mark.parametrize(
    ("workload", "reference", "threads"),
    [("moons-scalar-gc-off", "micrograd", 2), ("moons", "torch", 1), pytest.param("cnn-64", "torch", 1, marks=whole)],
)
def test_the_benchmark_runs_and_writes_what_it_prints(tmp_path, workload, reference, threads):
    pytest.importorskip(reference)
    results, printed = measured(tmp_path / "results.json", "--only", workload, threads=threads)
    assert results["cpu"] in printed and results["threads"] == threads
    assert results["versions"].keys() >= {"python", reference}
    assert not any(results[part] for part in ("limits", "floors", "memory", "programs", "ranks"))
    first, *others = results["speed"]
    assert first["contender"].split()[0] == reference and first["ratio"] == 1 and first["target"] is None
    there = {row["contender"] for row in results["speed"] if row["milliseconds"] is not None}
    built = [row for row in others if {row["contender"], row["against"]} <= there]
    assert all(row["ratio"] is None for row in others if row not in built)
    assert {row["contender"] for row in built} >= {
        contender.name
        for contender in next(each for each in WORKLOADS if each.name == workload).contenders[1:]
        if contender.module in {stage.package for stage in STAGES if stage.exists}
    }
    for row in built:
        assert row["workload"] == workload and row["milliseconds"] > 0 and len(row["rounds"]) == 2
        assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
        assert row["met"] == (row["ratio"] <= row["target"] if row["target"] else None)
        assert report.figure(row["milliseconds"]) in printed and report.figure(row["ratio"]) in printed


NETWORKS = [workload for workload in WORKLOADS if workload.name in ("microgpt", "small-cnn")]
NETWORKS += [pytest.param(workload, marks=whole) for workload in WORKLOADS if workload.name in ("resnet", "gpt")]
SMALL_OPS = [workload for workload in SINGLE_OPS if workload.name.endswith(f" {SIZES[0]}")]


@pytest.mark.parametrize("workload", NETWORKS + SMALL_OPS, ids=lambda workload: workload.name)
def test_the_contenders_compute_the_same(workload):
    """In the benchmark each has a process of its own, which takes longer."""
    pytest.importorskip("torch")
    losses = {}
    for contender in workload.contenders:
        if find_spec(contender.module):
            step = contender.build(library(contender.name))
            loss = step()
            losses[contender.name] = [loss() if callable(loss) else loss]
    assert {stage.package for stage in STAGES if stage.exists and stage.number in (4, 5)} <= losses.keys()
    measure.check_losses(workload, losses)


def test_the_resnet_that_is_measured_is_the_demos():
    from benchmarks.networks import resnet
    from stage5_fast.resnet import ResNet20

    lib, shapes = library("stage5_fast"), []

    def sgd(parameters, **options):
        shapes.extend(p.shape for p in parameters)

    lib.optim = SimpleNamespace(SGD=sgd)
    resnet(lib)
    assert shapes == [p.shape for p in ResNet20().parameters()]


def test_the_gpt_that_writes_is_the_demos_and_writes_what_it_does_on_torch():
    pytest.importorskip("torch")
    from stage6_sequence.gpt import Playwright

    workload = next(workload for workload in WORKLOADS if workload.name == "generation")
    shapes, written = [], {}
    for contender in workload.contenders:
        lib = library(contender.name)
        lib.constant = lambda array, constant=lib.constant: shapes.append(array.shape) or constant(array)
        step = contender.build(lib)
        written[contender.name] = [step() for _ in range(4)]  # so many characters that a captured step is repeated
    assert shapes == [tuple(p.shape) for p in Playwright(65).parameters()] * 3
    assert len(set(written["torch eager"])) == 4
    measure.check_losses(workload, written)


@whole
def test_the_benchmark_measures_an_op_on_arrays_of_each_size(tmp_path):
    pytest.importorskip("torch")
    results, printed = measured(tmp_path / "results.json", "--only", "dropout")
    assert {row["workload"] for row in results["ops"]} == {f"dropout {n}" for n in SIZES} and not results["speed"]
    ours = [row for row in results["ops"] if row["contender"] == "stage5_fast" and row["ratio"]]
    for row in ours:
        assert row["met"] == (row["ratio"] <= row["target"]) and report.figure(row["ratio"]) in printed


def test_an_op_has_a_line_for_each_size():
    rows = []
    for n, ratio in ((8, 1.5), (64, 2.5)):
        work = replace(workload_of("torch eager", "jax", "stage5_fast", **{"torch eager": 2.0}), name=f"exp {n}")
        for contender in work.contenders:
            runs = [] if contender.name == "jax" else rounds({"torch eager": 2, "stage5_fast": 2 * ratio})
            rows += measure.contender_rows(work, contender, runs)
    _, *lines = report.op_table(rows).splitlines()
    assert [line.split() for line in lines] == [
        ["exp", "8", "2.000", "–", "1.500", "≤", "2.00", "met"],
        ["exp", "64", "2.000", "–", "2.500", "≤", "2.00", "missed"],
    ]


def test_the_benchmark_measures_the_limits_of_the_machine(tmp_path):
    pytest.importorskip("torch")
    results, printed = measured(tmp_path / "results.json", "--only", "limits", "--only", "conv-1x1-256-256")
    units = {(row["limit"], row["contender"]): row["unit"] for row in results["limits"]}
    assert units == {
        (limit, who): unit for limit, unit in (("sgemm", "GFLOP"), ("copy", "GB")) for who in ("torch", "numpy")
    }
    assert all(row["rate"] > 0 and f"{row['rate']:.1f} {row['unit']}" in printed for row in results["limits"])
    built = [row for row in results["speed"] if row["contender"] == "stage5_fast" and row["milliseconds"]]
    assert [row["milliseconds"] for row in results["floors"]] == [row["milliseconds"] for row in built]


@whole
def test_the_benchmark_measures_memory(tmp_path):
    pytest.importorskip("torch")
    results, _ = measured(tmp_path / "results.json", "--only", "memory")
    first, *others = results["memory"]
    assert first["contender"] == "torch eager" and first["ratio"] is first["met"] is None and others
    assert others[-1]["contender"] == "stage5_fast captured"
    for below, row in zip(results["memory"], others):
        assert row["against"] == below["contender"] and row["ratio"] == row["above"] / below["above"]
    for row in results["memory"]:
        assert row["peak"] > row["above"] > 0 and row["begun"] > 0 and abs(row["growth"]) < row["above"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory begins anew on Linux alone")
def test_the_peak_of_memory_begins_anew():
    before = serve.peak_memory()
    array = np.ones(64 << 20, np.uint8)
    highest = serve.peak_memory()
    del array
    serve.forget_peak()
    assert highest > before + 50 and serve.peak_memory() < highest - 50


def test_a_row_of_ranks_is_met_by_nine_tenths_and_says_what_was_hidden():
    one = [{"speed": speed} for speed in (100, 200, 300)]
    two = [{"speed": speed, "alone": 4.0, "waited": 1.0} for speed in (95, 180, 240)]
    row = ranks.ranks_row("mnist", 64, 0.9, one, two)
    assert (row["ratio"], row["ratio_min"], row["ratio_max"], row["met"]) == (0.9, 0.8, 0.95, True)
    assert row["hidden"] == 0.75
    without = ranks.ranks_row("mnist", 32, None, one, two)
    lines = [line.split() for line in report.ranks_table([row, without]).splitlines()[1:]]
    assert [line[:4] for line in lines] == [["mnist", "64", "180", "200"], ["mnist", "32", "180", "200"]]
    assert lines[0][6:9] == ["≥", "0.90", "met"] and lines[1][6] == "–" and without["met"] is None


@whole
def test_the_benchmark_runs_two_ranks(tmp_path):
    pytest.importorskip("mpi4py")
    results, printed = measured(tmp_path / "results.json", "--only", "ranks")
    assert [(row["network"], row["batch"], row["target"]) for row in results["ranks"]] == [*map(tuple, ranks.BATCHES)]
    for row in results["ranks"]:
        assert row["ranks"] > 0 and row["one"] > 0 and row["alone"] > 0 and f"{row['hidden']:.0%}" in printed


@whole
def test_the_benchmark_runs_whole_programs(tmp_path):
    pytest.importorskip("torch")
    results, _ = measured(tmp_path / "results.json", "--only", "programs")
    contenders = [row["contender"] for row in results["programs"]]
    built = [stage.package for stage in STAGES if stage.number in (4, 5) and stage.exists]
    assert contenders == [*built, "torch eager", *built, "stage5_fast captured"]
    for row in results["programs"]:
        assert row["seconds"] > 0
        assert (0.5 < row["accuracy"] <= 1) if "epoch" in row["program"] else row["accuracy"] is None


# On the GPU


def test_targets_of_the_gpu_are_lower_or_upper_bounds():
    """A ratio of times is to be small, a rate beside another large, and with TF32 there are no targets."""
    rows = [
        gpu.row("CNN step, batch 64", 0.6, "× torch eager", "0.3 ms to 0.5 ms"),
        gpu.row("CNN step, batch 64", 0.8, "× torch eager", tf32=True),
        gpu.row("CNN step, batch 64, captured", 1.5, "× torch captured"),
        gpu.row("relu", 0.95, "of copying", "4.2 to 4.4 TB/s"),
        gpu.row("relu", 0.6, "of copying"),
        gpu.row("an epoch of MNIST, batch 512", 1.5, "s"),
    ]
    assert [(row["met"], row["reached"]) for row in rows] == [
        (True, False),
        (None, None),
        (None, False),
        (True, True),
        (False, False),
        (False, False),
    ]
    lines = gpu.rows_table(rows).splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["met", "–", "1.0", "reached", "missed", "missed"]
    assert "≤ 0.7" in lines[0] and "≥ 0.7" in lines[3] and "4.2 to 4.4 TB/s" in lines[3]


def test_the_gpus_medians_are_those_of_rounds_in_which_all_take_turns(monkeypatch):
    clock, order = gpu.Clock(None), []
    monkeypatch.setattr(clock, "milliseconds", lambda work, n: order.append((work, n)) or len(order))
    assert clock.medians({"one": "1", "other": "2"}, 40) == {"one": 11, "other": 12}
    assert order[:4] == [("1", 10), ("2", 10), ("1", 40), ("2", 40)]


def test_every_target_of_the_gpu_has_a_row_that_is_measured():
    text = (ROOT / "benchmarks" / "gpu.py").read_text()
    for what, measured_as in gpu.TARGETS:
        assert all(text.count(part) >= 2 for part in (measured_as.removeprefix("× "), what.partition(",")[0]))


def test_without_a_gpu_nothing_is_measured_and_it_says_so():
    if not without_gpu():
        pytest.skip("there is a GPU")
    done = subprocess.run([sys.executable, "benchmarks/gpu.py"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Nothing was measured: cuda: ")
