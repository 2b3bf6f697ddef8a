"""A bounded room where requests wait for something of an upstream: a connection, or leave to call one more time.

Who waits is served fairly among organisations (:mod:`gateway.dataplane.fairness`). Who would wait too long is told at
once instead of at its deadline, by how fast others are being served. When the room is full, the newest of the
organisation with the most in it makes way for one that has less (as FQ-CoDel does, RFC 8290 §4.1). All times are
those of the event loop, in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

from gateway.dataplane.fairness import Entry, FairQueue
from gateway.dataplane.upstream.errors import QUEUED, Reason, UpstreamError

T = TypeVar("T")
Waiter: TypeAlias = "Entry[asyncio.Future[T]]"

LEAST: Final = 4
"""Turns that must have been seen before anybody is refused by how long they take."""
_MEMORY: Final = 32  # turns that the measured pace is an average of
_SOONEST: Final = 1.0  # seconds after which a refused client is asked back at the earliest

_FULL: Final = "Too many requests are waiting for this provider."
_LATE: Final = "So many requests are waiting for this provider that this one would not be sent in time."
_SHARE: Final = "As many requests of your organisation are waiting for this provider as its share allows."
_EXPIRED: Final = "This provider had no room for the request in time."


class Room(Generic[T]):
    """``places`` bounds who waits. ``give_back`` gets what was given to one that had left in that very moment.

    ``refused`` counts by reason; ``served`` counts who waited and got it, ``seconds`` for how long together.
    """

    __slots__ = ("_at", "_give_back", "_pace", "_queue", "_turns", "places", "refused", "seconds", "served")

    def __init__(self, places: int, give_back: Callable[[Waiter[T]], None], *, timed: bool = False) -> None:
        self.places = places
        self._give_back = give_back
        self._queue: FairQueue[asyncio.Future[T]] = FairQueue(timed=timed)
        self._at = 0.0  # when the last one was served, or the first came into the empty room
        self._pace = 0.0  # seconds between two turns
        self._turns = 0
        self.refused: dict[Reason, int] = dict.fromkeys(QUEUED, 0)
        self.served = 0
        self.seconds = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    def pace(self, now: float) -> float:
        """Seconds between two turns as measured while somebody waited; 0 while that is not known."""
        if self._turns < LEAST:
            return 0.0
        return max(self._pace, now - self._at) if len(self._queue) else self._pace

    def expected(self, now: float) -> float:
        """Seconds that one more request would wait behind all others."""
        return (len(self._queue) + 1) * self.pace(now)

    def check(self, who: str, weight: float, now: float, deadline: float) -> None:
        """Whether it makes sense to wait until ``deadline``. Raises :class:`UpstreamError` where it does not."""
        queue = self._queue
        pace = self.pace(now)
        patience = deadline - now
        own = queue.count(who)
        wait = (queue.ahead(who, weight) + 1) * pace
        if wait > patience:
            alone = (queue.ahead(who, weight, 0) + 1) * pace
            late: Reason = "queue_share" if own and alone <= patience else "queue_late"
            raise self._refusal(late, wait - patience, pace)
        if len(queue) < self.places:
            return
        others = [flow for flow in queue.waiting if flow.name != who]
        if not any(flow.load > (own + 1) / weight for flow in others):
            raise self._refusal("queue_share" if own and others else "queue_full", wait - patience, pace)

    def enter(self, who: str, weight: float, now: float, deadline: float, item: asyncio.Future[T]) -> Waiter[T]:
        """Begin to wait; ``item`` gets what is given. It may wait in other rooms too, and must :meth:`leave` each.

        Raises as :meth:`check`. Where it makes way for another later, ``item`` gets that as its exception.
        """
        self.check(who, weight, now, deadline)
        if len(self._queue) >= self.places:
            self._make_way(now)
        if not len(self._queue):
            self._at = now
        entry = self._queue.push(who, weight, item)
        entry.at = now
        return entry

    def leave(self, entry: Waiter[T], now: float) -> None:
        """Wait no longer. Harmless where it was served here."""
        if self._queue.remove(entry) and was_given(entry.item):
            self._move(now)  # by another room, and those behind it have one less before them

    async def wait(self, who: str, weight: float, deadline: float) -> Waiter[T]:
        """Wait for one's turn; the entry's ``item.result()`` is what was given.

        Raises :class:`UpstreamError` with ``sent`` false: at once as :meth:`check`, at ``deadline``, or when making
        way for another.
        """
        loop = asyncio.get_running_loop()
        entry = self.enter(who, weight, loop.time(), deadline, loop.create_future())
        timer = loop.call_at(deadline, self.expire, entry.item)
        try:
            await entry.item
        except asyncio.CancelledError:
            if was_given(entry.item):
                self._give_back(entry)
            raise
        finally:
            timer.cancel()
            self._queue.remove(entry)
        return entry

    def serve(self, given: T, now: float) -> bool:
        """Give something to whose turn it is. False where nobody waits."""
        queue = self._queue
        while (entry := queue.first()) is not None:
            if entry.item.done():  # it has left, and has not come to say so
                self.leave(entry, now)
                continue
            queue.pop()
            self.served += 1
            self.seconds += now - entry.at
            entry.at = now
            self._move(now)
            entry.item.set_result(given)
            return True
        return False

    def _move(self, now: float) -> None:
        self._turns += 1
        self._pace += (now - self._at - self._pace) / min(self._turns, _MEMORY)
        self._at = now

    def done(self, entry: Waiter[T], now: float) -> None:
        """What one that had waited in a timed room got is free again."""
        self._queue.done(entry, now - entry.at)

    def _make_way(self, now: float) -> None:
        flow = max(self._queue.waiting, key=lambda flow: flow.load)
        entry = next(reversed(flow.entries))
        self._queue.remove(entry)
        if not entry.item.done():
            pace = self.pace(now)
            entry.item.set_exception(self._refusal("queue_share", pace * len(flow.entries), pace))

    def expire(self, item: asyncio.Future[T]) -> None:
        """The time of one that waits here is over."""
        if not item.done():
            item.set_exception(self._refusal("queue_timeout", 0.0, self._pace, _EXPIRED))

    def _refusal(self, reason: Reason, seconds: float, pace: float, message: str = "") -> UpstreamError:
        self.refused[reason] += 1
        told = message or (_SHARE if reason == "queue_share" else _LATE if reason == "queue_late" else _FULL)
        return UpstreamError(reason, told, retry_after=max(_SOONEST, seconds, pace))


def was_given(item: asyncio.Future[T]) -> bool:
    """Whether one that waited has got something."""
    return item.done() and not item.cancelled() and item.exception() is None
