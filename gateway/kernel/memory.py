"""What glibc is told about memory that was freed. Other C libraries have no such calls, and are left as they are.

Of themselves glibc's threads each get a heap of their own, of which little is ever given back, and every large block
that is freed makes it keep larger ones.
"""

from __future__ import annotations

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_ARENAS = 1
_LARGE = 262_144  # bytes, from which a block is given back at once
_YOUNG = 10_000  # objects
_KEPT = 1_048_576  # bytes at the end of the heap


def be_sparing() -> None:
    """Keep little of what was freed. Before there are threads."""
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def collect_seldom() -> None:
    """Look for what refers to itself after more has been made than Python waits for: rows by the thousand do not."""
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def give_back() -> None:
    """Give back what is free. Takes some milliseconds: for after something large.

    What refers to itself is looked for first: Python counts such objects, however large they are.
    """
    gc.collect()
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
