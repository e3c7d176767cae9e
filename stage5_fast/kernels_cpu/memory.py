"""Memory for the results of kernels. It is reused: page faults of a new large array take longer than most kernels."""

import ctypes
import math
import mmap
import os
import sys
from collections import defaultdict
from contextlib import suppress
from threading import Lock

import numpy as np

LARGE, REGION = 1 << 12, 1 << 25  # bytes: the least size of which memory is reused, and what is allocated at once
PAGE = 1 << 12  # bytes, on most systems
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt, with which NumPy's arrays reuse memory too
_SET_BY_USER = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
if not _SET_BY_USER and hasattr(_LIBC, "mallopt"):
    _LIBC.mallopt(MMAP_THRESHOLD, REGION)
    _LIBC.mallopt(TRIM_THRESHOLD, 8 * REGION)
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}  # not shared after a fork
_free = defaultdict(list)  # size -> free blocks, as (region, first byte)
_region, _taken = b"", 0
_arena = None  # that of the captured step that is running
_lock = Lock()


class _Block(np.ndarray):
    """The base of all arrays in a block of memory; when the last is freed, the block can be reused."""

    block, free = None, None

    def __del__(self):
        if self.block:
            self.free.append(self.block)


def empty(shape, dtype):
    """An uninitialized array, as `numpy.empty`; a large one is page-aligned, and its memory is reused."""
    size = (math.prod(shape) if type(shape) is tuple else shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    size, arena = pages(size), _arena
    block = arena and arena.take(size)
    free = arena.free if block else _free[size]
    if not block:
        try:
            block = free.pop()
        except IndexError:
            block = _allocate(size)
    base = _Block(size, np.uint8, *block)
    base.block, base.free = block, free
    return np.ndarray(shape, dtype, base)


def pages(size):
    """A size in bytes, rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


def _allocate(size):
    """A new block of memory. If more than eight regions are free, they are released."""
    global _region, _taken
    with _lock:
        if sum(size * len(blocks) for size, blocks in [*_free.items()]) > 8 * max(size, REGION):
            for blocks in [*_free.values()]:
                blocks.clear()
        if _taken + size > len(_region):
            _region, _taken = _mapped(max(size, REGION)), 0
        _taken += size
        return _region, _taken - size


def _mapped(size):
    """New memory from the system, in huge pages if there is much of it."""
    region = mmap.mmap(-1, size, **_PRIVATE)
    if size >= REGION:
        _advise(region, "MADV_HUGEPAGE")
    return region


def _advise(region, name, *where):
    """Tell the system how memory is used, where it knows such advice."""
    with suppress(AttributeError, OSError):
        region.madvise(getattr(mmap, name), *where)


def trim():
    """Let the system have what memory is free."""
    for size, blocks in [*_free.items()] if _LIBC and mmap.PAGESIZE == PAGE else ():
        taken = []
        with suppress(IndexError):
            while True:
                taken.append(blocks.pop())  # so that no other thread gets it meanwhile
        for region, first in taken:
            _advise(region, "MADV_DONTNEED", first, size)
            _advise(region, "MADV_NOHUGEPAGE")  # else the system soon fills the gaps again, to make huge pages of them
        blocks += taken
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(ctypes.c_size_t(0))


class Arena:
    """The memory of a captured step's calls: all sizes share it, and an array lies in the first gap in which it fits.

    So it takes what is in use at a time, while blocks of a size each take the sum of what each size takes at most.
    """

    def __init__(self, size):
        self.region, self.gaps = _mapped(max(size, PAGE)), [(0, size)]
        self.free, self.sizes, self.lock = [], {}, Lock()

    def take(self, size):
        """A block of memory; None if it fits into no gap."""
        with self.lock:
            if self.free:
                self._join()
            for i, (first, end) in enumerate(self.gaps):
                if end - first >= size:
                    self.gaps[i], self.sizes[first] = (first + size, end), size
                    return self.region, first
        return None

    def _join(self):
        """Make gaps of the blocks that are free again, one of those side by side."""
        gaps, found = self.gaps, []
        while self.free:  # another thread may add to it meanwhile
            first = self.free.pop()[1]
            gaps.append((first, first + self.sizes[first]))
        gaps.sort()
        for first, end in gaps:
            if found and found[-1][1] == first:
                first = found.pop()[0]
            found.append((first, end))
        self.gaps = found

    def during(self, function):
        """The function, with its arrays in this memory."""

        def run(*arguments):
            global _arena
            _arena = self
            try:
                return function(*arguments)
            finally:
                _arena = None

        return run
