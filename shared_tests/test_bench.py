"""The benchmark runs, measures what it says, and takes no contender that computes something else."""

import json
import subprocess
import sys

import pytest

from benchmarks import bench

from .stages import ROOT


def reference_and(**contender):
    """A workload of a reference and one contender."""
    ours = bench.Contender("ours", None, **contender)
    return bench.Workload("work", 3, 1e-4, contenders=(bench.Contender("reference", None), ours)), ours


def rounds(*times):
    """What was measured in rounds of one step each, from (the reference's, our) milliseconds."""
    return [
        {name: {"milliseconds": [time], "others": 0.0} for name, time in zip(("reference", "ours"), both)}
        for both in times
    ]


def test_the_ratio_compares_times_of_the_same_round():
    workload, ours = reference_and(target=0.5)
    row = bench.row(workload, ours, rounds((10, 4), (100, 45), (10, 6)))
    assert (row["milliseconds"], row["ratio"], row["ratio_min"], row["ratio_max"]) == (6, 0.45, 0.4, 0.6)
    assert row["met"] is True


def test_a_missed_target_is_reported():
    workload, ours = reference_and(target=0.5)
    assert bench.row(workload, ours, rounds((10, 6)))["met"] is False


def test_who_is_not_there_has_a_row_without_numbers():
    workload, ours = reference_and(target=0.5)
    row = bench.row(workload, ours, [])
    assert row["ratio"] is row["met"] is row["milliseconds"] is None
    assert "not there" in bench.speed_table([row])


@pytest.mark.parametrize("wrong", [0.9002, float("nan")])
def test_a_contender_with_other_losses_is_an_error(wrong):
    workload, _ = reference_and()
    with pytest.raises(SystemExit, match="work: ours has losses"):
        bench.check_losses(workload, {"reference": [1.0, 0.9], "ours": [1.0, wrong]})
    bench.check_losses(workload, {"reference": [1.0, 0.9], "ours": [1.0, 0.90005]})


def measured(path, *flags):
    """What `bench.py --quick` writes, and what it prints."""
    command = [sys.executable, "benchmarks/bench.py", "--quick", "--json", str(path), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


@pytest.mark.parametrize(("workload", "reference"), [("moons-scalar-gc-off", "micrograd"), ("moons", "torch")])
def test_the_benchmark_runs_and_writes_what_it_prints(tmp_path, workload, reference):
    pytest.importorskip(reference)
    report, printed = measured(tmp_path / "results.json", "--only", workload)
    assert report["cpu"] in printed and report["threads"] == 2 and report["versions"].keys() >= {"python", reference}
    assert report["memory"] == []
    first, *others = report["speed"]
    assert first["contender"].split()[0] == reference and first["ratio"] == 1 and first["target"] is None
    built = [row for row in others if row["ratio"] is not None]
    assert built
    for row in built:
        assert row["workload"] == workload and row["milliseconds"] > 0 and len(row["rounds"]) == 2
        assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"] and row["met"] == (row["ratio"] <= row["target"])
        assert f"{row['milliseconds']:.3f}" in printed


def test_the_benchmark_measures_memory(tmp_path):
    pytest.importorskip("torch")
    report, _ = measured(tmp_path / "results.json", "--only", "memory")
    for row in report["memory"]:
        assert row["peak"] > row["imported"] > 0 and row["growth"] >= 0
