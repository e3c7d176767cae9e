"""Several ranks, real ones, which MPI's launcher starts: they train as one process does, or end together."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from . import ranks
from .conftest import gpu_to_use
from .test_demos import NOBODY

pytestmark = [pytest.mark.capability("many processes"), pytest.mark.host]

BESIDE = str(Path(sys.executable).parent)
MPIEXEC = shutil.which("mpiexec", path=BESIDE) or shutil.which("mpiexec")
TOGETHER = pytest.mark.parametrize("how", ["", ":apart"], ids=["together", "apart"])  # small gradients, and large ones
LONG = 120  # seconds, in which a busy machine compiles kernels


@pytest.fixture
def start(stage):
    """Start a program in n ranks, of one thread each: its exit status, output and errors, and seconds.

    Kernels are compiled where they are asked for, as they are those of rung 5, and would be compiled again.
    """
    if not MPIEXEC:
        pytest.skip("not run: there is no mpiexec")

    def start(n, *command, check=True, **environment):
        began = time.perf_counter()
        line = [MPIEXEC, "-n", str(n), sys.executable, "-m", *map(str, command)]
        threads = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        settings = {"GRADUAL_KERNELS": "numpy", **os.environ, **threads, **environment}
        done = subprocess.run(line, capture_output=True, text=True, timeout=LONG, env=settings)
        err = re.sub(r".*compiling a kernel, once.*\n", "", done.stderr)
        assert not check or done.returncode == 0, err
        return done.returncode, done.stdout, err, time.perf_counter() - began

    return start


@pytest.fixture
def answers(start, stage, tmp_path):
    """What a function of ranks.py returns on each of n ranks, in order."""

    def answers(n, what, **environment):
        start(n, "shared_tests.ranks", stage.name, what, tmp_path, **environment)
        return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(n)]

    return answers


# The same as one process


@pytest.mark.parametrize("n, how", [(2, ""), (3, ""), (4, ""), (3, ":apart")])
def test_ranks_train_together_as_one_process_does_alone(answers, stage, n, how):
    """49 examples, 12 a step: in the last step of an epoch some ranks have none."""
    lib = ranks.library(stage.name)
    alone = {kind: ranks.weights(lib, kind, 12, ranks=False) for kind in ranks.OPTIMIZERS}
    for found in answers(n, "trained" + how, GRADUAL_KERNELS="compiled"):
        for kind, weights in found.items():
            np.testing.assert_allclose(weights, alone[kind], rtol=1e-5, atol=1e-6)


@TOGETHER
def test_a_fault_of_the_sum_would_be_noticed(answers, stage, how):
    """Planted in the rung's text: such as a mean of the ranks' means, which differs where the last batch is uneven."""
    alone = ranks.weights(ranks.library(stage.name), "SGD", 12, ranks=False)
    for found in answers(2, "faulty" + how):
        assert found.keys() == ranks.FAULTS.keys() - ({"not waited for"} if how else set())
        for name, weights in found.items():
            right = np.allclose(weights, alone, rtol=1e-5, atol=1e-6)
            assert right == (name == "none"), name


def test_batch_norm_over_all_ranks_is_that_of_the_whole_batch(answers, stage):
    lib = ranks.library(stage.name)
    alone = [ranks.weights(lib, "SGD", 16, False, norm) for norm in ranks.norms(lib)]
    for found in answers(2, "normalized"):
        for weights, wanted in zip(found, alone, strict=True):
            np.testing.assert_allclose(weights, wanted, rtol=1e-5, atol=1e-6)


def test_tensors_are_reduced_and_broadcast(answers):
    wanted = {"SUM": [6, 30], "AVG": [2, 10], "MIN": [1, 0], "MAX": [3, 20], "broadcast": [2, 10], "async": [6, 30]}
    assert answers(3, "calls") == [wanted] * 3


@TOGETHER
def test_gradients_are_those_of_all_ranks_and_weights_those_of_the_first(answers, how):
    """Rank r has the example (1 + r, 2); a parameter that one rank uses has a gradient on both."""
    one, other = answers(2, "gradients" + how)
    assert one["weights"] == other["weights"]
    assert one["once"] == other["once"] == [[[1.5, 2.0]], [[1.0, 1.0]], None]
    assert (one["not yet"], other["not yet"]) == ([[1.0, 2.0]], [[2.0, 2.0]])
    assert one["twice"] == other["twice"] == [[3.0, 4.0]]
    assert one["from before"] == other["from before"] == [[1.5, 2.0]]


def test_after_an_error_within_backward_nothing_is_added_up_in_silence(answers):
    """Some gradients were sent and others not: the next sums would be of other gradients on each rank."""
    for found in answers(2, "after_an_error:apart"):
        assert found[0] == "no gradient" and "an error has ended the last backward()" in found[1]


def test_nccl_carries_what_lies_on_a_gpu(answers):
    gpu_to_use()
    (found,) = answers(1, "on_a_gpu", GRADUAL_KERNELS="compiled")
    assert found["calls"] == dict.fromkeys(found["calls"], [1, -2, 3]) and len(found["calls"]) == 12
    for kind, weights in found["alone"].items():
        np.testing.assert_allclose(found["through NCCL"][kind], weights, rtol=1e-5, atol=1e-6)


def test_each_example_is_on_one_rank_in_another_order_each_epoch(answers):
    found = answers(2, "numbers")
    for epoch in range(2):
        assert sorted(x for answer in found for x in answer["epochs"][epoch]) == list(range(11))
    assert all(answer["batches"] == 3 and answer["epochs"][0] != answer["epochs"][1] for answer in found)
    assert found[0]["random"] != found[1]["random"]


def test_a_demo_prints_the_figures_of_one_process(start, stage):
    flags = "--data", "digits", "--epochs", "2", "--batch-size"
    alone, together = (start(n, f"{stage.name}.mnist", *flags, 64 // n)[1].splitlines() for n in (1, 2))
    figures = [[re.sub(r"  +[\d.]+ s .*", "", line) for line in lines[1:3]] for lines in (alone, together)]
    assert figures[0] == figures[1]
    assert together[0] == alone[0] + ", 2 ranks" and len(together) == len(alone) == 4


def test_a_run_goes_on_with_another_number_of_ranks(start, stage, tmp_path):
    flags, lines = (f"{stage.name}.mnist", "--data", "digits", "--epochs"), []
    for n in (1, 2):
        path = tmp_path / f"{n}.npz"
        start(n, *flags, 1, "--batch-size", 64 // n, "--save", path)
        rest = start(3 - n, *flags, 2, "--batch-size", 64 // (3 - n), "--resume", path)[1].splitlines()
        lines.append(rest[-2].split("   ")[1:4])
    assert lines[0] == lines[1]


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """Demos find no data and no network, and run on what ships with the package."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOBODY)
    monkeypatch.setenv("GRADUAL_DATA", str(tmp_path))


def test_ranks_learn_the_names_of_a_step_as_one_process_does_that_has_them_all(answers, start, stage, alone, tmp_path):
    """Each has one, and their lengths differ: the mean is that over all letters."""
    path, flags = tmp_path / "run.npz", (f"{stage.name}.gpt", "--steps", 4)
    out = start(2, *flags, "--save", path)[1]
    assert ", 2 ranks\n" in out and out.count("\n") == 8
    losses = stage.package.load(path)["losses"]["losses"]
    np.testing.assert_allclose(losses, answers(1, "names")[0], rtol=1e-5)
    status, _, err, _ = start(1, *flags, "--resume", path, check=False)
    assert status == 1 and err.endswith("that run had batch_size 2, this one has 1\n")


def test_ranks_divide_the_pieces_of_a_play(start, stage, alone, monkeypatch):
    """So that their losses are those of one process."""
    flags = f"{stage.name}.gpt", "--data", "shakespeare", "--steps", "2"
    alone, together = (start(n, *flags)[1].splitlines() for n in (1, 2))
    figures = [[*[line[:23] for line in lines[2:4]], lines[-1][:25]] for lines in (alone, together)]
    assert figures[0] == figures[1] and figures[0][1].startswith("step 2/2   loss 3.")
    monkeypatch.setattr(stage.part("gpt"), "get_world_size", lambda: 13)
    with pytest.raises(SystemExit, match="a step takes 12 pieces of the text, so that at most 12 ranks have one"):
        stage.part("gpt").main_of_plays(None)


def test_ranks_judge_a_network_by_the_statistics_of_the_first(answers):
    """Each keeps its own while it trains, and the second had no image in the last batch."""
    first, second = answers(2, "pictures")
    assert first == second and np.isfinite(first).all() and len(first) == 3 * 21


HOSTS = """
set -e
mount -t tmpfs none /run  # where ip keeps the names
ip link add one type veth peer name two
for host in 10.7.7.1/one 10.7.7.2/two; do
    address=${host%/*} device=${host#*/}
    ip netns add $address
    ip link set $device netns $address
    ip -n $address addr add $address/24 dev $device
    ip -n $address link set $device up
    ip -n $address link set lo up
done
timeout 60 ip netns exec 10.7.7.1 "$@"
ip netns exec 10.7.7.1 cat /sys/class/net/one/statistics/rx_bytes
"""
AS_SSH = """#!/bin/sh
shift; host=$1; shift
exec ip netns exec $host sh -c "$*"
"""
OWN_NETWORK = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]


def test_two_hosts_of_their_own_addresses_train_together(start, stage, alone, tmp_path):
    """Two network namespaces with a cable between them, through which the gradients go; all end with the test."""
    for program in ("unshare", "ip"):
        if not shutil.which(program):
            pytest.skip(f"not run: there is no {program}")
    if (
        allowed := subprocess.run([*OWN_NETWORK, "mount", "-t", "tmpfs", "none", "/run"], capture_output=True)
    ).returncode:
        pytest.skip(f"not run: the system allows no namespaces: {allowed.stderr.decode().strip()}")
    (tmp_path / "as_ssh").write_text(AS_SSH)
    (tmp_path / "as_ssh").chmod(0o755)
    program = [sys.executable, "-m", f"{stage.name}.gpt", "--steps", "3"]
    hosts = ["-launcher-exec", tmp_path / "as_ssh", "-localhost", "10.7.7.1", "-hosts", "10.7.7.1,10.7.7.2", "-n", "2"]
    settings = {
        **os.environ,
        "GRADUAL_KERNELS": "numpy",
        "NUMBA_NUM_THREADS": "1",
        "UCX_TLS": "tcp",
        "FI_PROVIDER": "tcp",
    }
    command = [*OWN_NETWORK, "sh", "-c", HOSTS, "hosts", MPIEXEC, "-launcher", "ssh", *hosts, *program]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=LONG, env=settings)
    assert done.returncode == 0, done.stderr
    *apart, received = done.stdout.splitlines()
    together = start(2, *program[2:])[1].splitlines()
    figures = [re.findall(r"loss (\S+)", "\n".join(lines)) for lines in (apart, together)]
    assert figures[0] == figures[1] and len(figures[0]) == 4
    assert int(received) > 3 * 4 * 4192, "the gradients of three steps"


# Ended together


@pytest.mark.parametrize(
    "how, says",
    [
        ("raise", r"rank 1: Traceback(?s:.*)ZeroDivisionError: one has gone wrong"),
        ("exit", r"rank 1: no more of it"),
        ("kill", r"killed: (rank 0 .*, )?rank 1 \(process \d+\)(?s:.*)EXIT CODE: 9"),
        ("late", r"rank 0: all_reduce: waited 2 s for rank 1\n"),
        (
            "another model",
            r"rank 0: (?s:.*)weight is \(2, 4\) .* on rank 1, \(2, 3\)",
        ),
        ("other data", r"rank 0: the data: names is 201 on rank 1, 200 on rank 0\n"),
        ("another flag", r"rank 0: demo: the flags: lr is 1.1 on rank 1, 0.1 on rank 0\n"),
    ],
)
def test_a_rank_that_fails_ends_all_and_is_named(start, stage, how, says):
    status, out, err, seconds = start(3, "shared_tests.ranks", stage.name, how, check=False)
    assert status != 0 and re.match(rf"\s*{says}", err + out), (out, err)
    assert seconds < 30


def test_a_rank_that_does_not_begin_ends_all(start, stage):
    """As where only its machine lacks what a flag needs."""
    program = f"{stage.name}.gpt", "--steps"
    status, _, err, seconds = start(1, *program, "9", ":", "-n", "1", sys.executable, "-m", *program, "0", check=False)
    assert status == 2 and "argument --steps: wanted a whole number of at least 1, got 0" in err
    assert seconds < 30


def test_kills_lose_no_checkpoint(stage, tmp_path):
    if not MPIEXEC:
        pytest.skip("not run: there is no mpiexec")
    path, load = tmp_path / "run.npz", stage.package.load
    flags = ["--data", "digits", "--epochs", "200", "--save", str(path)]
    draw = random.Random(0)
    for _ in range(3):
        again = ["--resume", str(path)] if path.exists() else []
        line = [MPIEXEC, "-n", "2", sys.executable, "-m", f"{stage.name}.mnist", *flags, *again]
        threads = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        settings = {"GRADUAL_KERNELS": "numpy", **os.environ, **threads}
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=settings)
        for text in process.stdout:
            if text.startswith("epoch"):
                break
        time.sleep(draw.random())
        children = subprocess.run(["pgrep", "-f", str(path)], capture_output=True, text=True).stdout.split()
        victim = draw.choice([int(each) for each in children if int(each) != process.pid])
        os.kill(victim, 9)
        process.stdout.close()
        assert process.wait(timeout=30) != 0
        assert load(path)["run"]["done"] >= 0


# Without ranks


def test_without_a_launcher_nothing_of_mpi_is_imported(stage):
    code = f"import {stage.name}.mnist, sys; print('mpi4py' in sys.modules, {stage.name}.distributed.launched())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "False 1\n"


@pytest.mark.parametrize(
    "before, size, says",
    [
        ("sys.modules['mpi4py'] = None", "PMI_SIZE", r'need MPI: pip install "\./.*\[mpi\]"'),
        ("", "OMPI_COMM_WORLD_SIZE", "3 processes were started, but MPI knows of 1: the launcher is another MPI's"),
    ],
)
def test_what_is_missing_is_one_sentence(stage, before, size, says):
    pytest.importorskip("mpi4py")
    code = f"import sys; {before}\nimport runpy; runpy.run_module('{stage.name}.mnist', run_name='__main__')"
    settings = {**os.environ, size: "3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings)
    assert done.returncode == 1 and re.search(says, done.stderr.splitlines()[-1]), done.stderr
