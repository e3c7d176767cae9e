"""Files from the network, by more than one way and checked by their sums."""

import hashlib
from contextlib import nullcontext
from http.client import HTTPException
from multiprocessing import TimeoutError as NoAnswer
from multiprocessing.pool import ThreadPool
from time import monotonic
from urllib.request import urlopen

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

from .files import whole_file

PATIENCE = 10  # seconds, for an answer to begin
SLOWEST = 10_000  # bytes a second, once they have passed


def download(path, mirrors, size, sha256):
    """Fetch the file of this name from the first of the addresses that gives it whole; OSError says why none did."""
    faults = []
    for mirror in mirrors:
        try:
            content = fetch(mirror + path.name, size)
            check(mirror + path.name, content, size, sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(content)
            return
        except (OSError, HTTPException, ValueError) as error:
            faults.append(f"{mirror}: {getattr(error, 'reason', error)}")
    raise OSError(f"{path} is not there and could not be downloaded: {'; '.join(faults)}")


def fetch(url, size):
    """The bytes at the address, at most one more than `size`, behind a bar where the terminal can show one.

    TimeoutError if they are too slow in coming.
    """
    parts, got, start = [], 0, monotonic()
    bar = tqdm(total=size, desc=url.rpartition("/")[2], unit="B", disable=None) if tqdm else nullcontext()
    with _answer(url) as response, bar:
        while part := response.read1(min(1 << 16, size + 1 - got)):
            parts.append(part)
            got += len(part)
            if tqdm:
                bar.update(len(part))
            if monotonic() - start > PATIENCE + got / SLOWEST:
                raise TimeoutError(f"gave it up after {got:,} bytes: less than {SLOWEST:,} a second")
    return b"".join(parts)


def _answer(url):
    """The opened address; TimeoutError where even what stands before the bytes doesn't come to an end."""
    with ThreadPool(1) as thread:
        try:
            return thread.apply_async(urlopen, [url], {"timeout": 3}).get(PATIENCE)
        except NoAnswer:
            raise TimeoutError(f"gave it up: no answer within {PATIENCE} seconds") from None


def check(name, content, size, sha256):
    """ValueError, which names what the bytes are from, unless they are as many and their SHA-256 is the one wanted."""
    if len(content) != size:
        what = "more" if len(content) > size else "less"
        raise ValueError(f"{name}: damaged or another file: {what} than {size:,} bytes")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{name}: damaged or another file: its SHA-256 is {found}, wanted {sha256}")
