"""Memory that a burst of requests has left goes back to the system once the worker rests: an edge box has little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.kernel.memory import resident, trim

AFTER: Final = 5
"""Looks in a row at which nothing is under way."""
GROWN: Final = 2_048
"""Pages, 8 MB of most machines, that are more than after memory was given back last; less is not worth it."""


class Resting:
    """Looks once a second whether there is something to give back; does nothing but on Linux.

    Under load freed memory is kept, see :func:`gateway.kernel.memory.keep_freed`: the next large body needs it again.
    """

    __slots__ = ("_least", "_quiet", "_resident")

    def __init__(self, resident: Callable[[], int | None] = resident) -> None:
        self._resident = resident
        self._least = resident()
        self._quiet = 0

    def look(self, active: int) -> bool:
        """``active`` is how many requests are under way. Tells whether memory was given back, which takes some
        milliseconds.
        """
        if active:
            self._quiet = 0
            return False
        self._quiet += 1
        if self._quiet % AFTER:
            return False
        pages = self._resident()
        if pages is None:
            return False
        if self._least is None or pages < self._least:
            self._least = pages
            return False
        if pages - self._least < GROWN:
            return False
        trim()
        self._least = self._resident()
        return True
