"""Waiting for other processes to give back what they don't need."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence

MOST = 10_000
KEPT = 5.0  # seconds


class _Recall:
    __slots__ = ("at", "last", "told")

    def __init__(self) -> None:
        self.at = self.last = time.monotonic()
        self.told: set[str] = set()


class Recalls:
    """Who has answered which recall, by the counters' ids; also of recalls that others made."""

    def __init__(self) -> None:
        self._recalls: dict[str, _Recall] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def begin(self, counters: Iterable[str], sent: float | None = None) -> None:
        """These were recalled now: earlier answers count no more. Of a recall made by a call that was ``sent`` then (by
        ``time.monotonic``), its notice and the first answers may have come before.
        """
        for counter in counters:
            known = self._recalls.get(counter)
            if known is None or sent is None or known.at < sent:
                self._recalls.pop(counter, None)
                self._recalls[counter] = _Recall()
        while len(self._recalls) > MOST:
            del self._recalls[next(iter(self._recalls))]

    def known(self, counter: str) -> bool:
        """Whether a recall of it was heard of lately."""
        return counter in self._recalls

    def told(self, node: str, counters: Iterable[str]) -> None:
        """``node`` has given back what it does not need of these."""
        for counter in counters:
            recall = self._recalls.get(counter)
            if recall is not None:
                recall.told.add(node)
                recall.last = time.monotonic()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def since(self, waiting: Sequence[Sequence[str]]) -> float:
        """When the oldest of these recalls began; 0 where one of them is not known of."""
        recalls = [self._recalls.get(counter) for counter, *_ in waiting]
        return min((recall.at if recall is not None else 0.0 for recall in recalls), default=0.0)

    def settled(self, waiting: Sequence[Sequence[str]], begun: float, asked: float) -> bool:
        """Whether all was told between these times, or nothing need be: who asked then knows all there is to know."""
        return not waiting or (self.since(waiting) >= begun and self._answered(waiting, asked))

    def _answered(self, waiting: Sequence[Sequence[str]], by: float = math.inf) -> bool:
        for counter, *nodes in waiting:
            recall = self._recalls.get(counter)
            if recall is None or not recall.told.issuperset(nodes) or recall.last > by:
                return False
        return True

    async def wait(self, waiting: Sequence[Sequence[str]], until: float) -> None:
        """Until all have answered, but no longer than ``until`` (``time.monotonic``)."""
        loop = asyncio.get_running_loop()
        while not self._answered(waiting):
            left = until - time.monotonic()
            if left <= 0:
                return
            told = loop.create_future()
            self._waiting.add(told)
            try:
                await asyncio.wait((told,), timeout=left)
            finally:
                self._waiting.discard(told)

    def prune(self) -> None:
        """Forget what is long past."""
        past = time.monotonic() - KEPT
        for counter, recall in list(self._recalls.items()):
            if recall.at > past:
                break
            del self._recalls[counter]
