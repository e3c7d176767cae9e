"""Files that are written atomically, and checks before one is read."""

import os
import secrets
from contextlib import contextmanager, suppress
from errno import EINVAL
from pathlib import Path
from stat import S_IMODE


@contextmanager
def whole_file(path):
    """A temporary file to write, moved to `path` once it is on the disk, and removed if that fails.

    It takes over the permissions of the file that it replaces. A link at `path` stays, and leads to the new file.
    """
    path = Path(os.path.realpath(path))
    aside = path.with_name(f"{path.name[:40]}.{secrets.token_hex(8)}.tmp")  # unique, also among containers
    try:
        plain(path)
        with open(aside, "xb") as file:
            with suppress(FileNotFoundError):
                aside.chmod(S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.filename == str(aside):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        with suppress(OSError):
            aside.unlink()


def plain(path):
    """The path. OSError if it is a folder, a pipe or a device, which couldn't be read to an end or replaced."""
    if path.exists() and not path.is_file():
        raise OSError(EINVAL, "a folder, a pipe or a device, no file", str(path))
    return path


def unpacked_limit(file):
    """The most bytes that a file may unpack to: 1 GiB, or a hundred times its size on the disk."""
    try:
        taken = os.fstat(file.fileno()).st_blocks * 512  # of a sparse file much less than its length
    except (AttributeError, OSError):  # on Windows, and in memory
        taken = file.seek(0, os.SEEK_END)
    return max(1 << 30, 100 * taken)


def shown(text, most=300):
    """Text from a file for printing: without control characters, and truncated."""
    text = str(text)
    text = text if len(text) <= most else text[:most] + " …"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
