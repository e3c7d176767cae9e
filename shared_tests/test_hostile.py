"""Files and states that are damaged, or made to do harm: each is refused in a sentence that names it, or is harmless.

`GRADUAL_FUZZ=20000 pytest shared_tests/test_hostile.py` tries so many changed files of each kind instead of 100, and
others each time; the number that is printed with a failure, as `GRADUAL_FUZZ_SEED`, gives the same ones again.
"""

import copy
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from .test_checkpoints import checkpoint, plain, torch_file  # noqa: F401 - the first is a fixture
from .test_data import data, sets, write_idx  # noqa: F401 - the first two are fixtures

torch = pytest.importorskip("torch")

FILES = pytest.mark.capability("checkpoints")
STATES = pytest.mark.capability("optimizers")

N = int(os.environ.get("GRADUAL_FUZZ", 100))
SEED = int(os.environ.get("GRADUAL_FUZZ_SEED", 0 if N == 100 else np.random.SeedSequence().entropy % 2**32))


def changed(content, rng):
    """The bytes of a file after one to three accidents, or attacks."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        i, n = rng.integers(len(content) + 1), rng.integers(1, 9)
        kind = rng.integers(6)
        if kind == 0:
            content[i : i + 1] = [rng.integers(256)]
        elif kind == 1:
            content[i : i + n] = rng.choice([b"", b"\0", b"\xff", b"9" * n, b"\x1b[2J", b"-1"])
        elif kind == 2:
            content[i : i + n] = struct.pack("<q", rng.choice([0, -1, 2**31, 2**62, 2**16]))[:n]
        elif kind == 3 and content:
            del content[i:]
        elif kind == 4:
            content += content[i : i + 40 * n]
        elif i < len(content):
            content[i] ^= 1 << rng.integers(8)
    return bytes(content)


def harmless(load, path, rng, wanted=None):
    """Load changed files: each gives what is wanted, if told, or one printable sentence with the file's name."""
    original, refused = path.read_bytes(), 0
    for i in range(N):
        path.write_bytes(changed(original, rng))
        try:
            found = load(path)
        except ValueError as error:
            message, refused = str(error), refused + 1
            assert path.name in message and message.isprintable() and len(message) < 1000, f"{message!r}, seed {SEED}"
        else:
            assert wanted is None or plain(found) == wanted, f"file {i} of seed {SEED} was believed"
    assert refused > N / 2


@FILES
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
@pytest.mark.filterwarnings("error")
def test_a_changed_checkpoint_is_refused_or_gives_what_was_saved(suffix, checkpoint, tmp_path):  # noqa: F811
    state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": [np.arange(3), (1, "x")], "c": np.zeros((0, 2))}
    path, rng = tmp_path / f"run{suffix}", np.random.default_rng(SEED)
    if suffix == ".pt":
        state = {"a": torch.arange(6.0).reshape(2, 3), "b": [torch.arange(3), (1, "x")]}
        torch.save(state, path)
    else:
        checkpoint.save(state, path)
    has_sums = suffix != ".safetensors"
    harmless(checkpoint.load, path, rng, plain(checkpoint.load(path)) if has_sums else None)


@pytest.mark.capability("data")
@pytest.mark.filterwarnings("error")
def test_a_changed_idx_file_is_refused_or_gives_what_it_held(sets, tmp_path):  # noqa: F811
    images = np.arange(48).reshape(3, 4, 4)
    path = write_idx(tmp_path / "images.gz", images)
    harmless(
        lambda path: sets.read_idx(path, 3), path, np.random.default_rng(SEED), plain(np.asarray(images, np.uint8))
    )


def rezipped(path, change):
    """The entries of a zip file, [(name, content)], changed by a function and written again with right sums."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in change(entries):
            archive.writestr(name, content)


def header(old, new):
    """A change of the header of every array, which keeps its length."""
    return lambda entries: [
        (name, content.replace(old.ljust(len(new)), new.ljust(len(old)))) for name, content in entries
    ]


@FILES
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "change, named",
    [
        (header(b"<f4", b"<f2"), "x.npy goes on after its array"),
        (header(b"(2, 3)", b"(2, 2)"), "x.npy goes on after its array"),
        (header(b"(2, 3)", b"(3, 3)"), "EOF"),
        (lambda entries: entries * 2, "one is there twice"),
        (lambda entries: [*entries, ("x", entries[0][1])], "x is no array"),
        (lambda entries: [(name, content + b"\0") for name, content in entries], "x.npy goes on after its array"),
        (
            lambda entries: [*entries, ("tree.json", '{"dict": [["y", {"array": "x"}], ["y", 3]]}')],
            "one is there twice",
        ),
        (lambda entries: [*entries, ("tree.json", "3")], "'x'.* beside what it holds"),
        (lambda entries: [*entries, ("tree.json", '{"dict": "xy"}')], "a dict of xy"),
    ],
)
def test_an_npz_that_contradicts_itself_is_refused(change, named, checkpoint, tmp_path):  # noqa: F811
    path = tmp_path / "x.npz"
    checkpoint.save({"x": np.arange(6, dtype=np.float32).reshape(2, 3)}, path)
    rezipped(path, change)
    with pytest.raises(ValueError, match=f"x.npz is not a whole .npz file: .*{named}"):
        checkpoint.load(path)


@FILES
@pytest.mark.parametrize("old, new", [(b"<f4", b"<f2"), (b"(2, 3)", b"(3, 2)"), (b"(2, 3)", b"(1, 6)")])
def test_one_changed_byte_in_a_header_is_noticed(old, new, checkpoint, tmp_path):  # noqa: F811
    path = tmp_path / "x.npz"
    checkpoint.save({"x": np.arange(6, dtype=np.float32).reshape(2, 3)}, path)
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ValueError, match="x.npz is not a whole .npz file: x.npy is damaged"):
        checkpoint.load(path)


@FILES
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_bytes_after_the_end_are_refused(suffix, checkpoint, tmp_path):  # noqa: F811
    path = tmp_path / f"x{suffix}"
    if suffix == ".pt":
        torch.save({"x": torch.ones(3)}, path)
    else:
        checkpoint.save({"x": np.ones(3)}, path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="follow"):
        checkpoint.load(path)


def safetensors_of(entries, arrays):
    text = ("{" + ", ".join([f'"{name}": {json.dumps(entry)}' for name, entry in entries]) + "}").encode()
    return len(text).to_bytes(8, "little") + text + arrays


@FILES
@pytest.mark.parametrize(
    "entries, named",
    [
        ([("x", [0, 4], [1]), ("x", [4, 8], [1])], "one is there twice"),
        ([("x", [0, 4], [1]), ("y", [0, 8], [2])], "y should be in bytes 0 to 8 of 8, where byte 4 is the next"),
        ([("x", [4, 8], [1])], "x should be in bytes 4 to 8"),
        ([("x", [0, 4], [1])], "4 bytes follow its end"),
        ([("x", [0, 8], [-1])], r"x has shape \[-1\]"),
        ([("x", [0, 8], [True, 2])], r"x has shape \[True, 2\]"),
    ],
)
def test_safetensors_that_contradict_themselves_are_refused(entries, named, checkpoint, tmp_path):  # noqa: F811
    entries = [(name, {"dtype": "F32", "shape": shape, "data_offsets": offsets}) for name, offsets, shape in entries]
    (tmp_path / "x.safetensors").write_bytes(safetensors_of(entries, bytes(8)))
    with pytest.raises(ValueError, match=f"x.safetensors is not a whole .safetensors file: .*{named}"):
        checkpoint.load(tmp_path / "x.safetensors")


@FILES
def test_names_from_a_file_are_printed_without_their_control_characters_and_short(checkpoint, tmp_path):  # noqa: F811
    name = "\x1b[2J\u202e\n" * 5000
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [2, 4]}
    (tmp_path / "x.safetensors").write_bytes(safetensors_of([(json.dumps(name)[1:-1], entry)], bytes(4)))
    with pytest.raises(ValueError, match=r"\\x1b\[2J\\u202e\\n") as refused:
        checkpoint.load(tmp_path / "x.safetensors")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 2000
    assert refused.value.__cause__ is None and refused.value.__suppress_context__, "a traceback prints what it is from"


# What would fill the memory


def peak(load, *arguments):
    """What was asked of the memory, at most, by a call that is refused, and what it said."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as refused:
            load(*arguments)
        return tracemalloc.get_traced_memory()[1], str(refused.value)
    finally:
        tracemalloc.stop()


@FILES
def test_a_zip_that_would_unpack_to_gibibytes_is_refused_and_the_limit_named(checkpoint, tmp_path):  # noqa: F811
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 20))
        archive.infolist()[0].file_size = (1 << 30) + 1
    used, said = peak(checkpoint.load, path)
    assert "it would unpack to 1,073,741,825 bytes, more than the limit of 1,073,741,824" in said and used < 1 << 20


@FILES
@pytest.mark.parametrize("beginning", [b"", b"\xf0\xff\xff\xff\xff\0\0\0{", b"PK\3\4"])
def test_a_sparse_file_of_a_tebibyte_is_not_read(beginning, checkpoint, tmp_path):  # noqa: F811
    path = tmp_path / "x.pt"
    with open(path, "wb") as file:
        file.write(beginning)
        file.truncate(1 << 40)
    used, _ = peak(checkpoint.load, path)
    assert used < 1 << 24


@FILES
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="not there: pipes with names")
def test_a_pipe_a_device_and_a_folder_are_neither_read_nor_replaced(checkpoint, tmp_path):  # noqa: F811
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", "/dev/zero", "/dev/null"):
        with pytest.raises(OSError, match=f"a folder, a pipe or a device, no file: '{path}'"):
            checkpoint.load(path)
        with pytest.raises(OSError, match=f"a folder, a pipe or a device, no file: '{path}'"):
            checkpoint.save({}, path)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


@FILES
def test_a_pickle_that_asks_for_memory_or_time_gets_none(checkpoint, tmp_path):  # noqa: F811
    """One place far away in what it keeps; a tensor of 4 TB that is one number; a list of two lists of two lists …"""
    path = tmp_path / "x.pt"
    with torch_file(path, {}) as entries:
        entries["data.pkl"] = b"\x80\x02]r" + struct.pack("<I", 2**31) + b"."
    used, said = peak(checkpoint.load, path)
    assert "would keep 2147483648 things" in said and used < 1 << 24

    torch.save({"x": torch.ones(1).expand(10**6, 10**6)}, path)
    used, said = peak(checkpoint.load, path)
    assert "a tensor of 4,000,000,000,000 bytes, more than the limit of 1,073,741,824" in said and used < 1 << 24

    lists = []
    for _ in range(60):
        lists = [lists, lists]
    with torch_file(path, {}) as entries:
        entries["data.pkl"] = pickle.dumps(lists, 2)
    loaded = checkpoint.load(path)
    assert loaded[0] is loaded[1] and loaded[0][1][0][0][1] is loaded[1][0][1][1][0]


@pytest.mark.capability("data")
def test_an_idx_file_is_unpacked_no_further_than_it_declares(sets, tmp_path):  # noqa: F811
    head = struct.pack(">4I", 2051, 3, 4, 4)
    packer, path = zlib.compressobj(1, wbits=31), tmp_path / "images.gz"
    parts = [packer.compress(head), *[packer.compress(bytes(1 << 20)) for _ in range(16)], packer.flush()]
    path.write_bytes(b"".join(parts))
    used, said = peak(sets.read_idx, path, 3)
    assert f"{path}: more than the 48 bytes of its shape (3, 4, 4)" in said and used < 1 << 20
    path.write_bytes(zlib.compress(struct.pack(">4I", 2051, 2**31, 2**31, 4), wbits=31))
    used, said = peak(sets.read_idx, path, 3)
    assert "less than the 18,446,744,073,709,551,616 bytes" in said and used < 1 << 20


# Where a file is written


@FILES
@pytest.mark.skipif(os.name != "posix", reason="not there: permissions")
def test_what_is_saved_keeps_the_permissions_and_follows_a_link(checkpoint, tmp_path):  # noqa: F811
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "run.npz", tmp_path / "link.npz"
    checkpoint.save({"x": 1}, target)
    target.chmod(0o640)
    link.symlink_to(target)
    checkpoint.save({"x": 2}, link)
    assert link.is_symlink() and checkpoint.load(target) == {"x": 2} and target.stat().st_mode & 0o777 == 0o640
    assert list(target.parent.iterdir()) == [target]


@FILES
def test_a_name_as_long_as_names_may_be_is_saved_and_a_longer_one_named(checkpoint, tmp_path):  # noqa: F811
    path = tmp_path / ("x" * 251 + ".npz")
    checkpoint.save({"x": 1}, path)
    assert checkpoint.load(path) == {"x": 1}
    with pytest.raises(OSError, match=f"too long: '{tmp_path}/y{{252}}.npz'"):
        checkpoint.save({"x": 1}, tmp_path / ("y" * 252 + ".npz"))
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/no/run.npz'"):
        checkpoint.save({"x": 1}, tmp_path / "no" / "run.npz")


# States


def stepped(stage, kind, **settings):
    """A layer and an optimizer of it after a step."""
    layer = stage.part("nn").Linear(2, 2)
    optimizer = getattr(stage.part("optim"), kind)(layer.parameters(), lr=0.1, **settings)
    layer(stage.package.Tensor([[1.0, 2.0]])).sum().backward()
    optimizer.step()
    return layer, optimizer


def spoilt(state, *path_and_value):
    """A copy of a state with another value at a path of keys, or without what is there if that is `...`."""
    *path, last, value = path_and_value
    state = copy.deepcopy(state)
    inner = state
    for key in path:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return state


NAN, BIG = float("nan"), np.full((2, 2), 1e300)
OF_ADAM = [
    ("state", 0, "exp_avg", "text", "exp_avg holds str, no numbers"),
    ("state", 0, "exp_avg", [[1.0, 2.0], [3.0, 4.0]], "exp_avg holds list, no numbers"),
    ("state", 0, "exp_avg", np.ones((2, 2), bool), "exp_avg holds bool, no numbers"),
    ("state", 0, "exp_avg", np.array([["a", "b"], ["c", "d"]]), "exp_avg holds <U1, no numbers"),
    ("state", 0, "exp_avg", np.ones((2, 2), complex), "exp_avg holds complex128, no numbers"),
    ("state", 0, "exp_avg", np.ones((2, 1)), r"exp_avg has shape \(2, 1\), its parameter \(2, 2\)"),
    ("state", 0, "exp_avg", np.float32(1), r"exp_avg has shape \(\), its parameter \(2, 2\)"),
    ("state", 0, "exp_avg", BIG, "exp_avg holds numbers that float32 has not"),
    ("state", 0, "exp_avg", ..., "wanted step, exp_avg, exp_avg_sq in the loaded state of parameter 0, got step"),
    ("state", 0, "exp_avg_sq", -np.ones((2, 2)), "exp_avg_sq has numbers below 0 or NaN"),
    ("state", 0, "exp_avg_sq", np.full((2, 2), NAN), "exp_avg_sq has numbers below 0 or NaN"),
    ("state", 0, "step", -1, "step has numbers below 0 or NaN"),
    ("state", 0, "step", NAN, "step has numbers below 0 or NaN"),
    ("state", 0, "step", True, "step holds bool, no numbers"),
    ("state", 0, "step", [3], "step holds list, no numbers"),
    ("state", 0, "step", np.ones(2), r"step has shape \(2,\)"),
    ("state", 0, 7, np.ones(2), "wanted a dict in the loaded state of parameter 0"),
    ("state", 0, [np.ones(2)], "wanted a dict in the loaded state of parameter 0, got list"),
    ("state", 7, {}, "no parameter is the one of the loaded state 7"),
    ("state", "0", {}, "no parameter is the one of the loaded state '0'"),
    ("state", [], "wanted a dict in the loaded state, got list"),
    ("state", ..., "wanted state, param_groups in the loaded dict"),
    ("param_groups", ..., "wanted state, param_groups in the loaded dict"),
    ("param_groups", 3, "different number of parameter groups"),
    ("param_groups", ["text"], "wanted lr, betas, .* in the loaded settings, got str"),
    ("param_groups", 0, "params", ..., "a parameter group that doesn't match the size"),
    ("param_groups", 0, "params", 2, "a parameter group that doesn't match the size"),
    ("param_groups", 0, "lr", NAN, "the loaded lr: wanted a number, got nan"),
    ("param_groups", 0, "lr", "fast", "the loaded lr: wanted a number, got 'fast'"),
    ("param_groups", 0, "lr", True, "the loaded lr: wanted a number, got True"),
    ("param_groups", 0, "lr", None, "the loaded lr: wanted a number, got None"),
    ("param_groups", 0, "lr", -1.0, "Invalid learning rate: -1.0"),
    ("param_groups", 0, "lr", ..., "wanted lr, betas, .* in the loaded settings"),
    ("param_groups", 0, "initial_lr", NAN, "the loaded initial_lr: wanted a number, got nan"),
    ("param_groups", 0, "betas", (0.9, 1.5), "Invalid beta parameter at index 1: 1.5"),
    ("param_groups", 0, "betas", (0.9,), r"the loaded betas: wanted 2 values, got \(0.9,\)"),
    ("param_groups", 0, "betas", (0.9, NAN), r"the loaded betas\[1\]: wanted a number, got nan"),
    ("param_groups", 0, "eps", -1e-8, "Invalid epsilon value"),
    ("param_groups", 0, "amsgrad", "yes", "the loaded amsgrad: wanted True or False, got 'yes'"),
    ("param_groups", 0, "\x1b[2J" * 99, "x", None),
    ("param_groups", 0, 5, "x", "wanted lr, betas, .* in the loaded settings"),
    ("state", 0, "\x1b[2J" * 99, np.array(["a"]), r"the loaded (\\x1b\[2J)+"),
]


@STATES
@pytest.mark.parametrize("every", ["raise", "ignore"])
def test_a_state_that_an_optimizer_can_not_have_is_refused_and_changes_nothing(every, stage):
    layer, optimizer = stepped(stage, "Adam")
    state, before = optimizer.state_dict(), plain(optimizer.state_dict())
    for *spoiling, named in OF_ADAM:
        with np.errstate(all=every):
            if named is None:  # a setting of nobody's does no harm
                stepped(stage, "Adam")[1].load_state_dict(spoilt(state, *spoiling))
                continue
            with pytest.raises(ValueError, match=named) as refused:
                optimizer.load_state_dict(spoilt(state, *spoiling))
        assert str(refused.value).isprintable() and len(str(refused.value)) < 1000
        assert plain(optimizer.state_dict()) == before
    optimizer.step()


@STATES
@pytest.mark.parametrize("value", ["text", [1.0], 3, None], ids=str)
@pytest.mark.parametrize("kind", ["SGD", "Adam", "Adagrad", "Adadelta", "RMSprop"])
def test_no_state_is_a_dict_or_it_is_refused(kind, value, stage):
    with pytest.raises(ValueError, match=f"{kind}: wanted state, param_groups in the loaded dict, got "):
        stepped(stage, kind)[1].load_state_dict(value)


@STATES
def test_what_an_optimizer_of_somebodys_keeps_in_dicts_is_taken_over(stage):
    """As PyTorch takes it over: each array with the dtype of its parameter, whatever else as it is."""
    values = {"factors": {"row": torch.ones(2).double(), "shape": (2, 1)}, "count": 3}

    def taken(optim, parameter):
        optimizer = type("Own", (optim.Optimizer,), {})([parameter], {"lr": 0.1})
        state = {"state": {0: copy.deepcopy(values), "all": {"x": 1}}, "param_groups": [{"lr": 0.2, "params": [0]}]}
        optimizer.load_state_dict(state)
        return plain(dict(optimizer.state[parameter])), optimizer.state["all"], optimizer.param_groups[0]["lr"]

    ours = taken(stage.part("optim"), stage.package.Tensor(np.ones(2, np.float32)))
    theirs = taken(torch.optim, torch.ones(2, requires_grad=True))
    assert ours == theirs


OF_A_MODEL = [
    ("weight", "text", "weight holds str, no numbers"),
    ("weight", [[1.0, 2.0], [3.0, 4.0]], "weight holds list, no numbers"),
    ("weight", None, "weight holds NoneType, no numbers"),
    ("weight", BIG, "weight holds numbers that float32 has not"),
    ("weight", np.ones((2, 2), complex), "weight holds complex128, no numbers"),
    ("weight", torch.ones(2, 2).to_sparse(), "weight: "),
    ("weight", {"weight": np.ones((2, 2))}, "weight holds dict, no numbers"),
    (3, np.ones(2), r'Unexpected key\(s\) in state_dict: "3"'),
    ("\x1b[2J\n" * 999, np.ones(2), r'Unexpected key\(s\) in state_dict: "(\\x1b\[2J\\n)+'),
    ("num_batches_tracked", np.array(0.5), None),
]


@pytest.mark.capability("modules")
@pytest.mark.parametrize("every", ["raise", "ignore"])
def test_a_state_that_a_model_can_not_have_is_refused_and_changes_nothing(every, stage):
    layer = stage.part("nn").Linear(2, 2)
    state, before = layer.state_dict(), plain(layer.state_dict())
    for *spoiling, named in OF_A_MODEL:
        with np.errstate(all=every), pytest.raises(RuntimeError, match=named) as refused:
            layer.load_state_dict(spoilt(state, *spoiling))
        assert all(line.isprintable() for line in str(refused.value).split("\n\t")) and len(str(refused.value)) < 3000
        assert plain(layer.state_dict()) == before
    for wrong in ([1, 2], "text", None):
        with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
            layer.load_state_dict(wrong)
        with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
            torch.nn.Linear(2, 2).load_state_dict(wrong)
    counts = stage.part("nn").BatchNorm1d(2)
    with pytest.raises(RuntimeError, match="num_batches_tracked holds numbers that int64 has not"):
        counts.load_state_dict({**counts.state_dict(), "num_batches_tracked": np.array(NAN)})


OF_A_SCHEDULER = [
    ("last_epoch", NAN, "last_epoch: wanted a number, got nan"),
    ("last_epoch", -5, "last_epoch: wanted a whole number of at least -1, got -5"),
    ("last_epoch", 1.5, "last_epoch: wanted a whole number of at least -1, got 1.5"),
    ("last_epoch", "3", "last_epoch: wanted a number, got '3'"),
    ("last_epoch", [3], r"last_epoch: wanted a number, got \[3\]"),
    ("last_epoch", ..., "the loaded state has no last_epoch"),
    ("base_lrs", [NAN], "base_lrs: wanted a number, got nan"),
    ("base_lrs", 3, "base_lrs: wanted 1 of them"),
    ("base_lrs", [0.1, 0.1], "base_lrs: wanted 1 of them"),
    ("step_size", 0, "step_size: wanted a whole number of at least 1, got 0"),
    ("gamma", "x", "gamma: wanted a number, got 'x'"),
    (3, 4, "wanted a dict of names and values"),
]


@pytest.mark.capability("schedulers")
def test_a_state_that_a_scheduler_can_not_have_is_refused_and_changes_nothing(stage):
    schedulers = stage.part("optim").lr_scheduler
    scheduler = schedulers.StepLR(stepped(stage, "SGD")[1], 2)
    state, before = scheduler.state_dict(), plain(scheduler.state_dict())
    for *spoiling, named in OF_A_SCHEDULER:
        with pytest.raises(ValueError, match=f"StepLR: .*{named}"):
            scheduler.load_state_dict(spoilt(state, *spoiling))
        assert plain(scheduler.state_dict()) == before
    with pytest.raises(ValueError, match="StepLR: wanted a dict of names and values"):
        scheduler.load_state_dict([1])
    several = schedulers.SequentialLR(scheduler.optimizer, [scheduler, schedulers.StepLR(scheduler.optimizer, 2)], [3])
    state = several.state_dict()
    for wrong in (spoilt(state, "_schedulers", 1, "last_epoch", NAN), spoilt(state, "_schedulers", 1, [])):
        with pytest.raises(ValueError, match="StepLR: "):
            several.load_state_dict(wrong)


@pytest.mark.capability("schedulers")
def test_milestones_are_found_again_in_a_state_that_was_in_a_file(stage, checkpoint):  # noqa: F811
    """Epochs that are none of them have no entry."""
    scheduler = stage.part("optim").lr_scheduler.MultiStepLR(stepped(stage, "SGD")[1], [2, 2, 3])
    buffer = io.BytesIO()
    checkpoint.save(scheduler.state_dict(), buffer)
    buffer.seek(0)
    scheduler.load_state_dict(checkpoint.load(buffer))
    rates = [(scheduler.step(), scheduler.get_last_lr()[0])[1] for _ in range(3)]
    assert rates == pytest.approx([0.1, 0.001, 0.0001])
