"""Notices that one of a set of files has changed, by looking at them once in a while."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

INTERVAL = 1.0

_Look: TypeAlias = "tuple[tuple[int, int, int] | None, ...]"


class Watch:
    """Call :meth:`changed` every ``INTERVAL`` seconds."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files: tuple[Path, ...] = ()
        self.reset(files)

    def reset(self, files: Sequence[Path]) -> None:
        """Watch these files from how they are now."""
        self.files = tuple(dict.fromkeys(files))
        self._known = self._last = self._look()

    def changed(self) -> bool:
        """Whether a file has changed since :meth:`reset` and has come to rest: an editor may write it in steps."""
        look = self._look()
        rested = look == self._last
        self._last = look
        return rested and look != self._known

    def _look(self) -> _Look:
        return tuple(_signature(path) for path in self.files)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
