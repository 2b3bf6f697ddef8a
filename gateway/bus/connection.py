"""Hearing of changes without end: connected anew after each failure, and telling whether they are heard now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import monotonic

from gateway.bus.backoff import Backoff
from gateway.contract.policy import Change

# Seconds in which the other side may still be starting.
START_SECONDS = 10.0

_log = logging.getLogger("gateway.bus")


class Hearing:
    """``connected`` as of now. ``on_change`` is called with it each time it turns, and the log has it too."""

    def __init__(self, what: str, on_change: Callable[[bool], None] | None = None) -> None:
        self.what = what
        self.on_change = on_change
        self.connected = False
        self._closed = False
        self._told = False
        self._patient_until = monotonic() + START_SECONDS

    async def changes(
        self, connection: Callable[[], AsyncGenerator[Change | None, None]], faults: tuple[type[Exception], ...]
    ) -> AsyncGenerator[Change | None, None]:
        """What connections give, one after the other. ``faults`` are how one fails; anything else is raised."""
        backoff = Backoff()
        while not self._closed:
            why: BaseException | None = None
            try:
                async with aclosing(connection()) as heard:
                    async for change in heard:
                        if self._closed:
                            return
                        backoff.reset()
                        self.found()
                        yield change
            except faults as error:
                why = error
            finally:
                self.lost(why)
            await asyncio.sleep(backoff.next())

    def close(self) -> None:
        """Let :meth:`changes` end, within a second."""
        self._closed = True

    def found(self) -> None:
        """Changes are heard."""
        if not self.connected:
            self.connected = True
            self._told = False
            self._patient_until = 0.0
            _log.info("changes are heard from %s", self.what)
            self._call()

    def lost(self, why: BaseException | None) -> None:
        """Changes are not heard, or still not; ``why`` is None where nobody listens any more. The log tells it once."""
        if why is not None and not self._told and monotonic() >= self._patient_until:
            self._told = True
            _log.warning("changes are not heard from %s", self.what, extra={"reason": f"{type(why).__name__}: {why}"})
        if self.connected:
            self.connected = False
            self._call()

    def _call(self) -> None:
        if self.on_change is not None:
            self.on_change(self.connected)
