"""Files from the network, by more than one way and checked by their sums."""

import hashlib
from http.client import HTTPException
from urllib.request import urlopen

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

from .checkpoint import whole_file


def download(path, mirrors, sha256):
    """Fetch the file of this name from the first of the addresses that gives it whole; OSError says why none did."""
    faults = []
    for mirror in mirrors:
        try:
            content = fetch(mirror + path.name)
            check_sha256(mirror + path.name, content, sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(content)
            return
        except (OSError, HTTPException, ValueError) as error:
            faults.append(f"{mirror}: {getattr(error, 'reason', error)}")
    raise OSError(f"{path} is not there and could not be downloaded: {'; '.join(faults)}")


def fetch(url):
    """The bytes at the address, behind a progress bar where the terminal can show one."""
    with urlopen(url, timeout=3) as response:
        size = int(response.headers.get("Content-Length", 0))
        if not tqdm:
            return response.read()
        with tqdm.wrapattr(response, "read", size, desc=url.rpartition("/")[2], disable=None) as watched:
            return b"".join(iter(lambda: watched.read(1 << 16), b""))


def check_sha256(name, content, wanted):
    """ValueError, which names what the bytes are from, unless their SHA-256 is the one wanted."""
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise ValueError(f"{name}: damaged or another file: its SHA-256 is {found}, wanted {wanted}")
