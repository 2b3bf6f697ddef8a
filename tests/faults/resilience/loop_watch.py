"""A plugin that watches the event loop it runs in: the longest time it worked on other things in one go.

Counted is processor time, so that other processes of a busy machine are not taken for stalls of this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from msgspec import Struct

from gateway.plugin.api import Plugin

TICK = 0.002


class LoopWatchConfig(Struct):
    """``file`` gets the longest stall since it was last removed, in seconds, whenever it grows."""

    file: str


class LoopWatch(Plugin):
    """Sleeps for :data:`TICK` seconds at a time, and looks how much the thread has done meanwhile."""

    name = "loop_watch"
    Config = LoopWatchConfig

    async def start(self) -> None:
        self._task = asyncio.create_task(self._watch(Path(self.config.file)))

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self, file: Path) -> None:
        longest = 0.0
        while True:
            before = time.thread_time()
            await asyncio.sleep(TICK)
            longest = self._note(file, longest, time.thread_time() - before)

    def _note(self, file: Path, longest: float, took: float) -> float:
        if not file.exists():
            longest = 0.0
        if took <= longest:
            return longest
        file.write_text(f"{took:.6f}")
        return took
