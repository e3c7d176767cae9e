"""Data: datasets, batches of them, the three sets that the demos use, and checkpoints.

MNIST is by Y. LeCun and C. Cortes (CC BY-SA 3.0). The digits in `digits.npz` are "Optical Recognition of Handwritten
Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49 (CC BY 4.0).
"""

import gzip
import hashlib
import io
import os
import random
import zipfile
import zlib
from contextlib import contextmanager
from http.client import HTTPException
from math import cos, pi, prod, sin
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from .device import device_of, moved

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None
try:
    import safetensors.numpy as safetensors
except ImportError:
    safetensors = None


class Dataset:
    """Examples that can be counted and taken by their number.

    A subclass gives `len(dataset)` and `dataset[i]`, a tuple of arrays. Unlike in PyTorch, i may be an array of numbers
    too, and then the arrays hold those examples along their first dim: a batch.
    """

    def __len__(self):
        raise NotImplementedError(f"{type(self).__name__} has no __len__()")

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__()")


class TensorDataset(Dataset):
    """Arrays side by side: example i is row i of each."""

    def __init__(self, *arrays):
        if len({len(array) for array in arrays}) != 1:
            raise ValueError(f"TensorDataset: wanted arrays of one length, got {[len(array) for array in arrays]}")
        self.arrays = arrays

    def to(self, device):
        """The same examples in the memory of "cpu" or "cuda", from which batches are taken without a transfer."""
        return TensorDataset(*[moved(array, device) for array in self.arrays])

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(array[index] for array in self.arrays)


class DataLoader:
    """Goes through a dataset in batches; each time it is gone through is an epoch.

    With `shuffle` the order is another one every epoch, and follows from `seed` and `epoch` alone: a run that goes on
    with `loader.epoch = 3` gets the batches of one that was never stopped. The last batch may be smaller, or is left
    out with `drop_last`.
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, drop_last=False, seed=0):
        if batch_size < 1:
            raise ValueError(f"DataLoader: wanted a batch size of at least 1, got {batch_size}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.seed, self.epoch = seed, 0

    def __len__(self):
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self):
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        self.epoch += 1
        if isinstance(self.dataset, TensorDataset):
            order = moved(order, device_of(self.dataset.arrays[0]))  # now, and not in each step
        for i in range(len(self)):
            yield self.dataset[order[i * self.batch_size : (i + 1) * self.batch_size]]


# Data sets


def moons(n=100, noise=0.1, seed=0):
    """Two half circles of radius 1 that reach into each other: n points, (n, 2), and their labels −1 and 1, (n, 1).

    `noise` is the standard deviation of what is added to each coordinate.
    """
    rng = random.Random(seed)
    points, labels = [], []
    for i in range(n):
        angle = pi * rng.random()
        x, y = cos(angle), sin(angle)
        points.append([(1 - x if i % 2 else x) + rng.gauss(0, noise), (0.5 - y if i % 2 else y) + rng.gauss(0, noise)])
        labels.append([1 if i % 2 else -1])
    return np.array(points, np.float32), np.array(labels, np.float32)


def digits(split="train"):
    """The handwritten digits that ship with this package: the first 1,500 for "train", the other 297 for "test".

    Images (N, 1, 28, 28), float32 from 0 to 1: 8×8 pixels, each shown as 3×3, in a border of 2; labels (N,), int64.
    """
    part = {"train": slice(1500), "test": slice(1500, None)}[_split("digits", split)]
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as arrays:
        images, labels = arrays["images"][part], arrays["labels"][part]
    images = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    return images[:, None] / np.float32(16), labels.astype(np.int64)


_MIRRORS = "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def mnist(split="train"):
    """MNIST: 60,000 images for "train", 10,000 for "test", (N, 1, 28, 28), float32 from 0 to 1; labels (N,), int64.

    The files are looked up in `$GRADUAL_DATA/mnist`, by default `~/.cache/gradual/mnist`, else downloaded to there.
    OSError if they can't be had, ValueError if one that is there isn't MNIST's.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gradual")
    folder = Path(os.environ.get("GRADUAL_DATA") or cache, "mnist")
    part = {"train": "train", "test": "t10k"}[_split("mnist", split)]
    paths = [folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"]
    for path in paths:
        if not path.exists():
            _download(path)
        check_sha256(path, path.read_bytes(), _SHA256[path.name])
    return read_mnist(*paths)


def _split(name, split):
    if split not in ("train", "test"):
        raise ValueError(f"{name}: wanted the split 'train' or 'test', got {split!r}")
    return split


def check_sha256(name, content, wanted):
    """ValueError, which names what the bytes are from, unless their SHA-256 is the one wanted."""
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise ValueError(f"{name}: damaged or another file: its SHA-256 is {found}, wanted {wanted}")


def read_mnist(images_path, labels_path):
    """Images and labels from two files in MNIST's format, as `mnist` gives them. ValueError names a faulty file."""
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if len(images) != len(labels):
        raise ValueError(f"{images_path}: {len(images)} images, but {len(labels)} labels in {labels_path}")
    if labels.size and labels.max() > 9:
        raise ValueError(f"{labels_path}: label {labels.max()} is not a digit from 0 to 9")
    return images[:, None] / np.float32(255), labels.astype(np.int64)


def read_idx(path, ndim):
    """The array of bytes in a gzipped idx file: the number 2048 + ndim, the ndim sizes, all as >u4, then the bytes."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file: {error}") from None
    header = 4 + 4 * ndim
    magic, *shape = np.frombuffer(content[:header].ljust(header, b"\0"), ">u4").tolist()
    if magic != 2048 + ndim:
        raise ValueError(f"{path}: wanted an idx file with the magic number {2048 + ndim}, found {magic}")
    if len(content) != header + prod(shape):
        wanted = f"{header + prod(shape)} for the shape {tuple(shape)}"
        raise ValueError(f"{path}: {len(content)} bytes when unpacked, wanted {wanted}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _download(path):
    """Fetch one of MNIST's files from the first mirror that gives it whole; OSError says why none did."""
    faults = []
    for mirror in _MIRRORS:
        try:
            content = _fetch(mirror + path.name)
            check_sha256(mirror + path.name, content, _SHA256[path.name])
            path.parent.mkdir(parents=True, exist_ok=True)
            with _whole(path) as file:
                file.write(content)
            return
        except (OSError, HTTPException, ValueError) as error:
            faults.append(f"{mirror}: {getattr(error, 'reason', error)}")
    raise OSError(f"{path} is not there and could not be downloaded: {'; '.join(faults)}")


def _fetch(url):
    """The bytes at the address, behind a progress bar where the terminal can show one."""
    with urlopen(url, timeout=3) as response:
        size = int(response.headers.get("Content-Length", 0))
        if not tqdm:
            return response.read()
        with tqdm.wrapattr(response, "read", size, desc=url.rpartition("/")[2], disable=None) as watched:
            return b"".join(iter(lambda: watched.read(1 << 16), b""))


# Checkpoints


def save(state, path):
    """Write a flat dict of arrays, such as a `state_dict`, to a `.npz` or, with its package, a `.safetensors` file.

    It is written aside and then moved into place: whatever happens, `path` holds the old file or the new one, whole.
    """
    path = checkpoint_path(path)
    arrays = {name: moved(getattr(array, "_data", array), "cpu") for name, array in state.items()}
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # safetensors writes memory order
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise TypeError(f"save: {name}: wanted an array of numbers, got {type(state[name]).__name__}")
    with _whole(path) as file:
        if path.suffix == ".safetensors":
            file.write(safetensors.save(arrays))
        else:
            with zipfile.ZipFile(file, "w") as archive:  # what np.savez writes, but free to name an array "file"
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, array, allow_pickle=False)


def load(path):
    """The dict of arrays in a file that `save`, `np.savez` or safetensors wrote. ValueError if it isn't a whole one."""
    path = checkpoint_path(path)
    content = path.read_bytes()
    try:
        if path.suffix == ".safetensors":
            return safetensors.load(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name.removesuffix(".npy"): _read_array(archive, name) for name in archive.namelist()}
    except Exception as error:
        raise ValueError(f"load: {path} is not a whole {path.suffix} file: {error}") from error


def _read_array(archive, name):
    with archive.open(name) as entry:
        return np.lib.format.read_array(entry, allow_pickle=False)


def checkpoint_path(path):
    """The path of a checkpoint; ValueError for another kind of file, ImportError for one that needs a package."""
    path = Path(path)
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"wanted a .npz or .safetensors file, got {path}")
    if path.suffix == ".safetensors" and not safetensors:
        raise ImportError(f"{path} needs the safetensors package: pip install safetensors")
    return path


@contextmanager
def _whole(path):
    """A file to write, moved to `path` once it is on the disk, and removed if that fails."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
