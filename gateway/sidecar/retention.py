"""Single requests go from the ledger after the days that ``usage.detail_days`` says; their sums stay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.domain.learning import keeping as decisions
from gateway.domain.ledger.retention import CHUNK, forget_before, horizon
from gateway.kernel.tasks import end
from gateway.store.engine import Store

EVERY = 3_600.0  # seconds
PAUSE = 0.2  # seconds between chunks: whoever else writes goes first

_log = logging.getLogger("gateway.sidecar.retention")


class Retention:
    """Deletes what is too old, once an hour. Use it as ``async with``. ``days`` is asked each time."""

    def __init__(self, store: Store, days: Callable[[], int]) -> None:
        self.store = store
        self._days = days

    async def __aenter__(self) -> Retention:
        self._deleting = asyncio.create_task(self._run(), name="retention")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._deleting)

    async def _run(self) -> None:
        while True:
            try:
                await self.once()
            except Exception as error:
                # A database that is away now is there in an hour.
                _log.warning("old usage is not deleted now", extra={"reason": f"{type(error).__name__}: {error}"})
            await asyncio.sleep(EVERY)

    async def once(self, now: datetime | None = None) -> int:
        """Delete what is too old now; gives how many entries went."""
        until = horizon(now or datetime.now(UTC), self._days())
        total = 0
        while (gone := await forget_before(self.store, until)) == CHUNK:
            total += gone
            await asyncio.sleep(PAUSE)
        total += gone
        routed = 0
        while (gone := await decisions.forget_before(self.store, until)) == decisions.CHUNK:
            routed += gone
            await asyncio.sleep(PAUSE)
        routed += gone
        if routed:
            _log.info("old decisions of routes were deleted", extra={"decisions": routed})
        if total:
            _log.info("old usage was deleted", extra={"entries": total})
        return total
