"""Data files: where they are looked up, and how they are downloaded by pooch, https://www.fatiando.org/pooch"""

import hashlib
import os
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from time import monotonic

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

from .files import plain

FILES = {  # where in the folder of data: bytes, SHA-256
    "mnist/train-images-idx3-ubyte.gz": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    "mnist/train-labels-idx1-ubyte.gz": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "mnist/t10k-images-idx3-ubyte.gz": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "mnist/t10k-labels-idx1-ubyte.gz": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    "cifar10/cifar-10-binary.tar.gz": (170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    "text/names.txt": (228145, "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"),
    "text/tinyshakespeare.txt": (1115394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
}
_GITHUB = "https://raw.githubusercontent.com/karpathy/{}/master/{}", "https://cdn.jsdelivr.net/gh/karpathy/{}@master/{}"
MIRRORS = {  # of a folder, with {} for the name of the file, or of a file
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/{}",
        "https://storage.googleapis.com/cvdf-datasets/mnist/{}",
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/{}",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/{}",
    ),
    "text/names.txt": [url.format("makemore", "names.txt") for url in _GITHUB],
    "text/tinyshakespeare.txt": [url.format("char-rnn", "data/tinyshakespeare/input.txt") for url in _GITHUB],
}
PATIENCE = 10  # seconds until the first byte
SLOWEST = 10_000  # bytes a second, after that


def local_path(name):
    """The path of one of `FILES`, downloaded if it isn't in the folder of data.

    OSError if it can't be downloaded, ValueError if the file has another SHA-256.
    """
    path, (size, sha256) = data_folder() / name, FILES[name]
    if not path.exists():
        mirrors = MIRRORS[name if name in MIRRORS else path.parent.name]
        download(path, [url.format(path.name) for url in mirrors], size, sha256)
    with open(plain(path), "rb") as file:
        content = file.read(size + 1)
    if len(content) != size:
        what = "more" if len(content) > size else "less"
        raise ValueError(f"{path}: damaged or another file: {what} than {size:,} bytes")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: damaged or another file: its SHA-256 is {found}, wanted {sha256}")
    return path


def data_folder():
    """Where data sets are: `$GRADUAL_DATA` or else the user's cache folder, which pooch knows."""
    try:
        if folder := os.environ.get("GRADUAL_DATA"):
            return Path(folder).expanduser()
        from pooch import os_cache

        return os_cache("gradual").expanduser()
    except ImportError:
        raise OSError("there is no folder for data: say which in GRADUAL_DATA, or pip install pooch") from None
    except RuntimeError as error:
        raise OSError(f"there is no folder for data: {error} Say which in GRADUAL_DATA") from None


def download(path, urls, size, sha256):
    """Download a file from the first URL that succeeds; OSError says why none did."""
    try:
        import pooch
    except ImportError:
        raise OSError(f"{path} is not there: to download it, pip install pooch") from None
    pooch.get_logger().setLevel("WARNING")
    faults, known = [], {path.name: f"sha256:{sha256}"}
    for url in urls:
        try:
            place = pooch.create(path.parent, "", registry=known, urls={path.name: url}, retry_if_failed=1)
            place.fetch(path.name, downloader=partial(fetch, size=size))
            return
        except ValueError:
            faults.append(f"{url}: damaged or another file")
        except OSError as error:
            faults.append(f"{url}: {_cause(error)}")
    raise OSError(f"{path} is not there and could not be downloaded: {'; '.join(faults)}")


def _cause(error):
    """The first cause of an error."""
    while error.__context__:
        error = error.__context__
    return error


def fetch(url, path, pooch, size):
    """Download a file as pooch does, but with limits on its size and time.

    ValueError if it has more than `size` bytes, TimeoutError if it is too slow: pooch itself would read on forever.
    """
    from pooch import HTTPDownloader
    from requests import Timeout

    bar = tqdm(desc=url.rpartition("/")[2], total=size, unit="B", unit_scale=True, disable=None) if tqdm else False
    start, answers = monotonic(), []
    options = {"timeout": 3, "headers": {"Accept-Encoding": "identity"}}
    get = HTTPDownloader(bar, 1 << 14, **options, hooks={"response": lambda answer, **_: answers.append(answer)})
    with open(path, "wb") as file, ThreadPool(1) as thread:
        bounded = _Bounded(file, size)
        done = thread.apply_async(get, [url, bounded, pooch])
        try:
            while not done.ready():
                done.wait(0.1)
                if monotonic() - start > PATIENCE + bounded.got / SLOWEST:
                    raise TimeoutError(f"gave it up after {bounded.got:,} bytes: less than {SLOWEST:,} a second")
            done.get()
        except Timeout as error:  # pooch would retry
            raise TimeoutError from error
        finally:
            for answer in answers if done.ready() else ():  # pooch doesn't close them
                answer.close()


class _Bounded:
    """A file to write, of at most `size` bytes."""

    def __init__(self, file, size):
        self.file, self.size, self.got = file, size, 0
        self.flush = file.flush

    def write(self, part):
        self.got += len(part)
        if self.got > self.size:
            raise ValueError(f"more than {self.size:,} bytes")
        self.file.write(part)
