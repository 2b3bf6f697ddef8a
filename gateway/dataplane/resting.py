"""Memory that a burst of requests has left goes back to the system once the worker rests, and where it is much also
before: an edge box has little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.kernel.memory import resident, trim

AFTER: Final = 5
"""Looks in a row at which nothing is under way."""
GROWN: Final = 2_048
"""Pages, 8 MB of most machines, that are more than after memory was given back last; less is not worth it."""
MUCH: Final = 8_192
"""Pages, 32 MB, that are more than that: given back under load too, as a worker may never rest."""
BUSY: Final = 2
"""Looks in a row at which there is so much."""
PAUSE: Final = 10
"""Looks under load between one time and the next: what is in use can't be given back, and looking for it takes time."""


class Resting:
    """Looks once a second whether there is something to give back; does nothing but on Linux.

    Under load freed memory is kept, see :func:`gateway.kernel.memory.keep_freed`: the next large body needs it again.
    """

    __slots__ = ("_crowded", "_least", "_pause", "_quiet", "_resident")

    def __init__(self, resident: Callable[[], int | None] = resident) -> None:
        self._resident = resident
        self._least = resident()
        self._quiet = 0
        self._crowded = 0
        self._pause = 0

    def look(self, active: int) -> bool:
        """``active`` is how many requests are under way. Tells whether memory was given back, which takes some
        milliseconds.
        """
        if active:
            self._quiet = 0
            return self._look_busy()
        self._crowded = 0
        self._quiet += 1
        if self._quiet % AFTER or self._grown() < GROWN:
            return False
        self._give_back()
        return True

    def _look_busy(self) -> bool:
        self._pause = max(0, self._pause - 1)
        self._crowded = self._crowded + 1 if self._grown() >= MUCH else 0
        if self._crowded < BUSY or self._pause:
            return False
        self._crowded, self._pause = 0, PAUSE
        self._give_back()
        return True

    def _grown(self) -> int:
        """Pages more than the least there were since memory was given back; 0 where nobody tells."""
        pages = self._resident()
        if pages is None:
            return 0
        if self._least is None or pages < self._least:
            self._least = pages
        return pages - self._least

    def _give_back(self) -> None:
        trim()
        self._least = self._resident()
