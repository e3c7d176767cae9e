"""Where `--log` sends the figures of a run, read back with the readers of those who show them."""

import csv
import io
import math
import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from .test_demos import Demo

pytestmark = [pytest.mark.capability("demos"), pytest.mark.capability("training")]

FLAGS = {"epochs": 2, "batch_size": 8, "lr": 0.5, "seed": 0}


@pytest.fixture
def reporters(stage):
    if stage.foreign or stage.number != 3:
        pytest.skip("as on stage3_nn: the text is the same")
    return stage.part("reporters")


@pytest.fixture
def figure():
    """A picture of 3 × 2 inches."""
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(3, 2))
    figure.subplots().plot([1, 3, 2])
    return figure


def logged(reporters, reporter, pictures):
    """A run of two epochs, told to a reporter; the log, from which a reporter that has failed is gone."""
    log = reporters.Log(SimpleNamespace(log=reporter, save="run.npz", **FLAGS), data="moons")
    log.report(1, 100, 4.0, learning_rate=0.5, loss=1.5)
    log.report(2, 100, 5.0, learning_rate=0.25, loss=1 / 3)
    log.end(pictures)
    return log


def test_a_csv_file_has_a_row_an_epoch_with_the_settings_and_pictures_beside_it(reporters, tmp_path, figure, capsys):
    path = tmp_path / "runs" / "a.csv"
    assert logged(reporters, reporters.reporter(str(path)), {"curve": figure}).reporter
    rows = list(csv.DictReader(path.read_text().splitlines()))
    settings = {"data": "moons", "epochs": "2", "batch_size": "8", "lr": "0.5", "seed": "0"}
    assert [{name: row[name] for name in settings} for row in rows] == [settings] * 2
    assert [(row["epoch"], row["seconds"], row["examples_per_second"]) for row in rows] == [
        ("1", "4.0", "25.0"),
        ("2", "5.0", "20.0"),
    ]
    assert [float(row["loss"]) for row in rows] == [1.5, 1 / 3] and list(rows[0])[5:8] == [
        "epoch",
        "learning_rate",
        "loss",
    ]
    assert (tmp_path / "runs" / "a-curve.png").read_bytes()[1:4] == b"PNG"
    logged(reporters, reporters.reporter(str(path)), {})
    assert len(path.read_text().splitlines()) == 5, "another run's rows follow"
    assert capsys.readouterr().err == ""


def test_a_csv_file_with_other_columns_is_not_changed(reporters, tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("name,age\nEmma,3\n")
    assert not logged(reporters, reporters.reporter(str(path)), {}).reporter
    assert path.read_text() == "name,age\nEmma,3\n"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("--log: its columns are name, age, and this run's data, ")


def test_tensorboards_reader_reads_the_log(reporters, tmp_path, figure):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert logged(reporters, reporters.reporter(f"tensorboard:{tmp_path}"), {"curve": figure}).reporter
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert [(x.step, x.value) for x in events.Scalars("loss")] == [(1, 1.5), (2, pytest.approx(1 / 3))]
    names = {"learning_rate", "loss", "seconds", "examples_per_second"}
    assert set(events.Tags()["scalars"]) == names
    (picture,) = events.Images("curve")
    assert (picture.width, picture.height) == (450, 300) and picture.encoded_image_string[1:4] == b"PNG"
    assert pytest.importorskip("matplotlib.image").imread(io.BytesIO(picture.encoded_image_string)).shape[:2] == (
        300,
        450,
    )
    (settings,) = (
        events.Tensors("settings/text_summary")
        if "settings/text_summary" in events.Tags()["tensors"]
        else (events.Tensors("settings"))
    )
    assert b"|batch_size|8|" in settings.tensor_proto.string_val[0]


WANDB = """
import sys
from types import SimpleNamespace
from {package}.reporters import Log, reporter
from matplotlib.figure import Figure
log = Log(SimpleNamespace(log=reporter("wandb:moons"), epochs=2, lr=0.5), data="moons")
for epoch in (1, 2):
    log.report(epoch, 100, 4.0, loss=1 / epoch)
log.end({{"curve": Figure(figsize=(3, 2))}})
print(log.reporter is not None)
"""


def with_wandb(reporters, folder, **settings):
    """Log a run to W&B, on a machine where nobody has an account or a network."""
    pytest.importorskip("wandb")
    nobody = "http://127.0.0.1:9"
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env |= {"HOME": str(folder), "WANDB_DIR": str(folder), "PYTHONPATH": os.getcwd(), "WANDB_CACHE_DIR": str(folder)}
    env |= {"https_proxy": nobody, "http_proxy": nobody, "NETRC": str(folder / "none"), **settings}
    code = WANDB.format(package=reporters.__package__)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=200
    )


def records_of(content):
    """The records in a file of W&B: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    at, record = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        record += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part of it
            yield record
            record = b""


def test_wandb_writes_a_run_that_can_be_sent_later(reporters, tmp_path):
    done = with_wandb(reporters, tmp_path, WANDB_MODE="offline")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    (run,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    losses, config = [], {}
    for record in map(Record.FromString, records_of(run.read_bytes())):
        config |= {item.key: item.value_json for item in record.run.config.update}
        losses += [item.value_json for item in record.history.item if (item.key or item.nested_key[0]) == "loss"]
    assert losses == ["1", "0.5"] or losses == ["1.0", "0.5"]
    assert config["lr"] == "0.5" and config["data"] == '"moons"'
    assert list(run.parent.glob("files/media/images/curve_*.png"))


def test_without_an_account_a_run_goes_on_with_one_warning(reporters, tmp_path):
    done = with_wandb(reporters, tmp_path)
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("--log: ")


def test_a_custom_reporter_gets_the_same(reporters, tmp_path, monkeypatch, figure):
    (tmp_path / "mine.py").write_text(
        "class Kept:\n"
        "    def __init__(self, text): self.text, self.told = text, []\n"
        "    def start(self, settings): self.told.append(settings)\n"
        "    def report(self, unit, number, figures): self.told.append((unit, number, figures['loss']))\n"
        "    def end(self, pictures): self.told.append(pictures)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    kept = logged(reporters, reporters.reporter("mine.Kept:some text"), {"curve": figure}).reporter
    assert kept.text == "some text"
    assert kept.told == [{"data": "moons"} | FLAGS, ("epoch", 1, 1.5), ("epoch", 2, 1 / 3), {"curve": figure}]


@pytest.mark.parametrize("when", ["start", "report", "end"])
def test_a_reporter_that_fails_is_one_warning_and_asked_no_more(when, reporters, capsys):
    told = []

    class Fails:
        def __getattr__(self, name):
            def tell(*arguments):
                told.append(name)
                if name == when:
                    raise OSError(28, "No space left\non device")

            return tell

    assert not logged(reporters, Fails(), {}).reporter
    assert (
        told == {"start": ["start"], "report": ["start", "report"], "end": ["start", "report", "report", "end"]}[when]
    )
    said = "--log: [Errno 28] No space left on device; from here on nothing is logged\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    "text, kind, why",
    [
        ("a.txt", ValueError, "wanted FILE.csv, tensorboard:FOLDER, wandb:PROJECT or module.Class:TEXT, got a.txt"),
        ("tensorboard:", ValueError, "wanted FILE.csv"),
        ("excel:a", ValueError, "wanted FILE.csv"),
        ("stage9.Mine:x", ImportError, "No module named 'stage9'"),
        ("math.Mine:x", ValueError, "math has no Mine"),
        ("wandb:x", ImportError, r"wandb is not installed here .*: pip install wandb"),
        ("tensorboard:x", ImportError, r"tensorboard is not installed here .*: pip install tensorboard"),
    ],
)
def test_what_names_no_reporter_is_refused(text, kind, why, reporters, monkeypatch):
    for name in ("wandb", "tensorboard.compat.proto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(kind, match=why):
        reporters.reporter(text)


def test_demos_log_all_epochs_and_their_picture(stage, tmp_path):
    """Of which there are more than the demo prints."""
    if stage.foreign or stage.number != 3:
        pytest.skip("as on stage3_nn: the text is the same")
    path = tmp_path / "runs" / "a.csv"
    demo = Demo(stage, tmp_path)
    assert demo.lines("moons", "--epochs", 30, "--log", path)[-1].startswith("Result: ")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 31))
    assert all(math.isfinite(float(row[name])) for row in rows for name in ("loss", "train_accuracy", "seconds"))
    assert np.allclose([float(row["learning_rate"]) for row in rows], 1 - 0.03 * np.arange(30))
    pytest.importorskip("matplotlib")
    assert (tmp_path / "runs" / "a-boundary.png").exists()


def test_gpt_logs_all_steps_and_its_picture(stage, tmp_path):
    if stage.foreign or stage.number != 3:
        pytest.skip("as on stage3_nn: the text is the same")
    path = tmp_path / "runs" / "a.csv"
    lines = Demo(stage, tmp_path).lines("gpt", "--steps", 30, "--log", path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == [
        *("data", "examples", "parameters", "steps", "lr", "seed", "step"),
        *("learning_rate", "loss", "seconds", "examples_per_second"),
    ]
    assert [int(row["step"]) for row in rows] == list(range(1, 31))
    assert np.allclose([float(row["learning_rate"]) for row in rows], 0.01 * (1 - np.arange(30) / 30))
    assert f"loss {float(rows[-1]['loss']):.4f} " in lines[-4]
    assert all(np.isclose(float(row["seconds"]) * float(row["examples_per_second"]), 1) for row in rows)
    pytest.importorskip("matplotlib")
    assert (tmp_path / "runs" / "a-attention.png").exists()


def test_an_invalid_log_is_refused_before_training(stage, tmp_path):
    if stage.foreign or stage.number != 3:
        pytest.skip("as on stage3_nn: the text is the same")
    (err,) = Demo(stage, tmp_path).refusals("moons", ["--log", "excel:a"])
    assert "error: argument --log: wanted FILE.csv, tensorboard:FOLDER, wandb:PROJECT or module.Class:TEXT" in err
