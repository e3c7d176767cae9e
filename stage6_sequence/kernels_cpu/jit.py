"""Compiling and caching kernels."""

import hashlib
import os
import shutil
import signal
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType

import numba
import numpy as np
from numba import config
from numba.core import event
from numba.core.compiler_lock import global_compiler_lock

if os.name == "posix":
    from fcntl import LOCK_EX, lockf

HERE, PACKAGE = Path(__file__).parent, __package__.rpartition(".")[0]


def _cache_folder():
    """The folder of compiled kernels: beside their source, else in the user's cache folder; None if not writable.

    Its name has a hash of the source of all kernels, as Numba itself doesn't notice a change in another file. Folders
    of earlier sources are removed.
    """
    texts = [path.read_bytes() for path in sorted(HERE.glob("*.py"))]
    name = f"kernels-{hashlib.sha256(b''.join(texts) + bytes([config.BOUNDSCHECK or 0])).hexdigest()[:16]}"
    beside = HERE / "__pycache__"
    folders = [beside]
    with suppress(RuntimeError):  # a user without a home
        folders.append(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "gradual").expanduser())
    for folder in [Path(config.CACHE_DIR)] if config.CACHE_DIR else folders:
        with suppress(OSError):
            (folder / name).mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder / name).close()
            for old in set(beside.glob("kernels-*")) - {folder / name} if folder == beside else ():
                shutil.rmtree(old, ignore_errors=True)
            return str(folder / name)
    return None


_CACHE = _cache_folder()
# Without Numba's runtime no references are counted: threads that take rows of one array would wait for its count
_OPTIONS = dict(error_model="numpy", cache=_CACHE is not None, no_cfunc_wrapper=True, _nrt=False)


def jit(function, **options):
    """The function compiled, with NumPy's division by 0, and without fast math, whose results depend on addresses."""
    before, config.CACHE_DIR = config.CACHE_DIR, _CACHE or ""
    try:
        kernel = numba.njit(**_OPTIONS | options)(function)
    finally:
        config.CACHE_DIR = before
    if _CACHE and os.name == "posix":
        kernel.compile = _locked(kernel.compile, Path(_CACHE, f"{function.__module__}.{function.__qualname__}.lock"))
    return kernel


inner = partial(jit, no_cpython_wrapper=True)  # for what kernels alone call: it is compiled faster, but not for Python


def compiled_source(text, names, others):
    """The functions of these names that a source text defines, compiled. The text is written to the cache folder.

    `others` are functions that it uses, by their names.

    LLVM unrolls a loop over a few numbers before it vectorizes; so its SLP vectorizer has to combine them.
    """
    name = f"step_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = Path(_CACHE or "/nowhere", f"{name}.py")
    if _CACHE and not path.exists():
        whole = path.with_suffix(f".{os.getpid()}")
        whole.write_text(text, encoding="utf-8")
        whole.replace(path)  # atomically: others may read it
    module = sys.modules[f"{PACKAGE}.{name}"] = ModuleType(f"{PACKAGE}.{name}")  # Numba's cached functions import it
    module.np = np
    vars(module).update(others)
    vars(module).update({kind: getattr(np, kind) for kind in ("float32", "float64", "int32", "int64", "uint8")})
    exec(compile(text, str(path), "exec"), vars(module))
    functions = {name: jit(getattr(module, name), fastmath={"contract"}) for name in names}
    for function in functions.values():
        function.compile = _with_slp_vectorizer(function)
    return functions


def _with_slp_vectorizer(function):
    """A function's `compile` with LLVM's SLP vectorizer."""
    compile = function.compile

    def compile_with_vectors(signature):
        before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, 1
        try:
            return compile(signature)
        finally:
            config.SLP_VECTORIZE = before
            for result in function.overloads.values():
                result.library._shared_module = None  # Numba keeps it for functions that call this one; none does

    return compile_with_vectors


def _locked(compile, path):
    """`compile` in one process at a time: two would corrupt Numba's cache. The next process loads it from there."""

    def compile_locked(signature):
        with global_compiler_lock, ExitStack() as stack:
            with suppress(OSError):  # if the folder was removed, or its file system has no locks
                lockf(stack.enter_context(open(path, "wb")), LOCK_EX)
            return compile(signature)

    return compile_locked


# What the first run prints


class _Progress(event.Listener):
    """Prints which kernel is being compiled, except kernels that another one calls; Ctrl-C waits until it is.

    LLVM calls back into Python, where an exception would be ignored and the kernel left without its code.
    """

    depth, name = 0, None

    def on_start(self, event):
        function = event.data["dispatcher"].py_func
        if function.__module__.startswith(PACKAGE):
            if not self.depth:
                before, self.name = self.name, function.__name__.strip("_").replace("_", " ")
                if self.name != before:  # else it is the same for threads, or for another dtype
                    print(f"{PACKAGE}: compiling a kernel, once: {self.name}", file=sys.stderr, flush=True)
                self.came, self.usual = [], signal.getsignal(signal.SIGINT)
                self.on_ctrl_c(lambda *came: self.came.append(came))
            self.depth += 1

    def on_end(self, event):
        if event.data["dispatcher"].py_func.__module__.startswith(PACKAGE):
            self.depth -= 1
            if not self.depth:
                self.on_ctrl_c(self.usual)
                if self.came:
                    self.usual(*self.came[0])

    def on_ctrl_c(self, handler):
        if callable(self.usual):
            with suppress(ValueError):  # only the main thread can
                signal.signal(signal.SIGINT, handler)


event.register("numba:compile", _Progress())
