"""Learning from what clients told of learned routes, and the ledger saw of them, for as long as the sidecar runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from gateway.domain.learning.learner import TELLING, catch_up
from gateway.domain.work import Works
from gateway.sidecar.tasks import end

LOOK = 2.0  # seconds
_PATIENCE = 2.0  # seconds a transaction has to end when the sidecar stops

_log = logging.getLogger("gateway.sidecar.learning")


class Learning:
    """Learns from what waits. Use it as ``async with``. ``telling`` as in :mod:`gateway.domain.learning.learner`."""

    def __init__(self, works: Works, *, look: float = LOOK, telling: float = TELLING) -> None:
        self._works = works
        self._look = look
        self._telling = telling
        self.observations = 0
        """Learned from since the start."""
        self._stopping = asyncio.Event()
        self._failing = False

    async def __aenter__(self) -> Learning:
        self._running = asyncio.create_task(self._run(), name="learning")
        return self

    async def __aexit__(self, *_: object) -> None:
        # Between two transactions it ends by itself: one that is cancelled midway costs a connection.
        self._stopping.set()
        await asyncio.wait([self._running], timeout=_PATIENCE)
        await end(self._running)

    async def _run(self) -> None:
        while not await self._stopped():
            try:
                self.observations += await catch_up(self._works, telling=self._telling, stopping=self._stopping.is_set)
            except Exception as error:
                # A database that is away must not end it for good; what waits stays so.
                if not self._failing:
                    reason = f"{type(error).__name__}: {error}"
                    _log.warning("nothing is learned of routes now", extra={"reason": reason})
                self._failing = True
                continue
            self._failing = False

    async def _stopped(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._look)
        return self._stopping.is_set()
