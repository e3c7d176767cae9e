"""The data sets of the demos: two moons, the digits that ship with this package, and downloaded ones.

MNIST is by Y. LeCun and C. Cortes (CC BY-SA 3.0), CIFAR-10 by A. Krizhevsky (2009). The digits in `digits.npz` are
"Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49 (CC BY 4.0).
"""

import gzip
import random
import tarfile
import zlib
from math import cos, pi, prod, sin
from pathlib import Path

import numpy as np

from .download import FILES, data_folder, local_path
from .engine import constant
from .files import plain


def moons(n=100, noise=0.1, seed=0):
    """Two half circles of radius 1 that reach into each other: n points, (n, 2), and their labels −1 and 1, (n, 1).

    `noise` is the standard deviation of the noise that is added to each coordinate.
    """
    rng = random.Random(seed)
    points, labels = [], []
    for i in range(n):
        angle = pi * rng.random()
        x, y = cos(angle), sin(angle)
        points.append([(1 - x if i % 2 else x) + rng.gauss(0, noise), (0.5 - y if i % 2 else y) + rng.gauss(0, noise)])
        labels.append([1 if i % 2 else -1])
    return constant(np.array(points, np.float32)), constant(np.array(labels, np.float32))


def digits(split="train"):
    """The handwritten digits that ship with this package: the first 1,500 for "train", the other 297 for "test".

    Images (N, 1, 28, 28), float32 from 0 to 1: 8×8 pixels, each shown as 3×3, in a border of 2; labels (N,), int64.
    """
    part = {"train": slice(1500), "test": slice(1500, None)}[_split("digits", split)]
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as arrays:
        images, labels = arrays["images"][part], arrays["labels"][part]
    images = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    return constant(images[:, None] / np.float32(16)), constant(labels.astype(np.int64))


def _split(name, split):
    if split not in ("train", "test"):
        raise ValueError(f"{name}: wanted the split 'train' or 'test', got {split!r}")
    return split


def text(name):
    """A text: "names", 32,033 first names, one a line, or "tinyshakespeare", 40,000 lines of his plays.

    The file is looked up in `$GRADUAL_DATA/text`, by default in the cache folder, else downloaded to there. OSError if
    that fails, ValueError if the file is another one.
    """
    if f"text/{name}.txt" not in FILES:
        raise ValueError(f"text: wanted 'names' or 'tinyshakespeare', got {name!r}")
    return local_path(f"text/{name}.txt").read_text(encoding="utf-8")


def mnist(split="train"):
    """MNIST: 60,000 images for "train", 10,000 for "test", (N, 1, 28, 28), float32 from 0 to 1; labels (N,), int64.

    The files are looked up in `$GRADUAL_DATA/mnist`, by default in the cache folder, else downloaded to there. OSError
    if that fails, ValueError if one of the files isn't MNIST's.
    """
    part = {"train": "train", "test": "t10k"}[_split("mnist", split)]
    return read_mnist(
        local_path(f"mnist/{part}-images-idx3-ubyte.gz"), local_path(f"mnist/{part}-labels-idx1-ubyte.gz")
    )


def read_mnist(images_path, labels_path):
    """Images and labels from two files in MNIST's format, as `mnist` gives them. ValueError names a faulty file."""
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if len(images) != len(labels):
        raise ValueError(f"{images_path}: {len(images)} images, but {len(labels)} labels in {labels_path}")
    if labels.size and labels.max() > 9:
        raise ValueError(f"{labels_path}: label {labels.max()} is not a digit from 0 to 9")
    return constant(images[:, None] / np.float32(255)), constant(labels.astype(np.int64))


def read_idx(path, ndim):
    """The array of bytes in a gzipped idx file: the number 2048 + ndim, the ndim sizes, all as >u4, then the bytes."""
    try:
        with gzip.open(plain(path)) as file:
            header = file.read(4 + 4 * ndim)
            magic, *shape = np.frombuffer(header.ljust(4 + 4 * ndim, b"\0"), ">u4").tolist()
            if magic != 2048 + ndim:
                raise ValueError(f"{path}: wanted an idx file with the magic number {2048 + ndim}, found {magic}")
            if len(header) < 4 + 4 * ndim:
                raise ValueError(f"{path}: ends in its header")
            size = prod(shape)
            can_be = size < 2000 * path.stat().st_size  # gzip packs about a thousand bytes into one, and no more
            content = file.read(size + 1) if can_be else b""
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file: {error}") from None
    if len(content) != size:
        what = "more" if len(content) > size else "less"
        raise ValueError(f"{path}: {what} than the {size:,} bytes of its shape {tuple(shape)}")
    return np.frombuffer(content, np.uint8).reshape(shape)


CIFAR10_CLASSES = "plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
_BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_RECORD = 3073  # bytes: a label, then 32×32 pixels' red, green and blue


def cifar10(split="train"):
    """CIFAR-10: 50,000 images for "train", 10,000 for "test", (N, 3, 32, 32), float32 from 0 to 1; labels (N,), int64.

    Its binary files, or those of them that exist, are read from `$GRADUAL_DATA/cifar10`, by default from the cache
    folder. If there are none, the archive that holds them is read from there, after a download if necessary. OSError if
    that fails, ValueError if a file isn't CIFAR-10's.
    """
    names, folder = _BATCHES[_split("cifar10", split)], data_folder() / "cifar10"
    if any((folder / name).exists() for batches in _BATCHES.values() for name in batches):
        paths = [folder / name for name in names if (folder / name).exists()]
        if not paths:
            raise ValueError(f"{folder / names[0]} is not there, but others of CIFAR-10's files are")
        records = [read_cifar(path, plain(path).read_bytes()) for path in paths]
    else:
        records = read_archive(local_path("cifar10/cifar-10-binary.tar.gz"), names)
    records = np.concatenate(records)
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    return constant(images / np.float32(255)), constant(records[:, 0].astype(np.int64))


def read_archive(path, names):
    """The records of the files of these names in CIFAR-10's archive, which is not unpacked to anywhere."""
    found = {}
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name in names and member.isfile() and member.size <= 10_000 * _RECORD:
                found[name] = read_cifar(f"{path}: {name}", archive.extractfile(member).read())
    if missing := set(names) - set(found):
        raise ValueError(f"{path}: holds no {', '.join(sorted(missing))} of at most 10,000 images")
    return [found[name] for name in names]


def read_cifar(name, content):
    """The records, (N, 3073), in the bytes of a file in CIFAR-10's format; ValueError gives its name if they aren't."""
    if not content or len(content) % _RECORD:
        raise ValueError(f"{name}: wanted whole records of {_RECORD:,} bytes, found {len(content):,} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{name}: label {records[:, 0].max()} is not one from 0 to 9")
    return records
