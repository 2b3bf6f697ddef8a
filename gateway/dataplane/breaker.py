"""The circuit breaker of a target (Nygard, "Release It!", "Circuit Breaker").

Closed, requests pass and failures in a row are counted. Open, none pass until the cooldown is over. Half-open, one
request passes as a probe, and what becomes of it decides for all. A request that nothing else can answer waits for that
decision, for a bounded time and among a bounded number. All times are those of the event loop, in seconds.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.settings.model import Breaker as BreakerSettings

CLOSED: Final = 0
OPEN: Final = 1
HALF_OPEN: Final = 2
NAMES: Final = ("closed", "open", "half_open")

LONGEST_LIMIT: Final = 60.0
"""Seconds for which a target that says it is busy is asked last, whatever it says."""


class Breaker:
    """``failures`` are those in a row, ``opened`` counts how often the breaker opened, ``limited_until`` is when a
    target that asked to be left alone may be preferred again: it lives, and is asked where nothing else is left.
    """

    __slots__ = ("_settings", "_waiters", "failures", "limited_until", "open_until", "opened", "state")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._waiters: list[asyncio.Future[None]] = []
        self.state = CLOSED
        self.failures = 0
        self.opened = 0
        self.open_until = 0.0
        self.limited_until = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for the target to recover."""
        return len(self._waiters)

    def rests_until(self, now: float) -> float:
        """When it is worth asking again: 0 where it is worth it now. For sorting; requests go by :meth:`passes`."""
        if self.open_until > now:
            return self.open_until
        if self.state == HALF_OPEN:
            return now
        return self.limited_until if self.limited_until > now else 0.0

    # what became of requests

    def failed(self, now: float) -> None:
        """An attempt failed and the target is to blame."""
        self.failures += 1
        if self.open_until <= now and (self.state != CLOSED or self.failures >= self._settings.failures):
            self.state = OPEN
            self.opened += 1
            self.open_until = now + self._settings.cooldown
            self._wake()

    def succeeded(self) -> None:
        """An answer came: whatever failed before is over."""
        self.failures = 0
        if self.state != CLOSED:
            self._close()

    def answered(self) -> None:
        """The first piece of a probe's answer is here, and its end may be long in coming: requests pass, but one that
        fails opens the breaker again.
        """
        if self.state == HALF_OPEN:
            self.failures = self._settings.failures - 1
            self._close()

    def limited(self, now: float, seconds: float) -> None:
        """The target is busy and asked to be left alone for ``seconds``."""
        self.limited_until = now + min(seconds, LONGEST_LIMIT)

    def release(self, now: float) -> None:
        """A probe ended without telling anything of the target: the next request may be one."""
        if self.state == HALF_OPEN:
            self.state = OPEN
            self.open_until = now
            self._wake()

    def _close(self) -> None:
        self.state = CLOSED
        self.open_until = 0.0
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # requests

    def passes(self, now: float) -> bool:
        """Whether a request may go. Where the cooldown is over it goes as the probe, and must tell how it went, by
        :meth:`release` if nothing else.
        """
        if self.state == OPEN and now >= self.open_until:
            self.state = HALF_OPEN
            return True
        return self.state == CLOSED

    async def recovered(self, until: float, room: int) -> bool:
        """Wait until a request passes. False, at once where possible: it won't before ``until``, or ``room`` wait."""
        loop = asyncio.get_running_loop()
        while not self.passes(now := loop.time()):
            opens = self.open_until if self.state == OPEN else now
            if now >= until or opens > until or len(self._waiters) >= room:
                return False
            waiter: asyncio.Future[None] = loop.create_future()
            timer = loop.call_at(opens if self.state == OPEN else until, _wake, waiter)
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiters.remove(waiter)
        return True


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
