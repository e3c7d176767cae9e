"""MNIST, CIFAR-10 and texts: where they are looked up, how they are downloaded, and what keeps a broken one out."""

import hashlib
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from types import SimpleNamespace

import numpy as np
import pytest

from .test_data import archive, records, write_idx

pytestmark = pytest.mark.capability("data")


@pytest.fixture
def sets(stage):
    if stage.foreign:
        pytest.skip("not there: the data of the ladder's own networks")
    return stage.part("datasets")


@pytest.fixture
def download(stage, sets):
    pytest.importorskip("pooch")
    return stage.part("download")


@pytest.fixture
def web(monkeypatch):
    """A server on this machine: what it serves, by the path, as bytes or a function that writes; and what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            served = server.served.get(self.path)
            self.send_response(404 if served is None else 200)
            if isinstance(served, bytes):
                self.send_header("Content-Length", str(len(served)))
            self.end_headers()
            with suppress(OSError):  # the other side may have had enough
                served(self.wfile) if callable(served) else self.wfile.write(served or b"")

        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.served, server.asked = True, {}, []
        server.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def small(name):
    """The bytes of a small file in the place of one of the real ones."""
    if name.startswith("mnist"):
        path = SimpleNamespace(write_bytes=lambda content: setattr(path, "content", content))
        write_idx(path, np.zeros((3, 28, 28)) if "images" in name else [1, 2, 3])
        return path.content
    if name.startswith("cifar10"):
        names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
        return archive(*[(f"cifar-10-batches-bin/{name}", records(1), b"0") for name in names])
    return b"emma\nolivia\nava\n"


# A set, how it is loaded and shown as a list, and the files that this takes, in the order in which they are asked for.
SETS = {
    "mnist": (lambda sets: sets.mnist("train")[1].tolist(), [1, 2, 3], ["train-images-idx3", "train-labels-idx1"]),
    "cifar10": (lambda sets: sets.cifar10("train")[1].tolist(), [7] * 5, ["cifar-10-binary.tar.gz"]),
    "names": (lambda sets: sets.text("names").split(), ["emma", "olivia", "ava"], ["names.txt"]),
    "tinyshakespeare": (lambda sets: sets.text("tinyshakespeare")[:4], "emma", ["tinyshakespeare.txt"]),
}


@pytest.fixture(params=SETS)
def case(request, sets, download, web, tmp_path, monkeypatch):
    """One of the sets, small, on two mirrors, and an empty place to look for it."""
    load, wanted, beginnings = SETS[request.param]
    contents = {name: small(name) for name in download.FILES}
    known = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()}
    monkeypatch.setattr(download, "FILES", known)
    monkeypatch.setattr(
        download, "MIRRORS", {name: [f"{web.address}/{m}/{{}}" for m in "ab"] for name in download.MIRRORS}
    )
    monkeypatch.setenv("GRADUAL_DATA", str(tmp_path / "place"))
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))  # before it tries once more
    files = [name for beginning in beginnings for name in known if beginning in name]
    for name in files:
        for mirror in "ab":
            web.served[f"/{mirror}/{Path(name).name}"] = contents[name]
    return SimpleNamespace(
        load=lambda: load(sets),
        wanted=wanted,
        files=[tmp_path / "place" / name for name in files],
        contents=[contents[name] for name in files],
        first=Path(files[0]).name,
        left=lambda: [path for path in (tmp_path / "place").rglob("*") if path.is_file()],
    )


def test_it_is_downloaded_once_and_looked_up_from_then_on(case, web):
    assert case.load() == case.wanted
    assert web.asked == [f"/a/{path.name}" for path in case.files]
    assert sorted(case.left()) == sorted(case.files)
    assert [path.read_bytes() for path in case.files] == case.contents
    assert case.load() == case.wanted and len(web.asked) == len(case.files)


def test_the_second_mirror_is_asked_where_the_first_fails(case, web):
    for path in case.files:
        del web.served[f"/a/{path.name}"]
    assert case.load() == case.wanted
    assert [path for path in web.asked if path.startswith("/b")] == [f"/b/{path.name}" for path in case.files]


def test_a_mirror_that_fails_once_is_asked_again(case, web):
    content = web.served[f"/a/{case.first}"]

    def fail(file):
        web.served[f"/a/{case.first}"] = content
        file.write(b"503")

    web.served[f"/a/{case.first}"] = fail
    assert case.load() == case.wanted
    assert web.asked == [f"/a/{path.name}" for path in (case.files[0], *case.files)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"<html>Please log in to this network</html>",
        lambda content: content[:-1],
        lambda content: content[:4] + b"\xff" + content[5:],
        lambda content: b"",
        lambda content: content + b"x",
    ],
    ids=["another file", "truncated", "damaged", "empty", "longer"],
)
def test_a_download_that_is_not_the_file_is_not_kept(spoil, case, web):
    for mirror, content in zip("ab", 2 * case.contents[:1]):
        web.served[f"/{mirror}/{case.first}"] = spoil(content)
    with pytest.raises(
        OSError, match=f"{case.first} is not there and could not.*(/[ab]/.*damaged or another file.*){{2}}"
    ):
        case.load()
    assert case.left() == []


def test_half_a_download_is_not_kept(case, web):
    """The line is cut, where the mirror has said how much there is to come."""

    class Half(bytes):
        def __len__(self):
            return 2 * super().__len__()

    for mirror in "ab":
        web.served[f"/{mirror}/{case.first}"] = Half(case.contents[0])
    with pytest.raises(OSError, match=f"{case.first} is not there and could not be downloaded: .*IncompleteRead"):
        case.load()
    assert case.left() == []


def test_without_a_network_the_error_says_which_file_is_missing_and_why(case, download, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}"  # once it is closed
    monkeypatch.setattr(
        download, "MIRRORS", {name: [f"{nobody}/a/{{}}", f"{nobody}/b/{{}}"] for name in download.MIRRORS}
    )
    with pytest.raises(OSError, match=f"{case.first} is not there .*(/[ab]/.*: .*Connection refused.*){{2}}"):
        case.load()
    assert case.left() == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="not there: /proc, where nobody may write")
def test_a_folder_where_nobody_may_write_is_named(case, monkeypatch):
    monkeypatch.setenv("GRADUAL_DATA", "/proc")
    with pytest.raises(OSError, match=f"/proc/.*{case.first} is not there and could not be downloaded: .*'/proc/"):
        case.load()


def test_a_file_with_another_sum_is_named_and_neither_read_nor_replaced(case, web):
    path = case.files[0]
    path.parent.mkdir(parents=True)
    for content in (case.contents[0][:-1], b"x" * len(case.contents[0]), case.contents[0] + b"x", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{case.first}: damaged or another file: (its SHA-256 is|more|less)"):
            case.load()
        assert path.read_bytes() == content and web.asked == []


def test_a_folder_in_the_place_of_a_file_is_named(case):
    case.files[0].mkdir(parents=True)
    with pytest.raises(OSError, match=f"a folder, a pipe or a device, no file: .*{case.first}"):
        case.load()


def test_it_is_looked_for_in_the_cache_folder_by_default(case, monkeypatch, tmp_path):
    monkeypatch.delenv("GRADUAL_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if sys.platform == "linux":
        case.load()
        assert (tmp_path / "cache" / "gradual" / case.files[0].relative_to(tmp_path / "place")).exists()


def test_another_text_is_refused(sets):
    with pytest.raises(ValueError, match=r"text: wanted 'names' or 'tinyshakespeare', got '\.\./names'"):
        sets.text("../names")


@pytest.mark.parametrize("name", SETS)
def test_without_pooch_a_sentence_says_what_to_install(name, sets, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setenv("GRADUAL_DATA", str(tmp_path))
    with pytest.raises(OSError, match=r"is not there: to download it, pip install pooch"):
        SETS[name][0](sets)
    monkeypatch.delenv("GRADUAL_DATA")
    with pytest.raises(OSError, match="no folder for data: say which in GRADUAL_DATA, or pip install pooch"):
        SETS[name][0](sets)


def test_the_real_files_are_read_without_pooch(sets, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    if not Path(os.environ.get("GRADUAL_DATA", ""), "text", "names.txt").exists():
        pytest.skip("needs texts in $GRADUAL_DATA")
    assert len(sets.text("names").split()) == 32_033 and sets.text("tinyshakespeare").startswith("First Citizen:")


# What pooch would wait for without end


def fetched(download, address, size, tmp_path):
    """What `fetch` writes."""
    download.fetch(address, tmp_path / "file", None, size)
    return (tmp_path / "file").read_bytes()


def test_a_file_comes_over_the_network_whole(download, web, monkeypatch, tmp_path, capfd):
    content = np.random.default_rng(0).bytes(300_000)
    web.served["/file"] = content
    assert fetched(download, web.address + "/file", len(content), tmp_path) == content
    monkeypatch.setattr(download, "tqdm", None)
    assert fetched(download, web.address + "/file", len(content), tmp_path) == content
    assert capfd.readouterr() == ("", ""), "bars are for terminals"


def test_a_terminal_shows_a_bar(download, web, tmp_path, monkeypatch):
    tqdm = pytest.importorskip("tqdm").tqdm
    lines = []
    screen = SimpleNamespace(write=lines.append, flush=lambda: None, isatty=lambda: True)
    monkeypatch.setattr(download, "tqdm", lambda **options: tqdm(**options, file=screen, mininterval=0))
    web.served["/file"] = bytes(100_000)
    fetched(download, web.address + "/file", 100_000, tmp_path)
    assert re.search(r"file: 100%.*100k/100k", "".join(lines))


def test_no_network_is_found_out_within_seconds(sets, download, tmp_path, monkeypatch):
    """A mirror that never answers, on this machine: connections wait in its queue for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(download, "MIRRORS", {"mnist": [host]})
        monkeypatch.setenv("GRADUAL_DATA", str(tmp_path))
        monkeypatch.setenv("no_proxy", "*")
        start = monotonic()
        with pytest.raises(OSError, match="timed out"):
            sets.mnist("train")
        assert monotonic() - start < 6


def test_a_mirror_that_never_ends_is_given_up(download, web, tmp_path):
    def write(file):
        while True:
            file.write(bytes(1 << 16))

    web.served["/file"] = write
    with pytest.raises(ValueError, match="more than 100,000 bytes"):
        fetched(download, web.address + "/file", 100_000, tmp_path)
    assert (tmp_path / "file").stat().st_size <= 100_000


def test_a_mirror_that_sends_a_byte_at_a_time_is_given_up(download, web, monkeypatch, tmp_path):
    seconds = iter(range(1000))
    monkeypatch.setattr(download, "monotonic", lambda: next(seconds))  # a clock that is as slow as the mirror

    def write(file):
        while True:
            file.write(b"x")
            file.flush()
            sleep(0.05)

    web.served["/file"] = write
    with pytest.raises(TimeoutError, match="gave it up after .* bytes: less than 10,000 a second"):
        fetched(download, web.address + "/file", 10**6, tmp_path)


def test_a_mirror_whose_answer_does_not_begin_is_given_up(download, monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PATIENCE", 0.3)

    def answer():
        with suppress(OSError), server.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(b"x")
                sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=answer, daemon=True).start()
        with pytest.raises(TimeoutError, match="gave it up after 0 bytes"):
            fetched(download, f"http://127.0.0.1:{server.getsockname()[1]}/file.gz", 10, tmp_path)


# The folder


@pytest.mark.host
def test_a_tilde_in_the_folder_for_data_is_the_home_folder(sets, download, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("GRADUAL_DATA", "~/sets")
    monkeypatch.setattr(download, "MIRRORS", {"mnist": []})
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "sets" / "mnist"))):
        sets.mnist("test")


@pytest.mark.host
def test_a_user_without_a_home_is_asked_for_a_folder(stage, sets):
    """As in a container whose user has a number and no name."""
    pytest.importorskip("pwd")
    pytest.importorskip("pooch")
    code = f"""
import os, pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "GRADUAL_DATA"):
    os.environ.pop(name, None)
from {stage.name} import datasets
try:
    datasets.mnist()
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Say which in GRADUAL_DATA" in done.stdout, done.stderr
