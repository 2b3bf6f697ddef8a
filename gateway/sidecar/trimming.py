"""Memory that was needed for a moment goes back to the system: an edge box has little, and others need it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.kernel.memory import STATM, give_back, resident
from gateway.kernel.tasks import end

LOOK = 2.0  # seconds
GROWN = 1_024  # pages, 4 MB of most machines, since memory was given back last; less is not worth it


class Trimming:
    """Gives memory back a moment after there was need of more. Use it as ``async with``; does nothing but on Linux."""

    def __init__(self, *, look: float = LOOK, statm: Path = STATM) -> None:
        self._look = look
        self._statm = statm
        self._least = 0

    async def __aenter__(self) -> Trimming:
        self._running = asyncio.create_task(self._run(), name="trimming")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._running)

    async def _run(self) -> None:
        while (pages := self.resident()) is not None:
            if pages - self._least >= GROWN:
                await asyncio.to_thread(give_back)
                pages = self.resident() or 0
                self._least = pages
            self._least = min(self._least, pages)
            await asyncio.sleep(self._look)

    def resident(self) -> int | None:
        """Pages in memory, or None where nobody tells."""
        return resident(self._statm)
