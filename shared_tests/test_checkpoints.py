"""Checkpoints: what is written is read again, here and by PyTorch, and neither a kill nor a bad file does harm."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.numpy")

pytestmark = pytest.mark.capability("checkpoints")

SUFFIXES = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])


@pytest.fixture
def data(stage):
    if stage.foreign:
        pytest.skip("not there: the data of the ladder's own networks")
    return stage.part("data")


@pytest.fixture(autouse=True)
def seeds(data, stage):
    torch.manual_seed(0)
    stage.part("nn").manual_seed(0)


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def networks(stage):
    """One network twice: ours, and PyTorch's with other weights. Batch norm has buffers, an integer among them."""
    ours, theirs = (
        nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 3))
        for nn in (stage.part("nn"), torch.nn)
    )
    return ours, theirs


def outputs(stage, ours, theirs):
    """What both make of the same input, in evaluation."""
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    return ours.eval()(stage.package.Tensor(x)).numpy(), theirs.eval()(torch.from_numpy(x)).detach().numpy()


# There and back


@SUFFIXES
def test_arrays_come_back_as_they_were(suffix, data, tmp_path):
    state = {
        "0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "number": np.array(3),
        "empty": np.zeros((0, 4), np.float32),
        "mask": np.array([True, False]),
        "file": np.array([1, 2], np.uint8),
    }
    data.save(state, tmp_path / f"state{suffix}")
    loaded = data.load(tmp_path / f"state{suffix}")
    same(dict(sorted(loaded.items())), dict(sorted(state.items())))


def test_tensors_are_saved_by_their_arrays(stage, data, tmp_path):
    data.save({"x": stage.package.Tensor([1.0, 2.0])}, str(tmp_path / "x.npz"))
    same(data.load(str(tmp_path / "x.npz")), {"x": np.array([1, 2], np.float32)})


def test_numpy_and_safetensors_read_what_was_saved_and_are_read(data, tmp_path):
    state = {"0.weight": np.arange(4.0), "0.bias": np.array([5], np.int64)}
    data.save(state, tmp_path / "ours.npz")
    same(dict(np.load(tmp_path / "ours.npz")), state)
    np.savez_compressed(tmp_path / "theirs.npz", **state)
    same(data.load(tmp_path / "theirs.npz"), state)

    data.save(state, tmp_path / "ours.safetensors")
    same(dict(sorted(safetensors.load_file(tmp_path / "ours.safetensors").items())), dict(sorted(state.items())))
    safetensors.save_file(state, tmp_path / "theirs.safetensors")
    same(dict(sorted(data.load(tmp_path / "theirs.safetensors").items())), dict(sorted(state.items())))


@SUFFIXES
def test_a_model_trained_here_runs_in_pytorch(suffix, stage, data, tmp_path):
    ours, theirs = networks(stage)
    ours(stage.package.Tensor(np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)))
    data.save(ours.state_dict(), tmp_path / f"model{suffix}")
    state = {name: torch.tensor(array) for name, array in data.load(tmp_path / f"model{suffix}").items()}
    theirs.load_state_dict(state)
    mine, his = outputs(stage, ours, theirs)
    np.testing.assert_allclose(mine, his, rtol=1e-5, atol=1e-6)


@SUFFIXES
def test_a_model_trained_in_pytorch_runs_here(suffix, stage, data, tmp_path):
    ours, theirs = networks(stage)
    theirs(torch.randn(6, 5))
    data.save({name: tensor.numpy() for name, tensor in theirs.state_dict().items()}, tmp_path / f"model{suffix}")
    ours.load_state_dict(data.load(tmp_path / f"model{suffix}"))
    mine, his = outputs(stage, ours, theirs)
    np.testing.assert_allclose(mine, his, rtol=1e-5, atol=1e-6)


@pytest.mark.capability("convolution")
def test_a_convolutional_network_goes_to_pytorch_and_back(stage, data, tmp_path):
    ours = stage.part("mnist").network()
    nn = torch.nn
    convolutions = nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1)
    theirs = nn.Sequential(
        *convolutions, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    data.save(ours.state_dict(), tmp_path / "cnn.npz")
    theirs.load_state_dict({name: torch.tensor(array) for name, array in data.load(tmp_path / "cnn.npz").items()})
    x = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(stage.package.Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)

    data.save({name: tensor.numpy() for name, tensor in theirs.state_dict().items()}, tmp_path / "back.npz")
    other = stage.part("mnist").network()
    other.load_state_dict(data.load(tmp_path / "back.npz"))
    np.testing.assert_allclose(other(stage.package.Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


@SUFFIXES
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_an_optimizer_goes_on_where_it_was_saved(name, suffix, stage, data, tmp_path):
    nn, optim, Tensor = stage.part("nn"), stage.part("optim"), stage.package.Tensor
    options = {"lr": 0.1, "momentum": 0.9} if name == "SGD" else {"lr": 0.1}
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)

    def steps(model, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            (model(Tensor(x)) ** 2).sum().backward()
            optimizer.step()

    model = nn.Linear(3, 2)
    optimizer = getattr(optim, name)(model.parameters(), **options)
    steps(model, optimizer, 3)
    data.save(model.state_dict(), tmp_path / f"model{suffix}")
    data.save(optimizer.state_dict(), tmp_path / f"optimizer{suffix}")
    steps(model, optimizer, 3)

    resumed = nn.Linear(3, 2)
    resumed.load_state_dict(data.load(tmp_path / f"model{suffix}"))
    other = getattr(optim, name)(resumed.parameters(), **options)
    other.load_state_dict(data.load(tmp_path / f"optimizer{suffix}"))
    steps(resumed, other, 3)
    same(resumed.state_dict(), model.state_dict())


# What doesn't fit


def without(state, name):
    return {key: array for key, array in state.items() if key != name}


@SUFFIXES
@pytest.mark.parametrize(
    "spoil, named",
    [
        (lambda state: without(state, "0.bias"), "missing key 0.bias"),
        (lambda state: {**state, "5.bias": state["0.bias"]}, "unexpected key 5.bias"),
        (lambda state: {**state, "0.weight": state["0.weight"].T}, r"0.weight has shape \(5, 4\), wanted \(4, 5\)"),
        (lambda state: without(state, "1.running_mean"), "missing key 1.running_mean"),
    ],
)
def test_what_does_not_fit_is_named_and_the_model_left_as_it_was(spoil, named, suffix, stage, data, tmp_path):
    model, other = networks(stage)[0], networks(stage)[0]
    data.save(spoil(other.state_dict()), tmp_path / f"model{suffix}")
    before = model.state_dict()
    with pytest.raises(ValueError, match=named):
        model.load_state_dict(data.load(tmp_path / f"model{suffix}"))
    same(model.state_dict(), before)


@pytest.mark.parametrize("name", ["model.pt", "model", "model.npz.txt"])
def test_another_kind_of_file_is_refused(name, data, tmp_path):
    with pytest.raises(ValueError, match=r"wanted a \.npz or \.safetensors file, got .*" + name):
        data.save({"x": np.zeros(1)}, tmp_path / name)
    with pytest.raises(ValueError, match=r"wanted a \.npz or \.safetensors file, got .*" + name):
        data.load(tmp_path / name)


def test_safetensors_without_its_package_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "safetensors", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        data.save({"x": np.zeros(1)}, tmp_path / "model.safetensors")


@SUFFIXES
def test_what_is_no_array_of_numbers_is_named_and_nothing_written(suffix, data, tmp_path):
    with pytest.raises(TypeError, match="save: model: wanted an array of numbers, got dict"):
        data.save({"x": np.zeros(1), "model": {"weight": np.zeros(1)}}, tmp_path / f"model{suffix}")
    assert list(tmp_path.iterdir()) == []


@SUFFIXES
@pytest.mark.parametrize("content", [b"", b"PK", b"a text, and no checkpoint\n" * 40, b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_checkpoint_is_named(content, suffix, data, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"model{suffix} is not a whole {suffix} file"):
        data.load(path)


@SUFFIXES
@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named(part, suffix, data, tmp_path):
    path = tmp_path / f"model{suffix}"
    data.save({"x": np.arange(1000), "y": np.arange(10.0)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=f"model{suffix} is not a whole {suffix} file"):
        data.load(path)


def test_a_damaged_npz_is_named(data, tmp_path):
    path = tmp_path / "model.npz"
    data.save({"x": np.arange(1000)}, path)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model.npz is not a whole .npz file: Bad CRC-32"):
        data.load(path)


def test_pickled_objects_are_never_unpacked(data, tmp_path):
    np.savez(tmp_path / "model.npz", x=np.array([print], object))
    with pytest.raises(ValueError, match="model.npz is not a whole .npz file: Object arrays cannot be loaded"):
        data.load(tmp_path / "model.npz")


def test_a_zip_of_other_things_is_named(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.npz", "w") as archive:
        archive.writestr("letter.txt", "Dear all,")
    with pytest.raises(ValueError, match="model.npz is not a whole .npz file"):
        data.load(tmp_path / "model.npz")


@SUFFIXES
def test_a_file_that_is_not_there_is_named(suffix, data, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"model{suffix}"):
        data.load(tmp_path / f"model{suffix}")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.save({"x": np.zeros(1)}, tmp_path / "nowhere" / f"model{suffix}")


# Kills


@SUFFIXES
@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(fault, suffix, data, tmp_path, monkeypatch):
    path = tmp_path / f"model{suffix}"
    data.save({"x": np.arange(3.0)}, path)

    def disk_full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, fault, disk_full)
    with pytest.raises(OSError, match="No space left"):
        data.save({"x": np.arange(5.0)}, path)
    same(data.load(path), {"x": np.arange(3.0)})
    assert list(tmp_path.iterdir()) == [path]


SAVE_FOR_EVER = """
import sys
import numpy as np
from {package}.data import save
print("ready", flush=True)
i = 0
while True:
    i += 1
    save({{"first": np.full(300_000, i), "last": np.full(300_000, i)}}, sys.argv[1])
"""


@SUFFIXES
def test_a_process_killed_while_it_saves_leaves_a_whole_file(suffix, stage, data, tmp_path):
    path = tmp_path / f"model{suffix}"
    program = [sys.executable, "-c", SAVE_FOR_EVER.format(package=stage.name), str(path)]
    for i in range(8):
        with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=_root(stage)) as process:
            process.stdout.readline()
            while not path.exists():
                time.sleep(0.001)
            time.sleep(0.011 * i)
            process.send_signal(signal.SIGKILL)
        state = data.load(path)
        assert len({*state["first"], *state["last"]}) == 1


def _root(stage):
    return os.path.dirname(os.path.dirname(stage.package.__file__))
