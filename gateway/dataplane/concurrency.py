"""How many calls a target gets at once: a limit that follows its latency, and the room where others wait.

The limit is of the family of Netflix's ``Gradient2`` (github.com/Netflix/concurrency-limits): it grows by its square
root while calls begin to be answered about as soon as usual, and shrinks with the ratio when they do not. It begins as
TCP does (RFC 5681): doubled each time until it is lowered first. What the target itself says of being overloaded lowers
it at once, by CUBIC's factor (RFC 9438). It is lowered once for what was sent before: answers to that tell nothing of
the lower limit. While less than half of it is used, nothing is learnt by it, and it stays.

A call holds its place from before it is sent until its answer ends; only how soon the answer begins is measured.
"""

from __future__ import annotations

import asyncio
import logging
from math import sqrt
from typing import TYPE_CHECKING, Final

from gateway.dataplane.latency import Latency
from gateway.dataplane.waiting import Room, Waiter
from gateway.settings.model import Concurrency

if TYPE_CHECKING:
    from gateway.dataplane.attempt import Attempt
    from gateway.dataplane.exchange import Exchange

logger = logging.getLogger("gateway.concurrency")

WINDOW: Final = 0.5
"""Seconds, at least, from one look at the latency to the next."""
LEAST: Final = 10
"""Answers that must have come in between."""
ENOUGH: Final = 64
"""Answers of which no more are looked at in that time."""
INITIAL: Final = 20
BACK_OFF: Final = 0.7
STEEPEST: Final = 0.5
_GLANCE: Final = 16  # of so many further answers one looks whether the time is over
_LOG_EVERY: Final = 10.0


class Limit:
    """``limit`` is how many calls may be under way, ``in_flight`` how many are; ``room`` is where others wait.

    Not thread-safe: it belongs to one event loop. All times are the loop's, in seconds.
    """

    __slots__ = (
        "_begins",
        "_busy",
        "_exact",
        "_latency",
        "_logged_at",
        "_name",
        "_opened",
        "_passed",
        "_settings",
        "_since",
        "in_flight",
        "limit",
        "lowered",
        "room",
    )

    def __init__(self, settings: Concurrency, name: str) -> None:
        self._settings = settings
        self._name = name
        self._exact = float(_within(settings, INITIAL if settings.initial is None else settings.initial))
        self._begins = True  # not lowered yet
        self._busy = False  # at least half of it was used since the last look
        self._since = 0.0  # when it was lowered last
        self._opened = 0.0  # the last look
        self._passed = 0  # answers that were not looked at
        self._logged_at = 0.0
        self._latency = Latency()
        self.limit = int(self._exact)
        self.in_flight = 0
        self.lowered = 0
        self.room: Room[Limit] = Room(settings.queue, self.release, timed=True)

    def configure(self, settings: Concurrency) -> None:
        """Go on by other settings, with what is known and under way."""
        self._settings = settings
        self.room.places = settings.queue
        self._set(self._exact)

    # calls

    def take(self) -> bool:
        """Begin a call, where there is room now. Then :meth:`release` must be called, once."""
        if self.in_flight < self.limit:
            self.in_flight += 1
            return True
        return False

    async def turn(self, who: str, weight: float, deadline: float) -> Waiter[Limit]:
        """Wait until a call may begin; for :meth:`release`. Raises as :meth:`Room.wait`."""
        return await self.room.wait(who, weight, deadline)

    def release(self, waiter: Waiter[Limit] | None) -> None:
        """A call is over: who waits longest by its share begins. ``waiter`` is what :meth:`turn` gave, else None."""
        is_full = self.in_flight >= self.limit
        self.in_flight -= 1
        if waiter is not None:
            self.room.done(waiter, _now())
        if is_full:  # else nobody waits
            self._admit()

    def _admit(self) -> None:
        room = self.room
        while self.in_flight < self.limit and len(room) and room.serve(self, _now()):
            self.in_flight += 1

    # what becomes of them

    def began(self, attempt: Attempt) -> None:
        """An attempt's answer, a good one, has begun; or is here, where it comes whole."""
        if self._latency.count >= ENOUGH:
            self._passed += 1
            if self._passed % _GLANCE:
                return  # the clock costs more than the rest of this
        exchange = attempt.exchange
        now = exchange.wire.loop.time()
        if self._latency.count < ENOUGH or now >= self._opened + WINDOW:
            self.answered(kind_of(exchange, whole=not attempt.relayed), attempt.seconds, now)

    def answered(self, kind: int, seconds: float, now: float) -> None:
        """A call of a kind (:func:`kind_of`) began to be answered well, ``seconds`` after it was sent."""
        if now - seconds < self._since:
            return
        latency = self._latency
        latency.add(kind, seconds)
        if (self.in_flight + 1) * 2 >= self.limit:  # one that came whole is not counted any more
            self._busy = True
        if latency.count >= LEAST and now >= self._opened + WINDOW:
            self._look(now)

    def overloaded(self, sent: float, now: float) -> None:
        """A call that was sent at ``sent`` was refused because of too many, or was not answered in time."""
        if sent >= self._since:
            self._lower(BACK_OFF, now, "refused")

    def _look(self, now: float) -> None:
        ratio = self._latency.close(now - self._opened if self._opened else 0.0)
        busy, self._busy, self._opened = self._busy, False, now
        if not busy:
            return
        tolerance = self._settings.tolerance
        if ratio > tolerance:
            self._lower(max(STEEPEST, tolerance / ratio), now, f"{ratio:.1f} times later than usual")
        else:
            self._set(self._exact + (self._exact if self._begins else sqrt(self._exact)))

    def _lower(self, factor: float, now: float, why: str) -> None:
        before = self.limit
        self._begins = False
        self._since = self._opened = now
        self._latency.drop()
        self._set(self._exact * factor)
        if self.limit < before:
            self.lowered += 1
            if now >= self._logged_at + _LOG_EVERY:
                self._logged_at = now
                told = {"target": self._name, "reason": why, "before": before, "limit": self.limit}
                logger.info("concurrency limit lowered", extra={**told, "waiting": len(self.room)})

    def _set(self, value: float) -> None:
        self._exact = _within(self._settings, value)
        self.limit = int(self._exact)
        self._admit()


def kind_of(exchange: Exchange, *, whole: bool) -> int:
    """What an answer's beginning may be compared with: that of prompts of a quarter to four times the size, and where
    it comes ``whole``, of answers as long.
    """
    size = len(exchange.raw) if exchange.is_json else exchange.received
    kind = (size.bit_length() >> 1) << 6
    if whole:
        tokens = exchange.tokens
        kind += 1 + (min(tokens.completion, 2**60).bit_length() >> 1 if tokens is not None else 0)
    return kind


def _within(settings: Concurrency, value: float) -> float:
    return min(max(value, settings.min), settings.max)


def _now() -> float:
    return asyncio.get_running_loop().time()
