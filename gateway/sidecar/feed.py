"""The feed of changes: looks at the change log and tells every subscriber what is new.

It looks when this process has committed a change or was poked, and twice a second for what others have committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from gateway.contract.policy import Change
from gateway.kernel.tasks import end
from gateway.sidecar.log import ChangeLog, everything, whole

LOOK = 0.5  # seconds
HEARTBEAT = 1.0  # seconds
KEPT = 100_000  # changes in the log
PRUNE_EVERY = 5_000  # changes
PAGE = 1_000  # changes read at once
QUEUE = 1_000  # changes a subscriber may lag behind
SUBSCRIBERS = 1_024

_log = logging.getLogger("gateway.sidecar.feed")


class TooManySubscribers(Exception):
    """There are as many subscribers as there may be."""


class _Subscriber:
    """What is still to be told to one listener. One that lags too far is told to forget everything."""

    def __init__(self) -> None:
        self.queue: deque[Change] = deque()
        self.lagging = False
        self.news = asyncio.Event()

    def push(self, changes: Sequence[Change]) -> None:
        if self.lagging or len(self.queue) + len(changes) > QUEUE:
            self.lagging = True
            self.queue.clear()
        else:
            self.queue.extend(changes)
        self.news.set()


class Feed:
    """``seq`` is the number of the last change that was seen. Use it as ``async with``."""

    def __init__(self, log: ChangeLog) -> None:
        self.log = log
        self.seq = 0
        self.closed = False
        self.grown = asyncio.Condition()
        """Notified when ``seq`` has changed."""
        self._subscribers: set[_Subscriber] = set()
        self._look_now = asyncio.Event()
        self._unpruned = 0
        self._failing = False

    async def __aenter__(self) -> Feed:
        self.seq = await self.log.last()
        await self.log.prune(KEPT)
        self._looking = asyncio.create_task(self._run(), name="change feed")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await end(self._looking)

    @property
    def subscribers(self) -> int:
        """How many listen now."""
        return len(self._subscribers)

    def poke(self) -> None:
        """Look at the change log at once. May be called any number of times."""
        self._look_now.set()

    def close(self) -> None:
        """End every subscriber's stream, so that a server that drains does not wait for them."""
        self.closed = True
        for subscriber in self._subscribers:
            subscriber.news.set()

    async def subscribe(self, after: int | None) -> AsyncGenerator[int | Change | None, None]:
        """The number of the last change, then every change after ``after``, and None in each second without one.

        Where ``after`` is no longer kept, or is of a database that was put back, the first change is ``everything``.
        Ends when the feed is closed. Raises :class:`TooManySubscribers`.
        """
        if len(self._subscribers) >= SUBSCRIBERS:
            raise TooManySubscribers
        subscriber = _Subscriber()
        self._subscribers.add(subscriber)
        try:
            told = self.seq
            yield told
            if after is not None:
                async for change in self._missed(after, told):
                    yield change
            while not self.closed:
                await self._news(subscriber)
                if subscriber.lagging:
                    subscriber.lagging = False
                    yield everything(self.seq)
                elif not subscriber.queue:
                    yield None
                while subscriber.queue:
                    yield subscriber.queue.popleft()
        finally:
            self._subscribers.discard(subscriber)

    async def _news(self, subscriber: _Subscriber) -> None:
        if not subscriber.queue and not subscriber.lagging:
            subscriber.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await subscriber.news.wait()

    async def _missed(self, after: int, until: int) -> AsyncGenerator[Change, None]:
        """The changes after ``after`` up to ``until``, which came before the subscription."""
        while after != until:
            page = await self.log.since(after, min(PAGE, until - after)) if after < until else []
            if not page or whole(after, page) is not page:
                yield everything(until)
                return
            for change in page:
                yield change
            after = page[-1].seq

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._look()
                self._failing = False
            except Exception:
                # Whatever ails the database, the feed must be there when it is well again.
                if not self._failing:
                    _log.exception("the change log cannot be read")
                self._failing = True

    async def _look(self) -> None:
        before, last = self.seq, await self.log.last()
        if last < before:
            _log.warning("the change log went back, from %d to %d: its database was put back", before, last)
            self._tell([everything(last)])
        while self.seq < last and (page := await self.log.since(self.seq, PAGE)):
            self._tell(whole(self.seq, page))
        if self.seq != before:
            async with self.grown:
                self.grown.notify_all()
        if self._unpruned >= PRUNE_EVERY:
            self._unpruned = 0
            await self.log.prune(KEPT)

    def _tell(self, changes: Sequence[Change]) -> None:
        self.seq = changes[-1].seq
        self._unpruned += len(changes)
        for subscriber in self._subscribers:
            subscriber.push(changes)
