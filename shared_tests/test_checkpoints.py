"""Checkpoints: what is written is read again, here and by PyTorch, and neither a kill nor a bad file does harm."""

import inspect
import io
import json
import os
import pickle
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
def checkpoint(stage):
    if stage.foreign:
        pytest.skip("not there: the checkpoints of the ladder's own networks")
    return stage.part("checkpoint")


@pytest.fixture(autouse=True)
def seeds(checkpoint, stage):
    torch.manual_seed(0)
    stage.package.manual_seed(0)


def same(found, wanted):
    assert list(found) == list(wanted)
    found, wanted = [{name: np.asarray(x) for name, x in state.items()} for state in (found, wanted)]
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def for_torch(state):
    return {name: torch.tensor(x.numpy()) for name, x in state.items()}


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
def test_arrays_come_back_as_they_were(suffix, checkpoint, tmp_path):
    state = {
        "0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "number": np.array(3),
        "empty": np.zeros((0, 4), np.float32),
        "mask": np.array([True, False]),
        "file": np.array([1, 2], np.uint8),
    }
    checkpoint.save(state, tmp_path / f"state{suffix}")
    loaded = checkpoint.load(tmp_path / f"state{suffix}")
    same(dict(sorted(loaded.items())), dict(sorted(state.items())))


def test_tensors_are_saved_by_their_arrays(stage, checkpoint, tmp_path):
    checkpoint.save({"x": stage.package.Tensor([1.0, 2.0])}, str(tmp_path / "x.npz"))
    same(checkpoint.load(str(tmp_path / "x.npz")), {"x": np.array([1, 2], np.float32)})


def test_numpy_and_safetensors_read_what_was_saved_and_are_read(checkpoint, tmp_path):
    state = {"0.weight": np.arange(4.0), "0.bias": np.array([5], np.int64)}
    checkpoint.save(state, tmp_path / "ours.npz")
    same(dict(np.load(tmp_path / "ours.npz")), state)
    np.savez_compressed(tmp_path / "theirs.npz", **state)
    same(checkpoint.load(tmp_path / "theirs.npz"), state)

    checkpoint.save(state, tmp_path / "ours.safetensors")
    same(dict(sorted(safetensors.load_file(tmp_path / "ours.safetensors").items())), dict(sorted(state.items())))
    safetensors.save_file(state, tmp_path / "theirs.safetensors")
    same(dict(sorted(checkpoint.load(tmp_path / "theirs.safetensors").items())), dict(sorted(state.items())))


@SUFFIXES
def test_a_model_trained_here_runs_in_pytorch(suffix, stage, checkpoint, tmp_path):
    ours, theirs = networks(stage)
    ours(stage.package.Tensor(np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)))
    checkpoint.save(ours.state_dict(), tmp_path / f"model{suffix}")
    theirs.load_state_dict(for_torch(checkpoint.load(tmp_path / f"model{suffix}")))
    mine, his = outputs(stage, ours, theirs)
    np.testing.assert_allclose(mine, his, rtol=1e-5, atol=1e-6)


@SUFFIXES
def test_a_model_trained_in_pytorch_runs_here(suffix, stage, checkpoint, tmp_path):
    ours, theirs = networks(stage)
    theirs(torch.randn(6, 5))
    checkpoint.save({name: tensor.numpy() for name, tensor in theirs.state_dict().items()}, tmp_path / f"model{suffix}")
    ours.load_state_dict(checkpoint.load(tmp_path / f"model{suffix}"))
    mine, his = outputs(stage, ours, theirs)
    np.testing.assert_allclose(mine, his, rtol=1e-5, atol=1e-6)


@pytest.mark.capability("convolution")
def test_a_convolutional_network_goes_to_pytorch_and_back(stage, checkpoint, tmp_path):
    ours = stage.part("mnist").network()
    nn = torch.nn
    convolutions = nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1)
    theirs = nn.Sequential(
        *convolutions, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    checkpoint.save(ours.state_dict(), tmp_path / "cnn.npz")
    theirs.load_state_dict(for_torch(checkpoint.load(tmp_path / "cnn.npz")))
    x = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(stage.package.Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)

    checkpoint.save({name: tensor.numpy() for name, tensor in theirs.state_dict().items()}, tmp_path / "back.npz")
    other = stage.part("mnist").network()
    other.load_state_dict(checkpoint.load(tmp_path / "back.npz"))
    np.testing.assert_allclose(other(stage.package.Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


@SUFFIXES
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_an_optimizer_goes_on_where_it_was_saved(name, suffix, stage, checkpoint, tmp_path):
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
    checkpoint.save(model.state_dict(), tmp_path / f"model{suffix}")
    checkpoint.save(optimizer.state_dict(), tmp_path / f"optimizer{suffix}")
    steps(model, optimizer, 3)

    resumed = nn.Linear(3, 2)
    resumed.load_state_dict(checkpoint.load(tmp_path / f"model{suffix}"))
    other = getattr(optim, name)(resumed.parameters(), **options)
    other.load_state_dict(checkpoint.load(tmp_path / f"optimizer{suffix}"))
    steps(resumed, other, 3)
    same(resumed.state_dict(), model.state_dict())


NESTED = {
    "model": {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "0.bias": np.ones(2)},
    "optimizer": {
        "state": {0: {"step": np.array(3), "exp_avg": np.zeros((2, 3))}, 1: {}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "amsgrad": False, "foreach": None, "params": [0, 1]}],
    },
    "epoch": 3,
    "best": float("inf"),
    "exact": 1 / 3,
    "large": 2**200,
    "name": "a run — with a \u2028 in it",
    "of NumPy": [np.float32(0.5), np.int64(3), np.bool_(True)],
    "model.0": {"weight": np.array([7.0])},
    "__metadata__": np.array([True]),
    "tree.json": np.array([8], np.uint8),
    True: (),
    None: [[], {}, ((),)],
    1.5: "",
}
WITHOUT_SUFFIX = [".npz", ".safetensors", ".pt", ".pth", "", ".npz.txt"]


def plain(x):
    """A structure of Tensors or arrays as one of lists, with the types that it has."""
    if hasattr(x, "dtype") and getattr(x, "ndim", 0) or type(x).__name__ in ("Tensor", "ndarray", "Parameter"):
        x = np.asarray(x)
        return "array", str(x.dtype), x.shape, x.tolist()
    if isinstance(x, dict):
        return "dict", [(type(key).__name__, key, plain(value)) for key, value in x.items()]
    if isinstance(x, (list, tuple)):
        return type(x).__name__, [plain(part) for part in x]
    return (type(x.item()).__name__, x.item()) if isinstance(x, np.generic) else (type(x).__name__, x)


@pytest.mark.parametrize("suffix", WITHOUT_SUFFIX)
def test_dicts_in_dicts_come_back_as_they_were_from_any_path(suffix, checkpoint, tmp_path):
    path = tmp_path / f"run{suffix}"
    checkpoint.save(NESTED, str(path))
    assert list(tmp_path.iterdir()) == [path]
    assert plain(checkpoint.load(path)) == plain(NESTED)
    path.rename(tmp_path / "renamed")
    assert plain(checkpoint.load(tmp_path / "renamed")) == plain(NESTED), "what it is, its content says"


def test_files_that_are_open_are_written_and_read(checkpoint, tmp_path):
    buffer = io.BytesIO()
    checkpoint.save(NESTED, buffer)
    buffer.seek(0)
    assert plain(checkpoint.load(buffer)) == plain(NESTED)
    with open(tmp_path / "x.safetensors", "wb") as file:
        checkpoint.save(NESTED, file)
    with open(tmp_path / "x.safetensors", "rb") as file:
        assert plain(checkpoint.load(file)) == plain(NESTED)
    with pytest.raises(ValueError, match="load: this is not a whole checkpoint file"):
        checkpoint.load(io.BytesIO(b"Dear all,"))


@SUFFIXES
@pytest.mark.parametrize("x", [3, "text", None, [], {}, np.arange(3.0), [np.array(1), (np.array(2),)]], ids=str)
def test_what_is_no_dict_comes_back_as_it_was(x, suffix, checkpoint, tmp_path):
    checkpoint.save(x, tmp_path / f"x{suffix}")
    assert plain(checkpoint.load(tmp_path / f"x{suffix}")) == plain(x)


def test_what_is_loaded_are_tensors_that_require_no_grad(stage, checkpoint, tmp_path):
    Tensor = stage.package.Tensor
    checkpoint.save({"x": Tensor([1.0]), "y": [np.zeros(2)]}, tmp_path / "x.pt")
    loaded = checkpoint.load(tmp_path / "x.pt", map_location="cpu")
    for x in (loaded["x"], *loaded["y"]):
        assert type(x) is Tensor and not x.requires_grad
        x[0] = 5  # its memory is its own
    assert loaded["x"].item() == 5


def test_an_array_of_another_byte_order_becomes_one_of_this_machine(checkpoint, tmp_path):
    for suffix in (".npz", ".safetensors"):
        checkpoint.save({"x": np.arange(3, dtype=">f4")}, tmp_path / f"x{suffix}")
        same(checkpoint.load(tmp_path / f"x{suffix}"), {"x": np.arange(3, dtype=np.float32)})
    np.savez(tmp_path / "theirs.npz", x=np.arange(3, dtype=">i8"))
    same(checkpoint.load(tmp_path / "theirs.npz"), {"x": np.arange(3)})


def test_arrays_beyond_the_limits_of_a_plain_zip_file_come_back(checkpoint, tmp_path, monkeypatch):
    for limit in ("ZIP64_LIMIT", "ZIP_FILECOUNT_LIMIT"):  # 2 GiB, and 65,535 arrays
        monkeypatch.setattr(zipfile, limit, 2)
    state = {f"x{i}": np.arange(1000.0) + i for i in range(5)}
    checkpoint.save(state, tmp_path / "large.npz")
    same(checkpoint.load(tmp_path / "large.npz"), state)


def test_save_and_load_have_pytorchs_signatures(checkpoint):
    for name in ("save", "load"):
        mine, theirs = [
            [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]
            for function in (getattr(checkpoint, name), getattr(torch, name))
        ]
        assert mine == theirs


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda c, f: c.save({}, f, pickle_module=pickle), "nothing is pickled"),
        (lambda c, f: c.save({}, f, _use_new_zipfile_serialization=False), "nothing is pickled"),
        (lambda c, f: c.load(f, pickle_module=pickle), "it takes no pickle_module"),
        (lambda c, f: c.load(f, encoding="latin1"), "it takes no encoding"),
        (lambda c, f: c.load(f, map_location=lambda storage, location: storage), "map_location: wanted the name of a"),
        (lambda c, f: c.load(f, map_location={"cuda:0": "cpu"}), "map_location: wanted the name of a device"),
    ],
)
def test_arguments_that_say_how_to_pickle_are_refused(call, named, checkpoint, tmp_path):
    with pytest.raises(ValueError, match=named):
        call(checkpoint, tmp_path / "x.pt")


# PyTorch's own files


def trained(dtype=torch.float32):
    """A network of PyTorch's and its optimizer, after a step."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    (model(torch.randn(5, 3).to(dtype)) ** 2).sum().backward()
    optimizer.step()
    return model, optimizer


def as_loaded(x):
    """PyTorch's Tensors in a structure as the arrays that `load` should make of them."""
    if isinstance(x, torch.Tensor):
        return (x.float() if x.dtype == torch.bfloat16 else x).detach().numpy()
    if isinstance(x, dict):
        return {key: as_loaded(value) for key, value in x.items()}
    return type(x)(map(as_loaded, x)) if type(x) in (list, tuple) else x


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model", "model.npz"])
def test_a_state_dict_that_pytorch_saved_is_read(name, stage, checkpoint, tmp_path):
    ours, theirs = networks(stage)
    theirs(torch.randn(6, 5))
    torch.save(theirs.state_dict(), tmp_path / name)
    ours.load_state_dict(checkpoint.load(tmp_path / name, weights_only=True))
    mine, his = outputs(stage, ours, theirs)
    np.testing.assert_allclose(mine, his, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_run_that_pytorch_saved_is_read(dtype, checkpoint, tmp_path):
    model, optimizer = trained(dtype)
    run = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "loss": 0.25, "done": True}
    run |= {"weight": model[0].weight, "name": "run", "nothing": None, "sizes": [model[0].weight.shape, (1, [2])]}
    run["sizes"][0] = tuple(run["sizes"][0])
    for protocol in (2, 4, 5):
        torch.save({**run, "size": torch.Size([3])}, tmp_path / "run.pt", pickle_protocol=protocol)
        loaded = checkpoint.load(tmp_path / "run.pt")
        assert loaded.pop("size") == (3,)
        assert plain(loaded) == plain(as_loaded(run))


KINDS = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number_is_read_as_pytorch_saved_it(kind, checkpoint, tmp_path):
    x = (torch.randn(4, 5) * 100).to(getattr(torch, kind))
    torch.save([x, x[1:, ::2], x.T, x[2, 3], x[:0], x[0].expand(3, 5)], tmp_path / "x.pt")
    loaded = checkpoint.load(tmp_path / "x.pt")
    assert plain(loaded) == plain(as_loaded([x, x[1:, ::2], x.T, x[2, 3], x[:0], x[0].expand(3, 5)]))
    whole, *parts = loaded
    whole[1, 0] = 0
    assert parts[0][0, 0].item() == parts[1][0, 1].item() == 0, "they are still parts of one storage"


def test_the_other_byte_order_is_read(checkpoint, tmp_path):
    x = torch.arange(5, dtype=torch.int32)
    with torch_file(tmp_path / "x.pt", {"x": x}) as entries:
        entries["byteorder"] = b"big"
        entries["data/0"] = x.numpy().astype(">i4").tobytes()
    same(checkpoint.load(tmp_path / "x.pt"), {"x": x.numpy()})


class torch_file:
    """A file of PyTorch's whose entries can be changed before it is written."""

    def __init__(self, path, obj):
        torch.save(obj, path)
        self.path = path

    def __enter__(self):
        with zipfile.ZipFile(self.path) as archive:
            self.entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        return self.entries

    def __exit__(self, *error):
        with zipfile.ZipFile(self.path, "w") as archive:
            for name, content in self.entries.items():
                archive.writestr(f"x/{name}", content)


class Calls:
    """What runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    "function",
    [os.system, eval, exec, getattr, __import__, open, print, type, np.load],
    ids=lambda function: function.__name__,
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_asks_for_a_function_is_refused_by_its_name_and_runs_nothing(
    function, protocol, checkpoint, tmp_path
):
    trap = tmp_path / "trap"
    torch.save(
        {"x": torch.zeros(2), "y": Calls(function, f"touch {trap}")}, tmp_path / "x.pt", pickle_protocol=protocol
    )
    with pytest.raises(
        ValueError, match=rf"x\.pt: refused, as it asks for [\w.]+\.{function.__name__}: .*Nothing of it"
    ):
        checkpoint.load(tmp_path / "x.pt", weights_only=False)
    assert not trap.exists()


def test_a_whole_model_is_refused_by_its_name(checkpoint, tmp_path):
    torch.save(trained()[0], tmp_path / "model.pt")
    with pytest.raises(
        ValueError, match=r"asks for torch\.nn\.modules\.container\.Sequential: it may hold .*state_dict"
    ):
        checkpoint.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93)R.",
        b"ctorch\nload\n(S'x'\ntR.",
        b"ctorch\nFloatStorage\n)R.",  # not to be called
        b"ctorch\nSize\n.",  # and not to be handed out
        b"ctorch._utils\n_rebuild_tensor_v2\n.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI2\ntR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI0\n)))tR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n}(X\x01\x00\x00\x00aI1\nub.",
        b"(lp0\ng0\na.",  # a list that holds itself
        b"}(ctorch\nSize\nI1\nu.",
        b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.",
        b"",
        b".",
        b"\x80\x02}",
        b"no pickle",
    ],
)
def test_a_pickle_of_other_things_is_refused_and_runs_nothing(content, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("it ran"))
    with torch_file(tmp_path / "x.pt", {}) as entries:
        entries["data.pkl"] = content
    with pytest.raises(ValueError, match=r"load: .*x\.pt"):
        checkpoint.load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (5, (2,), (1,)),
        (0, (7,), (1,)),
        (0, (3, 3), (2, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (2, 3), (3,)),
        (0, (2,), (2**62,)),
        (0, (1,), (2**70,)),
        (0.0, (2,), (1,)),
        (0, ("2",), (1,)),
        (True, (2,), (1,)),
        (None, None, None),
    ],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(offset, shape, strides, checkpoint, tmp_path):
    """A storage of 6 numbers; what the pickle says of the tensor is not believed."""
    with torch_file(tmp_path / "x.pt", {"x": torch.arange(6.0)}) as entries:
        stored = io.BytesIO()
        writer = pickle.Pickler(stored, 2)
        storage = bytearray()  # stands for it
        writer.persistent_id = lambda x: ("storage", torch.FloatStorage, "0", "cpu", 6) if x is storage else None
        rebuild = Calls(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, None)
        writer.dump({"x": rebuild})
        entries["data.pkl"] = stored.getvalue()
    with pytest.raises(ValueError, match=r"x\.pt is not a whole \.pt file: "):
        checkpoint.load(tmp_path / "x.pt")


def test_a_file_of_pytorchs_that_lacks_something_is_named(checkpoint, tmp_path):
    path, x = tmp_path / "x.pt", torch.arange(6.0)
    with torch_file(path, {"x": x}) as entries:
        del entries["data/0"]
    with pytest.raises(ValueError, match=r"x\.pt is not a whole \.pt file: .*data/0"):
        checkpoint.load(path)
    with torch_file(path, {"x": x}) as entries:
        entries["data/0"] = entries["data/0"][:-4]
    with pytest.raises(ValueError, match=r"x\.pt is not a whole \.pt file: a tensor that ends at 6 in a storage of 5"):
        checkpoint.load(path)


def test_numbers_that_numpy_has_not_are_refused_by_their_name(checkpoint, tmp_path):
    torch.save({"x": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"asks for torch\.ComplexFloatStorage"):
        checkpoint.load(tmp_path / "x.pt")
    x = {"x": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    pytest.importorskip("safetensors.torch").save_file(x, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: x holds F8_E4M3"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_the_format_of_old_is_refused_with_a_sentence(checkpoint, tmp_path):
    torch.save({"x": torch.zeros(2)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"x\.pt: a bare pickle, as PyTorch wrote before 1\.6"):
        checkpoint.load(tmp_path / "x.pt")


def test_safetensors_of_pytorchs_are_read(checkpoint, tmp_path):
    x = {kind: torch.arange(6).reshape(2, 3).to(getattr(torch, kind)) for kind in KINDS}
    pytest.importorskip("safetensors.torch").save_file(x, tmp_path / "x.safetensors", metadata={"format": "pt"})
    loaded = checkpoint.load(tmp_path / "x.safetensors")
    assert plain(dict(sorted(loaded.items()))) == plain(dict(sorted(as_loaded(x).items())))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F64", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "shape": "ab", "data_offsets": [0, 8]},
        [],
    ],
)
def test_safetensors_that_lie_are_named(entry, checkpoint, tmp_path):
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=r"x\.safetensors is not a whole \.safetensors file"):
        checkpoint.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("tree", ["", "{", '{"array": "y"}', '{"call": "print"}', '{"dict": 3}', '{"a": 1, "b": 2}'])
def test_a_tree_that_does_not_fit_is_named(tree, checkpoint, tmp_path):
    checkpoint.save([np.zeros(2)], tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        arrays = {name: archive.read(name) for name in archive.namelist() if name != "tree.json"}
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name, content in {**arrays, "tree.json": tree}.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"x\.npz is not a whole \.npz file"):
        checkpoint.load(tmp_path / "x.npz")


# What doesn't fit


def without(state, name):
    return {key: array for key, array in state.items() if key != name}


@SUFFIXES
@pytest.mark.parametrize(
    "spoil, named",
    [
        (lambda state: without(state, "0.bias"), r'Missing key\(s\) in state_dict: "0.bias"'),
        (lambda state: {**state, "5.bias": state["0.bias"]}, r'Unexpected key\(s\) in state_dict: "5.bias"'),
        (lambda state: {**state, "0.weight": state["0.weight"].T}, r"size mismatch for 0.weight: .*\(5, 4\).*\(4, 5\)"),
        (lambda state: without(state, "1.running_mean"), r'Missing key\(s\) in state_dict: "1.running_mean"'),
    ],
)
def test_what_does_not_fit_is_named_and_the_model_left_as_it_was(spoil, named, suffix, stage, checkpoint, tmp_path):
    model, other = networks(stage)[0], networks(stage)[0]
    checkpoint.save(spoil(other.state_dict()), tmp_path / f"model{suffix}")
    before = model.state_dict()
    with pytest.raises(RuntimeError, match=named):
        model.load_state_dict(checkpoint.load(tmp_path / f"model{suffix}"))
    same(model.state_dict(), before)


@SUFFIXES
def test_what_can_not_be_saved_is_named_and_nothing_written(suffix, stage, checkpoint, tmp_path):
    model, x = stage.part("nn").Linear(3, 2), np.zeros(1)
    for obj, named in [
        ({"x": x, "model": model}, r"model: wanted Tensors, .*, got Linear: save its state_dict\(\)"),
        ([{"y": {1, 2}}], r"0\.y: wanted Tensors, .*, got set"),
        ({"y": np.array(["text"])}, "y: wanted Tensors, .*, got ndarray"),
        ({"y": np.array([1j])}, "y: wanted Tensors, .*, got ndarray"),
        ({"y": np.array([None])}, "y: wanted Tensors, .*, got ndarray"),
        ({"y": {(1, 2): x}}, r"y: wanted strings or numbers as keys, got \(1, 2\)"),
        (model, "this: wanted Tensors, .*, got Linear"),
    ]:
        with pytest.raises(TypeError, match=f"save: {named}"):
            checkpoint.save(obj, tmp_path / f"model{suffix}")
    assert list(tmp_path.iterdir()) == []


@SUFFIXES
@pytest.mark.parametrize("content", [b"", b"PK", b"a text, and no checkpoint\n" * 40, b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_checkpoint_is_named(content, suffix, checkpoint, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"model{suffix} is not a whole {suffix} file"):
        checkpoint.load(path)


@SUFFIXES
@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named(part, suffix, checkpoint, tmp_path):
    path = tmp_path / f"model{suffix}"
    checkpoint.save({"x": np.arange(1000), "y": np.arange(10.0)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=f"model{suffix} is not a whole {suffix} file"):
        checkpoint.load(path)


def test_what_rung_1_saves_is_not_taken_for_safetensors(checkpoint, tmp_path):
    """It has a bracket in the ninth place too, but so long a header there is none."""
    (tmp_path / "run.json").write_text('{"run": {"examples": 3905}}')
    with pytest.raises(ValueError, match="run.json is not a whole .json file: it begins with .*run"):
        checkpoint.load(tmp_path / "run.json")


def test_a_damaged_npz_is_named(checkpoint, tmp_path):
    path = tmp_path / "model.npz"
    checkpoint.save({"x": np.arange(1000)}, path)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model.npz is not a whole .npz file: x.npy is damaged"):
        checkpoint.load(path)


def test_pickled_objects_are_never_unpacked(checkpoint, tmp_path):
    np.savez(tmp_path / "model.npz", x=np.array([print], object))
    with pytest.raises(ValueError, match="model.npz is not a whole .npz file: Object arrays cannot be loaded"):
        checkpoint.load(tmp_path / "model.npz")


def test_a_zip_of_other_things_is_named(checkpoint, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.npz", "w") as archive:
        archive.writestr("letter.txt", "Dear all,")
    with pytest.raises(ValueError, match="model.npz is not a whole .npz file"):
        checkpoint.load(tmp_path / "model.npz")


@SUFFIXES
def test_a_file_that_is_not_there_is_named(suffix, checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"model{suffix}"):
        checkpoint.load(tmp_path / f"model{suffix}")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        checkpoint.save({"x": np.zeros(1)}, tmp_path / "nowhere" / f"model{suffix}")


# Kills


@SUFFIXES
@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(fault, suffix, checkpoint, tmp_path, monkeypatch):
    path = tmp_path / f"model{suffix}"
    checkpoint.save({"x": np.arange(3.0)}, path)

    def disk_full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, fault, disk_full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save({"x": np.arange(5.0)}, path)
    same(checkpoint.load(path), {"x": np.arange(3.0)})
    assert list(tmp_path.iterdir()) == [path]


SAVE_FOR_EVER = """
import sys
import numpy as np
from {package}.checkpoint import save
print("ready", flush=True)
i = 0
while True:
    i += 1
    save({{"first": np.full(300_000, i), "last": np.full(300_000, i)}}, sys.argv[1])
"""


@pytest.mark.host
@pytest.mark.once
@SUFFIXES
def test_a_process_killed_while_it_saves_leaves_a_whole_file(suffix, stage, checkpoint, tmp_path):
    path = tmp_path / f"model{suffix}"
    program = [sys.executable, "-c", SAVE_FOR_EVER.format(package=stage.name), str(path)]
    for i in range(8):
        with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=_root(stage)) as process:
            process.stdout.readline()
            while not path.exists():
                time.sleep(0.001)
            time.sleep(0.011 * i)
            process.send_signal(signal.SIGKILL)
        state = checkpoint.load(path)
        assert len({*state["first"].numpy(), *state["last"].numpy()}) == 1


def _root(stage):
    return os.path.dirname(os.path.dirname(stage.package.__file__))
