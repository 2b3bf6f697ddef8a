"""How many requests were served, by the lines of the usage log."""

from __future__ import annotations

import asyncio
from pathlib import Path

_CHUNK = 1_048_576
_MOST_FILES = 4_096


class RequestCount:
    """Counts the events in ``data_dir/usage``. What was counted is not read again; one for the whole process.

    Files that were cut off since the process started stay counted; those cut off before are not known of.
    """

    def __init__(self, data_dir: str | Path) -> None:
        self._folder = Path(data_dir) / "usage"
        self._seen: dict[str, tuple[int, int]] = {}  # a file's bytes that were read, and the lines in them
        self._gone = 0
        self._turn = asyncio.Lock()

    async def total(self) -> int:
        """The requests so far."""
        async with self._turn:
            return await asyncio.to_thread(self._count)

    def _count(self) -> int:
        paths = {path.name: path for path in sorted(self._folder.glob("usage-*.jsonl"))[:_MOST_FILES]}
        for name in self._seen.keys() - paths.keys():
            self._gone += self._seen.pop(name)[1]
        for name, path in paths.items():
            self._seen[name] = _read_on(path, *self._seen.get(name, (0, 0)))
        return self._gone + sum(lines for _, lines in self._seen.values())


def _read_on(path: Path, offset: int, lines: int) -> tuple[int, int]:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                offset += len(chunk)
                lines += chunk.count(b"\n")
    except FileNotFoundError:
        pass  # cut off meanwhile
    return offset, lines
