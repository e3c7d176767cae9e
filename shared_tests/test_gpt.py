"""microgpt's model on every rung: the losses that it was published with, and those of the same model in PyTorch."""

import json
import math
import os
import random
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from .test_demos import NOBODY, Demo, as_lists, stop_after

# Demos run in processes of their own, where no stand-in for a device is known.
pytestmark = [pytest.mark.capability("demos"), pytest.mark.host]

TEXT = Path(os.environ.get("GRADUAL_DATA", ""), "text", "names.txt").resolve()
MATRICES = "token", "position", "output", "query", "key", "value", "projection", "linear1", "linear2"


@pytest.fixture
def demo(stage, tmp_path, request):
    if stage.foreign:
        pytest.skip("not there: the ladder's own demos")
    return Demo(stage, tmp_path, request.config.getoption("device"))


@pytest.mark.every_demo
def test_the_first_losses_are_those_that_microgpt_was_published_with(demo):
    if not TEXT.is_file():
        pytest.skip("needs text/names.txt in $GRADUAL_DATA")
    demo.env["GRADUAL_DATA"] = str(TEXT.parent.parent)
    process = demo.start("gpt")
    lines = [process.stdout.readline() for _ in range(6)]
    process.kill()
    process.communicate()
    assert lines[0].startswith("GPT: 32,033 names, 100 of them to test, 4,192 parameters, seed 42")
    losses = [re.match(r"step +\d/1000   loss (\S+) ", line)[1] for line in lines[1:]]
    assert losses == ["3.3660", "3.4243", "3.1778", "3.0664", "3.2209"]


def test_names_ship_with_the_rung_and_say_where_they_are_from(stage, monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOBODY)
    monkeypatch.setenv("GRADUAL_DATA", str(tmp_path))
    what, shipped = stage.part("demo").names()
    why = " (no full list: Connection refused)" if stage.number > 2 else ""
    assert what == f"4,005 names that ship with this package{why}"
    assert len(shipped) == 4005 and all(re.fullmatch("[a-z]{2,15}", name) for name in shipped)
    beside = Path(stage.package.__file__).with_name("names.LICENSE").read_text()
    assert "karpathy/makemore" in beside and "MIT License" in beside
    if TEXT.is_file():
        assert shipped == TEXT.read_text().split()[::8]


def test_a_damaged_list_of_names_is_named_and_not_trained_on(demo):
    (demo.folder / "text").mkdir()
    path = demo.folder / "text" / "names.txt"
    path.write_text("emma\nolivia\n" * 17549)
    status, out, err = demo.run("gpt")
    assert status == 1 and out == ""
    assert err.startswith(f"{path}: damaged or another file: ")


class Torchs(torch.nn.Module):
    """The same model, of PyTorch's own parts, in float64, from weights by the name of their matrix."""

    def __init__(self, weights):
        super().__init__()
        shapes = {name: (16, 16) for name in MATRICES}
        shapes |= {"token": (27, 16), "output": (27, 16), "linear1": (64, 16), "linear2": (16, 64)}
        for name, shape in shapes.items():
            setattr(self, name, torch.nn.Parameter(torch.tensor(weights[name], dtype=torch.float64).reshape(shape)))

    def forward(self, tokens):
        def normed(x):
            return F.rms_norm(x, (16,), eps=1e-5)

        x = normed(self.token[tokens] + self.position[: len(tokens)])
        q, k, v = ((normed(x) @ w.T).unflatten(-1, (4, 4)).transpose(0, 1) for w in (self.query, self.key, self.value))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + heads.transpose(0, 1).flatten(1) @ self.projection.T
        return (x + (normed(x) @ self.linear1.T).relu() @ self.linear2.T) @ self.output.T


def torchs_loss(model, name):
    tokens = torch.tensor([26, *[ord(letter) - 97 for letter in name], 26])
    return F.cross_entropy(model(tokens[:-1]), tokens[1:])


def by_matrix(state):
    """A state's arrays, flat, by the name of their matrix."""
    return {name.partition(".")[0]: np.ravel(as_lists(numbers)) for name, numbers in state.items()}


@pytest.mark.every_demo
@pytest.mark.parametrize("name", ["emma", "abcdefghijklmno"])
def test_the_loss_and_its_gradients_are_pytorchs(stage, name):
    """Also of the longest name there can be."""
    gpt = stage.part("gpt")
    random.seed(1)
    model = gpt.GPT()
    theirs = Torchs(by_matrix(model.state_dict()))
    loss, wanted = gpt.loss_of(model, name), torchs_loss(theirs, name)
    loss.backward()
    wanted.backward()
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if stage.number == 1 else {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(loss.item(), wanted.item(), **tolerance)
    got = np.concatenate([np.ravel(as_lists(p.grad) or 0.0) for p in model.parameters()])
    np.testing.assert_allclose(
        got, np.concatenate([getattr(theirs, matrix).grad.ravel() for matrix in MATRICES]), **tolerance
    )


@pytest.mark.every_demo
def test_it_trains_as_in_pytorch(stage, demo, tmp_path):
    """The whole demo: its names in their order, its weights as drawn, Adam and its rate, against PyTorch's."""
    steps, path = 8, tmp_path / "run.npz"
    demo.lines("gpt", "--steps", steps, "--seed", 3, "--lr", 0.02, "--save", path)
    state = stage.part("demo").load(path)
    names = (Path(stage.package.__file__).with_name("names.txt")).read_text().split()
    random.seed(3)
    random.shuffle(names)
    sizes = dict.fromkeys(MATRICES, 256) | {"token": 432, "output": 432, "linear1": 1024, "linear2": 1024}
    theirs = Torchs({name: [random.gauss(0, 0.08) for _ in range(sizes[name])] for name in MATRICES})
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.02, betas=(0.85, 0.99))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    losses = []
    for name in names[:steps]:
        loss = torchs_loss(theirs, name)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    tolerance = 1e-9 if stage.number == 1 else 1e-4
    np.testing.assert_allclose(state["losses"]["losses"], losses, rtol=tolerance)
    for name, weight in by_matrix(state["model"]).items():
        wanted = getattr(theirs, name).detach().numpy().ravel()
        np.testing.assert_allclose(weight, wanted, rtol=tolerance, atol=tolerance, err_msg=name)


# The prompt


@pytest.mark.parametrize("prompt", ["ka", "abcdefghijklmno"])
def test_new_names_begin_with_the_prompt(demo, prompt):
    *_, ten, ten_more, _ = demo.lines("gpt", "--steps", 1, "--prompt", prompt)
    names = re.findall("[a-z]+", ten.removeprefix("New names: ") + ten_more)
    assert len(names) == 20 and all(name.startswith(prompt) and len(name) <= 16 for name in names)


def test_a_prompt_that_the_network_can_not_read_is_refused(demo):
    prompts = "Ka", "k1", "kä", "k a", "a" * 16
    for prompt, err in zip(prompts, demo.refusals("gpt", *[["--prompt", prompt] for prompt in prompts])):
        assert f"error: argument --prompt: wanted at most 15 letters, each from a to z, got {prompt}\n" in err


# Stopping and going on


def test_the_first_five_steps_have_lines_and_about_twenty_of_all(stage):
    due = stage.part("demo").due
    assert [step for step in range(1, 1001) if due(step, 1000, "step")] == [1, 2, 3, 4, 5, *range(50, 1001, 50)]
    assert all(due(step, 7, "step") for step in range(1, 8))


def test_a_resumed_run_gives_the_numbers_of_one_never_stopped(stage, demo, tmp_path):
    load, never = stage.part("demo").load, tmp_path / "never.npz"
    flags = ["--steps", 40 if stage.number == 1 else 400]
    wanted = demo.figures("gpt", *flags, "--save", never)
    for how in (signal.SIGINT, signal.SIGKILL):
        path = tmp_path / f"{how.name}.npz"
        status, err = stop_after(demo.start("gpt", *flags, "--save", path), f"step {5:{len(str(flags[1]))}}/", how)
        assert status == (130 if how == signal.SIGINT else -signal.SIGKILL)
        if how == signal.SIGINT:
            assert err == f"\nStopped.\n{path} holds the run up to its last line: add --resume {path}\n"
        assert 5 <= load(path)["run"]["done"] < flags[1], "the run was stopped too late to show anything"
        resumed = demo.figures("gpt", *flags, "--resume", path, "--save", path)
        assert resumed[-4:] == wanted[-4:]
        assert as_lists(load(path)) == as_lists(load(never))


def test_a_finished_run_makes_up_names_at_once_and_can_be_given_more_steps(demo, tmp_path):
    path = tmp_path / "run.npz"
    wanted = demo.figures("gpt", "--steps", 2, "--save", path)
    assert demo.figures("gpt", "--steps", 2, "--resume", path) == [wanted[0], *wanted[-3:]]
    _, said, third, *_ = demo.figures("gpt", "--steps", 3, "--resume", path)
    assert said == "3 steps instead of 2: the rest at the learning rates of so long a run"
    assert third.startswith("step 3/3 ")


def test_a_run_with_invalid_state_is_not_resumed(stage, demo, tmp_path):
    part, path = stage.part("demo"), tmp_path / "run.npz"
    demo.lines("gpt", "--steps", 2, "--save", path)
    spoilt = [
        ("run", "done", 3, "of that run's 2 steps 3 are done"),
        ("run", "seed", 1, "that run had seed 1, this one has 42"),
        ("run", "examples", 9, "that run had examples 9, this one has 3905"),
        ("losses", "losses", [1.0, "x"], "wanted a list of numbers as losses"),
        ("losses", "losses", [1.0, math.nan], "wanted a list of numbers as losses"),
        ("losses", "losses", 1.0, "wanted a list of numbers as losses"),
    ]
    if stage.number < 3:  # from there on the modules and optimizers say so, and test_checkpoints.py asks them
        spoilt += [
            ("model", "token", [0.5], "wanted 432 numbers as token, got 1"),
            ("model", "token", None, "wanted a list of numbers as token"),
            ("optimizer", "mean", [math.inf] * 4192, "wanted a list of numbers as mean"),
            ("optimizer", "square", [0.0] * 4191, "wanted 4192 numbers as square, got 4191"),
        ]
    paths = [tmp_path / f"{i}.npz" for i in range(len(spoilt))]
    for file, (name, key, value, _) in zip(paths, spoilt):
        run = part.load(path)
        run[name][key] = value
        part.save(run, file)
    refusals = demo.refusals("gpt", *[["--steps", 2, "--resume", file] for file in paths], said=1)
    for file, (*_, rule), err in zip(paths, spoilt, refusals):
        assert err == f"--resume {file}: {rule}\n"


def test_a_file_that_is_no_checkpoint_is_reported(stage, demo, tmp_path):
    """Of rungs 1 and 2, whose files are JSON."""
    if stage.number > 2:
        pytest.skip("from rung 3 on the files are those of test_checkpoints.py")
    wanted = {
        "text": (b"not a checkpoint", "is not a whole JSON file: "),
        "half": (b'{"run": {"done": 1', "is not a whole JSON file: "),
        "bytes": (b"\xff\xfe", "is not a whole JSON file: "),
        "deep": (b"[" * 100_000, "maximum recursion depth exceeded"),
        "list": (b"[]", "not written by this demo: it holds nothing of the run"),
        "other": (json.dumps({"run": {}}).encode(), "not written by this demo: it holds nothing of the model"),
    }
    for name, (content, _) in wanted.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in (*wanted, "none", ".")]
    rules = [*[rule for _, rule in wanted.values()], "No such file", "a folder, a pipe or a device, no file"]
    for file, rule, err in zip(files, rules, demo.refusals("gpt", *[["--resume", file] for file in files], said=1)):
        assert err.startswith(f"--resume {file}: {rule}") and err.count("\n") == 1
