"""What glibc is told about memory that was freed. Other C libraries have no such calls, and are left as they are.

Of themselves glibc's threads each get a heap of their own, of which little is ever given back, and every large block
that is freed makes it keep larger ones.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_ARENAS = 1
_LARGE = 262_144  # bytes, from which a block is given back at once
_KEPT = 1_048_576  # bytes at the end of the heap
_HUGE = 4_194_304  # bytes, from which a block is given back at once even by who keeps what was freed
_MUCH = 16_777_216  # bytes that such a one keeps at the end of the heap

STATM = Path("/proc/self/statm")


def be_sparing() -> None:
    """Keep little of what was freed. Before there are threads."""
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def keep_freed() -> None:
    """Keep what was freed for the next large body: giving it back and faulting it in again is paid with every such
    body. :func:`trim` gives it back all the same.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _HUGE)
        mallopt(_M_TRIM_THRESHOLD, _MUCH)


def give_back() -> None:
    """Give back what is free. Takes some milliseconds: for after something large.

    What refers to itself is looked for first: Python counts such objects, however large they are.
    """
    gc.collect()
    trim()


def trim() -> None:
    """Give back what is free, without looking for what refers to itself. Takes some milliseconds."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def resident(statm: Path = STATM) -> int | None:
    """Pages of this process that are in memory, or None where nobody tells."""
    try:
        return int(statm.read_bytes().split()[1])
    except OSError:
        return None


def _glibc(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
