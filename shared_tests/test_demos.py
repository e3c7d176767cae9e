"""Every demo, run as its reader runs it: `python -m stage4_cnn.mnist`, most on the small digits and few steps."""

import ast
import math
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import without_gpu
from .test_data import records

capability = pytest.mark.capability
pytestmark = capability("demos")

ROOT = Path(__file__).resolve().parent.parent
MNIST = Path(os.environ.get("GRADUAL_DATA", ""), "mnist").resolve()
NOBODY = "http://127.0.0.1:9"  # a proxy where nobody listens stands for a machine without a network

moons = pytest.param("moons", id="moons")
gpt = pytest.param("gpt", id="gpt")
mnist = pytest.param("mnist", id="mnist", marks=capability("training"))
autoencoder = pytest.param("autoencoder", id="autoencoder", marks=capability("convolution"))
resnet = pytest.param("resnet", id="resnet", marks=capability("batch norm of images"))
DEMOS = pytest.mark.parametrize("name", [moons, gpt, mnist, autoencoder, resnet])
TRAINED = pytest.mark.parametrize("name", [mnist, autoencoder, resnet])


# Runs a module with each of some lists of flags, and prints its status and what it wrote to each stream.
IN_ONE_PROCESS = """
import ast, io, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
module = sys.argv[1]
for flags in ast.literal_eval(sys.stdin.read()):
    status, sys.argv[1:] = 0, flags
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):  # as Python does with what it is told at the end
                status = print(status, file=sys.stderr) or 1
    print((status, out.getvalue(), err.getvalue()))
"""


class Demo:
    """Runs the demos of one rung on a machine without a network, where `folder` holds the data."""

    def __init__(self, stage, folder, device="cpu"):
        self.package, self.folder = stage.name, folder
        self.flags = [] if device == "cpu" else ["--device", device]
        proxies = {"http_proxy": NOBODY, "https_proxy": NOBODY, "no_proxy": ""}
        self.env = {**os.environ, **proxies, "GRADUAL_DATA": str(folder)}
        self.env["OPENBLAS_NUM_THREADS"] = "1"  # products this small are slower on two
        if stage.number > 5:  # the kernels are those of rung 5, and would be compiled again
            self.env.setdefault("GRADUAL_KERNELS", "numpy")

    def start(self, name, *flags, **options):
        command = [sys.executable, "-m", f"{self.package}.{name}", *self.flags, *map(str, flags)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return subprocess.Popen(command, cwd=ROOT, env=self.env, **options)

    def run(self, name, *flags):
        """The status, the standard output and the standard error of a demo, without what a first run compiles."""
        process = self.start(name, *flags)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, without_compiling(err)

    def refusals(self, name, *runs, said=0):
        """What a demo says on standard error to each list of flags, all of which it refuses, in one process.

        `said` is how many lines it prints before.
        """
        done = subprocess.run(
            [sys.executable, "-c", IN_ONE_PROCESS, f"{self.package}.{name}"],
            input=repr([[*self.flags, *map(str, flags)] for flags in runs]),
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        ends = list(map(ast.literal_eval, done.stdout.splitlines()))
        assert [(status, out.count("\n")) for status, out, _ in ends] == [(1 if said else 2, said)] * len(runs)
        return [err for _, _, err in ends]

    def lines(self, name, *flags):
        """The lines of a demo that goes well."""
        status, out, err = self.run(name, *flags)
        assert (status, err) == (0, ""), err
        return out.splitlines()

    def figures(self, name, *flags):
        """The same without what the clock says."""
        return without_clock(self.lines(name, *flags))

    def usual(self, name, path=None):
        """The lines of a short run, which several tests look at, and in the file `path` the checkpoint that it left."""
        key = self.package, *self.flags, name
        if key not in USUAL:
            left = self.folder / "usual.npz"
            save = [] if name == "moons" else ["--save", left]
            USUAL[key] = self.lines(name, *small(name), *save), left.read_bytes() if save else None
            left.unlink(missing_ok=True)
        lines, checkpoint = USUAL[key]
        if path:
            path.write_bytes(checkpoint)
        return lines


USUAL = {}


def without_compiling(err):
    return re.sub(r"(?m)^\w+: compiling a kernel, once: .*\n", "", err)


def without_clock(lines):
    return [re.sub(r"( +[\d.]+ s .*/s|, in [\d.]+ s)$", "", line) for line in lines]


@pytest.fixture
def demo(stage, tmp_path_factory, request):
    """The demos, with 40 colour images to train on and 20 to test."""
    if stage.foreign:
        pytest.skip("not there: the ladder's own demos")
    folder = tmp_path_factory.mktemp("data")
    (folder / "cifar10").mkdir()
    for name, n in (("data_batch_1", 40), ("test_batch", 20)):
        (folder / "cifar10" / f"{name}.bin").write_bytes(records(n, range(10)))
    return Demo(stage, folder, request.config.getoption("device"))


def small(name):
    """Flags for a run of a second."""
    flags = {"moons": ["--epochs", 2], "gpt": ["--steps", 2], "resnet": ["--epochs", 2, "--batch-size", 20]}
    return flags.get(name, ["--data", "digits", "--epochs", 2, "--batch-size", 50])


# What they print


@pytest.mark.every_demo
@DEMOS
def test_a_demo_says_what_it_runs_then_a_line_an_epoch_then_the_result(name, demo):
    first, *epochs, result = demo.usual(name)
    what = {"moons": "Moons: 100 points", "gpt": "GPT: 4,005 names that ship with this package"}
    what["resnet"] = "CIFAR-10: 40 training and 20 test images, 272,474 parameters"
    assert first.startswith(what.get(name, "UCI digits: 1,500 training and 297 test images"))
    assert f"seed {42 if name == 'gpt' else 0}" in first and "parameters" in first
    if name == "gpt":
        *epochs, ten, ten_more = epochs
        assert re.fullmatch(r"New names:( [a-z]*,){10}( [a-z]*,){9} [a-z]*", re.sub(" +", " ", ten + ten_more))
    for i, line in enumerate(epochs):
        unit = "step" if name == "gpt" else "epoch"
        assert re.match(rf"{unit} {i + 1}/2   loss \d\.\d{{4}}   .* \d+\.\d\d s +[\d,]+/s$", line)
    assert len({line.index(" s ") for line in epochs}) == 1, "the columns stand under each other"
    assert result.startswith("Result: ")


@DEMOS
def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(name, demo):
    once = without_clock(demo.usual(name))
    assert demo.figures(name, *small(name), "--seed", 42 if name == "gpt" else 0) == once
    assert demo.figures(name, *small(name), "--seed", 4)[1:] != once[1:]


@pytest.mark.parametrize("epochs", [1, 7, 20, 21, 33, 60])
def test_of_many_epochs_about_twenty_are_reported_evenly_and_the_last(stage, capsys, epochs):
    for epoch in range(1, epochs + 1):
        stage.part("demo").report(epoch, epochs, 1, 1.0)
    said = [int(line[5:].partition("/")[0]) for line in capsys.readouterr().out.splitlines()]
    gaps = np.diff([0, *said])
    assert len(said) == min(epochs, 20) and said[-1] == epochs and gaps.max() - gaps.min() <= 1


@pytest.mark.every_demo
@pytest.mark.parametrize("name", [mnist, autoencoder])
def test_the_loss_and_the_accuracy_are_means_over_the_epoch(name, stage, demo):
    """At a rate of almost 0 they are those of the network as it began; the last batch is smaller than the others."""
    line = demo.lines(name, "--data", "digits", "--epochs", 1, "--batch-size", 400, "--lr", 1e-12)[1]
    package, module = stage.package, stage.part(name)
    images, labels = stage.part("datasets").digits("train")
    package.manual_seed(0)
    model = module.network()
    with package.no_grad():
        if name == "mnist":
            logits = model((images - 0.1307) / 0.3081)
            loss, hits = (
                package.nn.functional.cross_entropy(logits, labels),
                (logits.argmax(1) == labels).float().mean(),
            )
            assert f"train {hits:7.2%}" in line
        else:
            pixels = images.flatten(1)
            loss = ((model(pixels) - pixels) ** 2).mean()
    assert float(re.search(r"loss (\S+)", line)[1]) == pytest.approx(loss.item(), abs=2e-4)


@capability("training")
def test_where_mnist_can_not_be_had_one_line_says_so(demo):
    said, *lines = demo.lines("mnist", "--epochs", 1, "--batch-size", 500)
    assert re.match(r"No MNIST \(.+\): running on the small digits that ship with this package$", said)
    assert len(said) <= 100 and len(lines) == 3
    assert lines[0].startswith("UCI digits: 1,500 training and 297 test images")
    assert lines[-1].startswith("Result: test accuracy ")


@capability("attention")
@pytest.mark.parametrize("name", ["gpt"])
def test_without_shakespeare_one_line_says_so_and_the_next_which_names_there_are(name, demo):
    process = demo.start(name, "--data", "shakespeare")
    said = [process.stdout.readline() for _ in range(2)]
    process.kill()
    process.communicate()
    assert re.match(r"No Shakespeare \([^[]+\): running on names$", said[0])
    assert said[1].startswith("GPT: 4,005 names that ship with this package (no full list: ")


@capability("batch norm of images")
def test_without_colour_images_one_line_says_so_and_the_digits_are_in_three_channels(stage, demo):
    shutil.rmtree(demo.folder / "cifar10")
    process = demo.start("resnet")
    said = [process.stdout.readline() for _ in range(2)]
    process.kill()
    process.communicate()
    assert re.match(r"No CIFAR-10 \(.+\): running on the small digits that ship with this package$", said[0])
    assert len(said[0]) <= 102 and said[1].startswith("UCI digits: 1,500 training and 297 test images, 272,474 par")
    digits = stage.part("datasets").digits("test")
    coloured = stage.part("resnet").coloured(stage.part("utils.data").TensorDataset(*digits))
    assert coloured[:3][0].shape == (3, 3, 28, 28)
    with stage.package.no_grad():
        assert stage.part("resnet").ResNet20()(coloured[:3][0]).shape == (3, 10)


def test_moons_are_told_apart_by_every_rung(stage, demo):
    """In 200 epochs; rung 1 is slow, and a quarter of them is enough."""
    flags, epochs = (["--epochs", 50], 50) if stage.number == 1 else ([], 200)
    *lines, result = demo.lines("moons", *flags)
    assert len(lines) == 21 and lines[-1].startswith(f"epoch {epochs}/{epochs} ")
    assert result.startswith("Result: train accuracy 100.00%")
    assert float(re.search(r"fresh points ([\d.]+)%", result)[1]) >= 90


def test_moons_take_the_same_first_steps_on_the_first_two_rungs(stage, demo):
    """The same points, weights and mathematics; rung 2 does it in float32, which may differ in the last digit shown."""
    if stage.number != 2:
        pytest.skip("rung 2 is compared with rung 1; from rung 3 on, nn draws the initial weights")
    losses = {}
    for demo.package in ("stage1_scalar", stage.name):
        printed = "\n".join(demo.lines("moons", "--epochs", 3))
        losses[demo.package] = [float(loss) for loss in re.findall(r"loss (\S+)", printed)]
    below, here = losses.values()
    assert len(set(below)) == 3
    assert here == pytest.approx(below, abs=2e-4)


def test_micrograds_moons_loop_runs_on_rung_1_with_only_the_import_changed(stage):
    """10 steps of the loop in micrograd's demo notebook: every loss is the one that micrograd's own engine gives."""
    if stage.number != 1:
        pytest.skip("micrograd's networks of single numbers are those of rung 1")
    engine = pytest.importorskip("micrograd.engine")
    nn = pytest.importorskip("micrograd.nn")
    ours = stage.part("moons")

    def losses(Value, MLP):
        X, y = map(np.array, ours.make_moons(n=20))
        random.seed(1337)
        model = MLP(2, [16, 16, 1])
        for k in range(10):
            inputs = [list(map(Value, xrow)) for xrow in X]
            scores = list(map(model, inputs))
            losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]
            data_loss = sum(losses) * (1.0 / len(losses))
            alpha = 1e-4
            reg_loss = alpha * sum(p * p for p in model.parameters())
            total_loss = data_loss + reg_loss
            model.zero_grad()
            total_loss.backward()
            learning_rate = 1.0 - 0.9 * k / 100
            for p in model.parameters():
                p.data -= learning_rate * p.grad
            yield total_loss.data

    mine = list(losses(stage.package.Value, ours.MLP))
    np.testing.assert_allclose(mine, list(losses(engine.Value, nn.MLP)), rtol=1e-9)


@capability("training")
def test_a_damaged_mnist_is_named_and_not_trained_on(demo):
    (demo.folder / "mnist").mkdir()
    (demo.folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b damaged")
    status, out, err = demo.run("mnist", "--epochs", 1)
    assert status == 1 and out == ""
    assert re.match(r"MNIST can't be used: .*train-images-idx3-ubyte.gz: damaged or another file", err)


@capability("batch norm of images")
def test_damaged_colour_images_are_named_and_not_trained_on(demo):
    (demo.folder / "cifar10" / "test_batch.bin").write_bytes(bytes(3072))
    status, out, err = demo.run("resnet", "--epochs", 1)
    assert (status, out) == (1, "")
    assert re.match(r"CIFAR-10 can't be used: .*test_batch.bin: wanted whole records of 3,073 bytes, found 3,072", err)


@capability("training")
def test_the_digits_are_learned(demo):
    result = demo.lines("mnist", "--data", "digits")[-1]
    assert float(re.search(r"test accuracy ([\d.]+)%", result)[1]) > 80


@capability("convolution")
def test_the_autoencoder_beats_the_mean_digit(demo):
    result = demo.lines("autoencoder", "--data", "digits", "--epochs", 10)[-1]
    assert float(re.search(r"([\d.]+) times as much", result)[1]) > 1.5


# Flags


@DEMOS
def test_a_terminal_without_a_sign_shows_another(name, demo):
    demo.env |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert demo.lines(name, "--help")[0].startswith("usage: ")


def test_without_docstrings_a_demo_runs(demo):
    demo.env["PYTHONOPTIMIZE"] = "2"
    assert demo.lines("moons", "--help")[0].startswith("usage: ")


@DEMOS
def test_a_flag_that_makes_no_sense_is_refused(name, demo):
    wanted = {
        ("--epochs", "-3"): "a whole number of at least 1, got -3",
        ("--epochs", "0"): "a whole number of at least 1, got 0",
        ("--epochs", "two"): "a whole number of at least 1, got two",
        ("--lr", "0"): "a number above 0, got 0",
        ("--lr", "nan"): "a number above 0, got nan",
        ("--lr", "fast"): "a number above 0, got fast",
        ("--seed", "-1"): "a whole number of at least 0, got -1",
        ("--epochs", str(10**20)): f"a whole number of at most 18 digits, got {10**20}",
        ("--seed", "9" * 5000): f"a whole number of at most 18 digits, got {'9' * 100}…",
        ("--lr", "9" * 5000): f"a number above 0, got {'9' * 100}…",
    }
    if name == "gpt":
        wanted = {(flag.replace("epochs", "steps"), value): rule for (flag, value), rule in wanted.items()}
    for (flag, _), rule, err in zip(wanted, wanted.values(), demo.refusals(name, *wanted)):
        assert err.splitlines()[-1].endswith(f"error: argument {flag}: wanted {rule}")


@TRAINED
def test_a_flag_of_training_that_makes_no_sense_is_refused(name, demo):
    wanted = {
        ("--batch-size", "0"): "wanted a whole number of at least 1, got 0",
        ("--data", "cifar"): "invalid choice: 'cifar'",
        ("--save", "nowhere/run.npz"): "there is no folder nowhere",
        ("--save", "x" * 5000): f"{'x' * 100}…: File name too long",
        ("--save", str(demo.folder)): f"{demo.folder} is a folder, a pipe or a device, no file",
        ("--save", os.devnull): f"{os.devnull} is a folder, a pipe or a device, no file",
    }
    if Path("/proc").exists():
        wanted["--save", "/proc/run.npz"] = "/proc/run.npz: "  # where nobody may write
    for (flag, _), rule, err in zip(wanted, wanted.values(), demo.refusals(name, *wanted)):
        assert f"error: argument {flag}: {rule}" in err


@capability("devices")
@DEMOS
def test_a_device_that_is_not_there_is_refused_before_training(name, demo):
    wanted = {("--device", "tpu"): "wanted 'cpu' or 'cuda', got 'tpu'"}
    if without_gpu():
        wanted["--device", "cuda"] = r"cuda: .*(pip install \"\./stage\d_\w+\[cuda13\]|found no)"
    for rule, err in zip(wanted.values(), demo.refusals(name, *wanted)):
        assert re.search(f"error: argument --device: .*{rule}", err)


# Pictures, bars and what they need


@DEMOS
def test_a_plot_is_a_picture_with_something_in_it(name, demo, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    demo.lines(name, *small(name), "--plot", tmp_path / "plot.png")
    picture = image.imread(tmp_path / "plot.png")
    assert min(picture.shape[:2]) > 300 and picture.std() > 0.1


@DEMOS
def test_a_plot_that_can_not_be_written_is_refused_before_training(name, demo):
    pytest.importorskip("matplotlib")
    wanted = {"plot.doc": "wanted a file ending in one of", "no/plot.png": "no folder no"}
    wanted["x" * 300 + ".png"] = "x…: File name too long"
    if not shutil.which("xelatex"):
        wanted["plot.pgf"] = "matplotlib draws no .pgf here: 'xelatex' not found"
    for rule, err in zip(wanted.values(), demo.refusals(name, *[[*small(name), "--plot", file] for file in wanted])):
        assert rule in err


@pytest.fixture
def bare(demo, tmp_path):
    """The demo where none of the optional packages is installed."""
    for package in ("PIL", "matplotlib", "pooch", "pygraphviz", "tensorboard", "tqdm", "wandb"):
        (tmp_path / "bare" / package).mkdir(parents=True)
        (tmp_path / "bare" / package / "__init__.py").write_text(f"raise ImportError('no {package} here')")
    demo.env["PYTHONPATH"] = str(tmp_path / "bare")
    return demo


@DEMOS
def test_a_demo_runs_without_the_optional_packages(name, bare):
    assert bare.lines(name, *small(name))[-1].startswith("Result: ")


@DEMOS
def test_a_plot_without_matplotlib_says_what_to_install_before_training(name, bare):
    status, out, err = bare.run(name, *small(name), "--plot", "plot.png")
    assert (status, out) == (2, "") and "pip install matplotlib" in err


@DEMOS
def test_a_terminal_shows_a_bar_and_keeps_every_line(name, demo):
    pytest.importorskip("tqdm")
    pty, termios, fcntl = map(pytest.importorskip, ("pty", "termios", "fcntl"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))  # rows and columns
    process = demo.start(name, *small(name), stdout=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # Linux says so at the end
            break
    os.close(ours)
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()
    text = shown.decode()
    assert re.search(r"\d+%\|", text)
    assert len(re.findall(r"(?:epoch|step) [12]/2   loss", text)) == 2 and "Result: " in text


# Stopping and going on


def slow(name, stage):
    """Flags for a run of some seconds: many small steps, or fewer where a step is a network's of images."""
    if name == "resnet":
        return ["--epochs", 3, "--batch-size", 4, "--lr", 0.01]
    return ["--data", "digits", "--epochs", 3, "--batch-size", 5 if stage.number == 3 else 15]


def stop_after(process, line, how):
    """Send a signal once a line that begins so has been printed; the status and what was said on standard error."""
    for printed in process.stdout:
        if printed.startswith(line):
            process.send_signal(how)
            break
    else:
        pytest.fail(f"{line!r} was never printed: {process.stderr.read()}")
    err = process.communicate(timeout=60)[1]
    return process.returncode, err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_with_a_sentence(how, demo):
    epochs = 60 if demo.package == "stage1_scalar" else 10_000
    status, err = stop_after(demo.start("moons", "--epochs", epochs), "epoch ", how)
    assert (status, err) == (130, "\nStopped.\n")


@TRAINED
def test_a_resumed_run_gives_the_numbers_of_one_never_stopped(name, stage, demo, tmp_path):
    """Stopped in two ways, in two files: by Ctrl-C in its second epoch, and gone on with, killed in its third."""
    load, never = stage.package.load, tmp_path / "never.npz"
    wanted = demo.figures(name, *slow(name, stage), "--save", never)
    resume = []
    for done, how, file in (1, signal.SIGINT, "stopped.pt"), (2, signal.SIGKILL, "killed.safetensors"):
        path = tmp_path / file
        process = demo.start(name, *slow(name, stage), *resume, "--save", path)
        status, err = stop_after(process, f"epoch {done}/3", how)
        assert status == (130 if how == signal.SIGINT else -signal.SIGKILL)
        if how == signal.SIGINT:
            kept = f"{path} holds the run up to its last whole epoch: add --resume {path}"
            assert err == f"\nStopped.\n{kept}\n"
        assert done <= load(path)["run"]["done"] < 3, "the run was stopped too late to show anything"
        resume = ["--resume", path]

    resumed = demo.figures(name, *slow(name, stage), "--resume", path, "--save", path)
    assert resumed[-2:] == wanted[-2:]
    assert as_lists(load(path)) == as_lists(load(never))


def as_lists(state):
    """What a checkpoint holds, without Tensors."""
    if isinstance(state, dict):
        return {key: as_lists(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [as_lists(value) for value in state]
    return state.tolist() if hasattr(state, "tolist") else state


@TRAINED
def test_a_finished_run_resumed_gives_its_result_again_but_not_to_a_run_set_up_otherwise(name, demo, tmp_path):
    path = tmp_path / "run.npz"
    wanted = without_clock(demo.usual(name, path))
    assert demo.figures(name, *small(name), "--resume", path) == [wanted[0], wanted[-1]]

    resumed = [*small(name), "--resume", path]
    others = {("--epochs", 1): "epochs 2, this one has 1", ("--seed", 1): "seed 0, this one has 1"}
    others["--lr", 0.5] = r"lr [\d.]+, this one has 0\.5"
    for rule, err in zip(others.values(), demo.refusals(name, *[[*resumed, *flags] for flags in others], said=1)):
        assert re.match(rf"--resume .*run\.npz: that run had {rule}$", err)


@TRAINED
def test_a_finished_run_goes_on_where_more_epochs_are_asked_for(name, demo, tmp_path):
    path = tmp_path / "run.npz"
    demo.usual(name, path)
    _, said, third, _ = demo.figures(name, *small(name), "--epochs", 3, "--resume", path, "--save", path)
    assert said == "3 epochs instead of 2: the rest at the learning rates of so long a run"
    assert third.startswith("epoch 3/3 ")
    assert len(demo.figures(name, *small(name), "--epochs", 3, "--resume", path)) == 2, "it is a run of three now"


@TRAINED
def test_what_can_not_be_resumed_is_named(name, demo, tmp_path):
    (tmp_path / "text.npz").write_bytes(b"not a checkpoint")
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    wanted = {"none.npz": "No such file", "text.npz": "is not a whole .npz file"}
    wanted["arrays.npz"] = "not written by this demo"
    paths = [tmp_path / file for file in wanted]
    refusals = demo.refusals(name, *[[*small(name), "--resume", path] for path in paths], said=1)
    for path, rule, err in zip(paths, wanted.values(), refusals):
        assert err.startswith(f"--resume {path}: ") and rule in err


@TRAINED
def test_a_file_that_holds_a_run_is_not_begun_anew(name, demo, tmp_path):
    """Whatever is in it."""
    path, link = tmp_path / "run.npz", tmp_path / "link.npz"
    path.write_bytes(b"somebody's thesis")
    link.symlink_to(path)
    for file, err in zip(
        (path, link), demo.refusals(name, ["--save", path], ["--save", link, "--resume", "other.npz"])
    ):
        assert err.endswith(f"argument --save: {file} is there already: add --resume {file}, or name another file\n")
    assert path.read_bytes() == b"somebody's thesis"


@TRAINED
def test_a_run_with_invalid_state_is_not_resumed(name, stage, demo, tmp_path):
    """Each is refused before training, in one sentence that names what is wrong."""
    load, save, path = stage.package.load, stage.package.save, tmp_path / "run.npz"
    demo.usual(name, path)
    spoilt = [
        ("run", "done", 3, "of that run's 2 epochs 3 are done"),
        ("run", "done", -1, "of that run's 2 epochs -1 are done"),
        ("run", "done", "two", "of that run's 2 epochs two are done"),
        ("run", "done", True, "of that run's 2 epochs True are done"),
        ("run", "seed", "\x1b[2J" * 99, r"that run had seed \x1b[2J"),
        ("optimizer", "param_groups", [{}], f"{'SGD' if name == 'resnet' else 'Adam'}: wanted lr"),
        ("scheduler", "last_epoch", math.nan, "LambdaLR: the loaded last_epoch: wanted a number, got nan"),
    ]
    paths = [tmp_path / f"{i}.npz" for i in range(len(spoilt))]
    for file, (part, key, value, _) in zip(paths, spoilt):
        run = load(path)
        run[part][key] = value
        save(run, file)
    refusals = demo.refusals(name, *[[*small(name), "--resume", file] for file in paths], said=1)
    for file, (*_, rule), err in zip(paths, spoilt, refusals):
        assert err.startswith(f"--resume {file}: {rule}") and err[:-1].isprintable()


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="not there: /dev/full")


@TRAINED
@FULL
def test_a_disk_that_is_full_costs_the_last_epoch_alone(name, stage, demo, tmp_path):
    """The first write succeeds, at the start, and each one after it fails."""
    code = f"""
import os, runpy, sys
written, sync = [], os.fsync
def fsync(number):
    written.append(number)
    if len(written) > 2:
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    sync(number)
os.fsync = fsync
runpy.run_module("{stage.name}.{name}", run_name="__main__", alter_sys=True)
"""
    flags = [*small(name), "--save", tmp_path / "run.npz"]
    command = [sys.executable, "-c", code, *demo.flags, *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, env=demo.env, capture_output=True, text=True)
    said = f"--save {tmp_path / 'run.npz'}: No space left on device; what was there is there still\n"
    assert (done.returncode, without_compiling(done.stderr)) == (1, said)
    assert stage.package.load(tmp_path / "run.npz")["run"]["done"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


# What takes no more


@DEMOS
def test_training_that_has_become_nan_says_so_at_once_and_leaves_what_was_saved(name, stage, demo, tmp_path):
    flags = ["--epochs", 4] if name == "moons" else ["--save", tmp_path / "run.npz"]
    status, out, err = demo.run(name, *small(name), *flags, "--lr", 1e200 if name == "gpt" else 1e38)
    assert status == 1 and "Result" not in out
    assert re.search(r"(?m)^Stopped in (epoch|step) [1-3]: the loss or a weight has become infinite or NaN", err)
    if name != "moons":
        state = stage.part("demo").load(tmp_path / "run.npz")
        assert state["run"]["done"] < 2 and all(np.isfinite(as_lists(x)).all() for x in state["model"].values())


def test_where_nobody_reads_on_it_ends_without_a_word(demo):
    process = demo.start("moons", "--epochs", 3)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(60) == 141
    process.stderr.close()


@FULL
def test_a_full_device_ends_it_with_a_sentence_and_a_closed_output_not_at_all(demo):
    with open("/dev/full", "w") as full:
        process = demo.start("moons", "--epochs", 3, stdout=full)
        assert process.communicate() == (None, "moons.py: [Errno 28] No space left on device\n")
        assert process.returncode == 1
    if os.name == "posix":
        process = demo.start("moons", "--epochs", 3, stdout=None, preexec_fn=lambda: os.close(1))
        assert process.communicate() == (None, "") and process.returncode == 0


@DEMOS
@FULL
def test_a_picture_that_can_not_be_finished_leaves_the_one_before(name, stage, demo, tmp_path):
    pytest.importorskip("matplotlib")
    code = f"""
import runpy, sys, os
from matplotlib.figure import Figure
drawn, savefig = [], Figure.savefig
def fail(figure, file, **options):
    drawn.append(file)
    if len(drawn) > 1:  # the first is tried before training
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    savefig(figure, file, **options)
Figure.savefig = fail
runpy.run_module("{stage.name}.{name}", run_name="__main__", alter_sys=True)
"""
    path = tmp_path / "plot.png"
    path.write_bytes(b"before")
    command = [sys.executable, "-c", code, *demo.flags, *map(str, small(name)), "--plot", path]
    done = subprocess.run(command, cwd=ROOT, env=demo.env, capture_output=True, text=True)
    assert (done.returncode, without_compiling(done.stderr)) == (1, f"--plot {path}: No space left on device\n")
    assert done.stdout.splitlines()[-1].startswith("Result: ")
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


# MNIST itself


@pytest.fixture
def real(demo):
    """The demo where `$GRADUAL_DATA` holds MNIST."""
    if not (MNIST / "train-images-idx3-ubyte.gz").exists():
        pytest.skip("needs MNIST in $GRADUAL_DATA")
    demo.env["GRADUAL_DATA"] = str(MNIST.parent)
    del demo.env["OPENBLAS_NUM_THREADS"]
    return demo


@capability("training")
def test_mnist_is_read_as_well_as_promised(stage, real, request):
    """Rung 3: the perceptron, at least 97.5 % after its 5 epochs. Above: the CNN, at least 98.7 % after one."""
    if stage.number == 4 and not request.config.getoption("whole"):
        pytest.skip("half a minute: rung 5 trains the same network")
    flags, wanted = ([], 97.5) if stage.number == 3 else (["--epochs", 1], 98.7)
    first, *_, result = real.lines("mnist", *flags)
    assert first.startswith("MNIST: 60,000 training and 10,000 test images")
    assert float(re.match(r"Result: test accuracy ([\d.]+)%", result)[1]) >= wanted


@capability("convolution")
def test_the_autoencoder_beats_the_mean_image_of_mnist_threefold(stage, real):
    if stage.number > 4:
        pytest.skip("half a minute, on stage 4: the digits are enough for the same text with kernels")
    result = real.lines("autoencoder")[-1]
    assert float(re.search(r"([\d.]+) times as much", result)[1]) >= 3
