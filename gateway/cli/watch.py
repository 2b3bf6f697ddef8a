"""Notices that one of a set of files has changed, by looking at them once in a while."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

INTERVAL = 1.0

_Signature: TypeAlias = "tuple[int, int, int] | None"


class Watch:
    """Call :meth:`changed` every ``INTERVAL`` seconds."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files: tuple[Path, ...] = ()
        self.reset(files)

    def reset(self, files: Sequence[Path], before: Mapping[Path, _Signature] | None = None) -> None:
        """Watch these files from how they are now, or from how they were ``before``."""
        self.files = tuple(dict.fromkeys(files))
        self._last = self._look()
        known = before or {}
        self._known = tuple(known.get(path, now) for path, now in zip(self.files, self._last, strict=True))

    def signatures(self) -> dict[Path, _Signature]:
        """How the files are now."""
        return dict(zip(self.files, self._look(), strict=True))

    def changed(self) -> bool:
        """Whether a file has changed since :meth:`reset` and has come to rest: an editor may write it in steps."""
        look = self._look()
        rested = look == self._last
        self._last = look
        return rested and look != self._known

    def _look(self) -> tuple[_Signature, ...]:
        return tuple(_signature(path) for path in self.files)


def _signature(path: Path) -> _Signature:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
