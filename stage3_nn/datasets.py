"""The data sets of the demos: two moons, the digits that ship with this package, and MNIST, which is downloaded.

MNIST is by Y. LeCun and C. Cortes (CC BY-SA 3.0). The digits in `digits.npz` are "Optical Recognition of Handwritten
Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49 (CC BY 4.0).
"""

import gzip
import os
import random
import zlib
from math import cos, pi, prod, sin
from pathlib import Path

import numpy as np

from .download import check, download
from .engine import constant
from .files import plain


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


_MIRRORS = "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FILES = {  # bytes, SHA-256
    "train-images-idx3-ubyte.gz": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    "train-labels-idx1-ubyte.gz": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "t10k-images-idx3-ubyte.gz": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "t10k-labels-idx1-ubyte.gz": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}


def mnist(split="train"):
    """MNIST: 60,000 images for "train", 10,000 for "test", (N, 1, 28, 28), float32 from 0 to 1; labels (N,), int64.

    The files are looked up in `$GRADUAL_DATA/mnist`, by default `~/.cache/gradual/mnist`, else downloaded to there.
    OSError if they can't be had, ValueError if one that is there isn't MNIST's.
    """
    folder = data_folder() / "mnist"
    part = {"train": "train", "test": "t10k"}[_split("mnist", split)]
    paths = [folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"]
    for path in paths:
        size, sha256 = _FILES[path.name]
        if not path.exists():
            download(path, _MIRRORS, size, sha256)
        with open(plain(path), "rb") as file:
            check(path, file.read(size + 1), size, sha256)
    return read_mnist(*paths)


def data_folder():
    """Where data sets are: in `$GRADUAL_DATA` or, by default, the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "gradual")
    try:
        return Path(os.environ.get("GRADUAL_DATA") or cache).expanduser()
    except RuntimeError as error:
        raise OSError(f"there is no folder for data: {error} Say which in GRADUAL_DATA") from None


def _split(name, split):
    if split not in ("train", "test"):
        raise ValueError(f"{name}: wanted the split 'train' or 'test', got {split!r}")
    return split


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
