"""Budgets, days and forecasts of organisations, watched for as long as the sidecar runs."""

from __future__ import annotations

import asyncio
import logging
import time

from gateway.domain.alerts.service import Notices
from gateway.sidecar.tasks import Repeated

LOOK = 5.0  # seconds
SHARE = 0.1
"""Of the time that looking at budgets may take: after a long look comes a long rest, of :data:`REST` at most."""
REST = 60.0  # seconds

_PATIENCE = 2.0  # seconds

_log = logging.getLogger("gateway.sidecar.watching")


class Watching(Repeated):
    """Raises what there is to be noticed. Use it as ``async with``."""

    def __init__(self, notices: Notices, *, look: float = LOOK) -> None:
        super().__init__(look, _log, "budgets and days are not watched now")
        self._notices = notices
        self._rests_until = 0.0

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._notices.close()
        except Exception as failed:
            # Another sidecar takes it over in a minute.
            reason = f"{type(failed).__name__}: {failed}"
            _log.warning("the watch over budgets was not handed on", extra={"reason": reason})

    async def once(self) -> None:
        """Look, unless it rests."""
        if time.monotonic() < self._rests_until:
            return
        took = await self._notices.watch(self._stopping.is_set)
        self._rests_until = time.monotonic() + min(REST, took / SHARE)
