"""Tasks for as long as the sidecar runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from typing import Self

from gateway.kernel.tasks import end

_PATIENCE = 2.0  # seconds a transaction has to end when the sidecar stops


class Repeated(ABC):
    """Something that is done every ``look`` seconds, whatever fails. Use it as ``async with``.

    ``failing`` is what the log says of failures, once until it works again.
    """

    def __init__(self, look: float, log: logging.Logger, failing: str) -> None:
        self._look = look
        self._log = log
        self._told = failing
        self._stopping = asyncio.Event()
        self._failing = False

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run(), name=type(self).__name__)
        return self

    async def __aexit__(self, *_: object) -> None:
        # Between two transactions it ends by itself: one that is cancelled midway costs a connection.
        self._stopping.set()
        await asyncio.wait([self._running], timeout=_PATIENCE)
        await end(self._running)

    @abstractmethod
    async def once(self) -> None:
        """Do it, and stop between two transactions where it is to end."""

    async def _run(self) -> None:
        while not await self._stopped():
            try:
                await self.once()
            except Exception as error:
                # A database that is away must not end it for good; what waits stays so.
                if not self._failing:
                    reason = f"{type(error).__name__}: {error}"
                    self._log.warning(self._told, extra={"reason": reason})
                self._failing = True
            else:
                self._failing = False

    async def _stopped(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._look):
                await self._stopping.wait()
        return self._stopping.is_set()
