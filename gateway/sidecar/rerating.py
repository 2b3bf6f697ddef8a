"""Late prices on their way into the ledger: looked for now and then, for as long as the sidecar runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from gateway.domain.ledger.rating import Rater
from gateway.domain.pricing.corrections import catch_up
from gateway.domain.work import Works
from gateway.sidecar.tasks import end

LOOK = 2.0  # seconds
_PATIENCE = 2.0  # seconds a transaction has to end when the sidecar stops

_log = logging.getLogger("gateway.sidecar.rerating")


class Rerater:
    """Rates anew what late prices hold for. Use it as ``async with``."""

    def __init__(self, works: Works, rater: Callable[[], Awaitable[Rater]], *, look: float = LOOK) -> None:
        self._works = works
        self._rater = rater
        self._look = look
        self.corrected = 0
        """Entries rated anew since the start."""
        self._stopping = asyncio.Event()
        self._failing = False

    async def __aenter__(self) -> Rerater:
        self._running = asyncio.create_task(self._run(), name="rerater")
        return self

    async def __aexit__(self, *_: object) -> None:
        # Between two transactions it ends by itself: one that is cancelled midway costs a connection.
        self._stopping.set()
        await asyncio.wait([self._running], timeout=_PATIENCE)
        await end(self._running)

    async def _run(self) -> None:
        while not await self._stopped():
            try:
                corrected = await catch_up(self._works, self._rater, stopping=self._stopping.is_set)
            except Exception as error:
                # A database that is away must not end it for good; what is pending stays so.
                if not self._failing:
                    reason = f"{type(error).__name__}: {error}"
                    _log.warning("usage is not rated anew now", extra={"reason": reason})
                self._failing = True
                continue
            self._failing = False
            self.corrected += corrected
            if corrected:
                _log.info("usage was rated anew by late prices", extra={"entries": corrected})

    async def _stopped(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._look)
        return self._stopping.is_set()
