"""Datasets, batches, MNIST's files and what keeps a broken one out, digits and moons."""

import gzip
import hashlib
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

pytestmark = pytest.mark.capability("data")


@pytest.fixture
def data(stage):
    if stage.foreign:
        pytest.skip("not there: the data of the ladder's own networks")
    return stage.part("data")


def write_idx(path, array, magic=None):
    """A gzipped idx file of unsigned bytes; a true one unless another magic number is given."""
    array = np.asarray(array, np.uint8)
    header = struct.pack(f">{1 + array.ndim}I", magic or 2048 + array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


@pytest.fixture
def files(tmp_path):
    """Three images of 28×28 and their labels, in MNIST's format."""
    images = write_idx(tmp_path / "images.gz", np.arange(3 * 784).reshape(3, 28, 28) % 256)
    return images, write_idx(tmp_path / "labels.gz", [7, 0, 9])


# Batches


def batches_of(data, n=10, **options):
    loader = data.DataLoader(data.TensorDataset(np.arange(n), -np.arange(n)), **options)
    return loader, [x.tolist() for x, _ in loader]


def test_a_tensor_dataset_takes_a_number_or_an_array_of_them(data):
    dataset = data.TensorDataset(np.arange(12).reshape(4, 3), np.array([5, 6, 7, 8]))
    assert len(dataset) == 4
    row, label = dataset[2]
    assert row.tolist() == [6, 7, 8] and label == 7
    rows, labels = dataset[np.array([3, 0])]
    assert rows.tolist() == [[9, 10, 11], [0, 1, 2]] and labels.tolist() == [8, 5]


def test_a_tensor_dataset_of_different_lengths_is_refused(data):
    with pytest.raises(ValueError, match=r"one length, got \[4, 3\]"):
        data.TensorDataset(np.zeros(4), np.zeros(3))


def test_a_dataset_of_ones_own_comes_in_batches(data):
    class Squares(data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return (index**2,)

    assert [x.tolist() for (x,) in data.DataLoader(Squares(), 2)] == [[0, 1], [4, 9], [16]]


def test_a_dataset_without_its_methods_says_which_is_missing(data):
    class Empty(data.Dataset):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty has no __len__\(\)"):
        len(Empty())
    with pytest.raises(NotImplementedError, match=r"Empty has no __getitem__\(\)"):
        Empty()[0]


def test_a_dataset_may_hold_arrays_of_another_library_or_call_anything_arrays(data):
    torch = pytest.importorskip("torch")
    own = data.TensorDataset(torch.arange(5), np.arange(5))
    (x, y), _ = data.DataLoader(own, batch_size=3)
    assert x.tolist() == y.tolist() == [0, 1, 2]

    class Squares(data.Dataset):
        arrays = {"their": "names"}

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return np.square(index)

    assert [batch.tolist() for batch in data.DataLoader(Squares(), batch_size=3)] == [[0, 1, 4], [9]]


def test_batches_come_in_order_and_the_last_is_smaller(data):
    loader, batches = batches_of(data, batch_size=4)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3


def test_drop_last_leaves_out_only_a_batch_that_is_not_full(data):
    loader, batches = batches_of(data, batch_size=4, drop_last=True)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]] and len(loader) == 2
    loader, batches = batches_of(data, batch_size=5, drop_last=True)
    assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]] and len(loader) == 2


def test_a_batch_size_of_0_is_refused(data):
    with pytest.raises(ValueError, match="batch size of at least 1, got 0"):
        data.DataLoader(data.TensorDataset(np.zeros(3)), batch_size=0)


def test_shuffled_batches_hold_every_example_once_with_what_belongs_to_it(data):
    loader = data.DataLoader(data.TensorDataset(np.arange(100), -np.arange(100)), 32, shuffle=True)
    xs, ys = (np.concatenate(arrays) for arrays in zip(*loader))
    assert sorted(xs) == list(range(100)) and xs.tolist() != list(range(100))
    assert (ys == -xs).all()


def test_every_epoch_is_shuffled_anew_and_a_seed_fixes_them_all(data):
    options = {"n": 50, "batch_size": 50, "shuffle": True}
    loader, first = batches_of(data, **options, seed=3)
    second = [x.tolist() for x, _ in loader]
    assert first != second
    again, first_again = batches_of(data, **options, seed=3)
    assert first_again == first and [x.tolist() for x, _ in again] == second
    assert batches_of(data, **options, seed=4)[1] != first


def test_a_loader_set_to_an_epoch_goes_on_like_one_that_never_stopped(data):
    loader, _ = batches_of(data, 50, batch_size=8, shuffle=True)
    list(loader)
    assert loader.epoch == 2
    third = [x.tolist() for x, _ in loader]
    resumed, _ = batches_of(data, 50, batch_size=8, shuffle=True)
    resumed.epoch = 2
    assert [x.tolist() for x, _ in resumed] == third


# The sets


def test_digits_are_1797_images_of_28_by_28_in_two_parts(data):
    (images, labels), (test_images, test_labels) = data.digits("train"), data.digits("test")
    assert images.shape == (1500, 1, 28, 28) and test_images.shape == (297, 1, 28, 28)
    assert images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert labels.dtype == np.int64 and np.bincount(labels).min() > 140 and len(test_labels) == 297


def test_digits_are_those_of_uci(data):
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    theirs, (images, labels) = load_digits(), data.digits("test")
    assert (labels == theirs.target[1500:]).all()
    assert (images[:, 0, 2:26:3, 2:26:3] * 16 == theirs.images[1500:]).all()


def test_digits_take_less_than_60_kb(data):
    assert Path(data.__file__).with_name("digits.npz").stat().st_size < 60_000


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_another_split_is_refused(name, data):
    with pytest.raises(ValueError, match=f"{name}: wanted the split 'train' or 'test', got 'valid'"):
        getattr(data, name)("valid")


def test_moons_lie_on_their_half_circles_and_follow_from_the_seed(data):
    points, labels = data.moons(101, noise=0, seed=1)
    assert points.shape == (101, 2) and labels.shape == (101, 1) and (labels == 1).sum() == 50
    assert points.dtype == labels.dtype == np.float32
    upper = points[labels[:, 0] == -1]
    lower = [1, 0.5] - points[labels[:, 0] == 1]
    for moon in (upper, lower):
        np.testing.assert_allclose(np.hypot(*moon.T), 1, rtol=1e-6)
        assert (moon[:, 1] >= 0).all() and moon[:, 0].min() < -0.5 and moon[:, 0].max() > 0.5
    assert (data.moons(101, 0, 1)[0] == points).all()
    assert (data.moons(101, 0, 2)[0] != points).any()


def test_moons_are_those_of_the_rungs_below(data):
    from stage1_scalar.moons import make_moons

    points, labels = make_moons(20, 0.1, 5)
    mine, my_labels = data.moons(20, 0.1, 5)
    np.testing.assert_array_equal(mine, np.array(points, np.float32))
    assert my_labels[:, 0].tolist() == labels


# MNIST's files


def test_mnists_format_is_read(data, files):
    images, labels = data.read_mnist(*files)
    assert images.shape == (3, 1, 28, 28) and images.dtype == np.float32
    assert images[0, 0, 0, 1] == np.float32(1) / 255 and images.max() == 1
    assert labels.dtype == np.int64 and labels.tolist() == [7, 0, 9]


@pytest.mark.parametrize("end", [0, 5, 100, -9, -1])
def test_a_truncated_gzip_is_named(end, data, files):
    files[0].write_bytes(files[0].read_bytes()[:end])
    with pytest.raises(ValueError, match=r"images\.gz: "):
        data.read_mnist(*files)


def test_a_file_that_is_no_gzip_is_named(data, files):
    files[1].write_bytes(b"<html>Please log in to this network</html>")
    with pytest.raises(ValueError, match=r"labels\.gz: not a whole gzip file"):
        data.read_mnist(*files)


def test_a_damaged_gzip_is_named(data, files):
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 0xFF
    files[0].write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.gz: not a whole gzip file"):
        data.read_mnist(*files)


def test_a_wrong_magic_number_is_named(data, files):
    write_idx(files[0], np.zeros((3, 28, 28)), magic=2052)
    with pytest.raises(ValueError, match=r"images\.gz: wanted an idx file with the magic number 2051, found 2052"):
        data.read_mnist(*files)


def test_labels_in_the_place_of_images_are_named(data, files):
    with pytest.raises(ValueError, match=r"labels\.gz: .*2051, found 2049"):
        data.read_mnist(files[1], files[1])


@pytest.mark.parametrize("size", [0, 3, 10, 20, 100])
def test_an_idx_file_that_ends_early_is_named(size, data, files):
    files[0].write_bytes(gzip.compress(gzip.decompress(files[0].read_bytes())[:size]))
    with pytest.raises(ValueError, match=r"images\.gz: "):
        data.read_mnist(*files)


def test_an_idx_file_with_more_than_its_shape_is_named(data, files):
    files[1].write_bytes(gzip.compress(gzip.decompress(files[1].read_bytes()) + b"\1"))
    with pytest.raises(ValueError, match=r"labels\.gz: 12 bytes when unpacked, wanted 11 for the shape \(3,\)"):
        data.read_mnist(*files)


def test_a_label_outside_0_to_9_is_named(data, files):
    write_idx(files[1], [7, 10, 9])
    with pytest.raises(ValueError, match=r"labels\.gz: label 10 is not a digit"):
        data.read_mnist(*files)


def test_more_images_than_labels_are_named(data, files):
    write_idx(files[1], [7, 0])
    with pytest.raises(ValueError, match=r"images\.gz: 3 images, but 2 labels in .*labels\.gz"):
        data.read_mnist(*files)


# MNIST's place


@pytest.fixture
def mirrors(data, tmp_path, monkeypatch):
    """MNIST of three images, in a folder that stands for both mirrors, and an empty place to look for it."""
    served = {}
    for name in data._SHA256:
        array = np.zeros((3, 28, 28)) if "images" in name else [1, 2, 3]
        served[name] = write_idx(tmp_path / "mirror", array).read_bytes()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in served.items()}
    monkeypatch.setattr(data, "_SHA256", sums)
    monkeypatch.setenv("GRADUAL_DATA", str(tmp_path / "place"))
    asked = []

    def fetch(url):
        asked.append(url)
        content = served[url.rpartition("/")[2]]
        if isinstance(content, Exception):
            raise content
        return content

    monkeypatch.setattr(data, "_fetch", fetch)
    return served, asked, tmp_path / "place" / "mnist"


def test_mnist_is_downloaded_once_and_looked_up_from_then_on(data, mirrors):
    _, asked, folder = mirrors
    assert data.mnist("train")[1].tolist() == [1, 2, 3]
    assert [url.rpartition("/")[2] for url in asked] == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]
    data.mnist("train")
    assert len(asked) == 2


def test_mnist_is_looked_for_in_the_cache_folder_by_default(data, mirrors, monkeypatch, tmp_path):
    monkeypatch.delenv("GRADUAL_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data.mnist("test")
    assert (tmp_path / "cache" / "gradual" / "mnist" / "t10k-labels-idx1-ubyte.gz").exists()


def test_the_second_mirror_is_asked_where_the_first_fails(data, mirrors, monkeypatch):
    served, asked, _ = mirrors
    fetch = data._fetch

    def first_is_down(url):
        if url.startswith(data._MIRRORS[0]):
            raise URLError("no route to host")
        return fetch(url)

    monkeypatch.setattr(data, "_fetch", first_is_down)
    data.mnist("train")
    assert all(url.startswith(data._MIRRORS[1]) for url in asked) and len(asked) == 2


def test_a_download_that_is_not_mnist_is_not_kept(data, mirrors):
    served, _, folder = mirrors
    served["train-images-idx3-ubyte.gz"] = b"<html>Please log in to this network</html>"
    with pytest.raises(OSError, match="could not be downloaded.*damaged or another file"):
        data.mnist("train")
    assert not any(folder.glob("*"))


def test_without_a_network_the_error_says_which_file_is_missing_and_why(data, mirrors):
    served, asked, _ = mirrors
    served["train-images-idx3-ubyte.gz"] = URLError("no route to host")
    with pytest.raises(OSError, match="train-images-idx3-ubyte.gz is not there .*no route to host.*no route to host"):
        data.mnist("train")
    assert len(asked) == 2


def test_a_file_with_another_checksum_is_named_and_neither_read_nor_replaced(data, mirrors):
    _, asked, folder = mirrors
    folder.mkdir(parents=True)
    path = write_idx(folder / "train-images-idx3-ubyte.gz", np.ones((3, 28, 28)))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz: damaged or another file: its SHA-256 is"):
        data.mnist("train")
    assert path.read_bytes() == before and asked == []


def test_no_network_is_found_out_within_seconds(data, tmp_path, monkeypatch):
    """A mirror that never answers, on this machine: connections wait in its queue for ever."""
    import socket
    from time import monotonic

    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(data, "_MIRRORS", (host,))
        monkeypatch.setenv("GRADUAL_DATA", str(tmp_path))
        monkeypatch.setenv("no_proxy", "*")
        start = monotonic()
        with pytest.raises(OSError, match="timed out"):
            data.mnist("train")
        assert monotonic() - start < 6


def test_a_file_comes_over_the_network_whole(data, tmp_path):
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    content = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "file.gz").write_bytes(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert data._fetch(f"http://127.0.0.1:{server.server_port}/file.gz") == content
        server.shutdown()
