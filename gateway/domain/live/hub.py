"""Who listens to what is entered and noticed, and what each is still to be told.

The ledger, and the notices, are looked at a few times a second while somebody listens to them, and not at all while
nobody does. What waits for a listener is bounded: one who does not keep up is told how much of it they missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Generic, Literal, NamedTuple, TypeAlias

from msgspec import Struct

from gateway.contract.policy import Change
from gateway.domain.alerts.model import FORECAST, Notice
from gateway.domain.analytics.entries import REPORTED
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.live.tail import Row, Tail
from gateway.kernel.errors import GatewayError, Kind
from gateway.store.engine import Store

LOOK = 0.2  # seconds
QUEUE = 1_000  # events that may wait for one listener
WAITING = 2_097_152  # characters of them
LISTENERS = 1_024
EACH = 128  # listeners of one organisation
EVERY = "*"
"""In the place of an organisation: all of them."""
_AGAIN = 1.0  # seconds until what failed is tried again

StreamName: TypeAlias = Literal["costs", "usage", "alerts", "forecasts"]
Changes: TypeAlias = Callable[[], AsyncGenerator[int | Change | None, None]]
Told: TypeAlias = LedgerEntry | Notice

_log = logging.getLogger("gateway.live")


class Topic(NamedTuple):
    """What can be listened to of one organisation or all; of usage, also of one provider.

    ``costs`` are all entries with a cost, those that take others back included; their sum is what was spent.
    ``usage`` is each request once, priced or not. ``alerts`` are thresholds of budgets and days out of the ordinary.
    """

    stream: StreamName
    organization: str
    provider: str | None = None


class Event(Struct, frozen=True):
    """An entry or a notice as the listeners of a topic are told of it: written out once for all of them."""

    topic: Topic
    text: str


class Listener:
    """One who listens, for an organisation. ``depends`` are the ids of what their credential is, and is of.

    ``news`` is set when there is something to tell, when ``doubted`` is set (a change may concern the credential) or
    when ``over`` is (no more will come).
    """

    def __init__(self, organization: str, depends: Iterable[str]) -> None:
        self.organization = organization
        self.depends = frozenset(depends)
        self.topics: dict[Topic, None] = {}
        self.queue: deque[Event] = deque()
        self.waiting = 0
        """Characters of what is in the queue."""
        self.missed = 0
        self.doubted = True  # a change may have come between the check and now
        self.over = False
        self.news = asyncio.Event()
        self.news.set()

    def push(self, event: Event) -> bool:
        """Have it told, unless too much waits already; gives whether it will be."""
        if len(self.queue) >= QUEUE or self.waiting >= WAITING:
            self.missed += 1
            return False
        self.queue.append(event)
        self.waiting += len(event.text)
        self.news.set()
        return True

    def take(self) -> str:
        """What is to be told next. Raises IndexError where nothing is."""
        text = self.queue.popleft().text
        self.waiting -= len(text)
        return text


class _Source(Generic[Row]):
    """A table that is told from, for as long as somebody listens to one of ``streams``."""

    def __init__(self, tail: Tail[Row], streams: set[StreamName], topics_of: Callable[[Row], Iterable[Topic]]) -> None:
        self.tail: Tail[Row] = tail
        self.streams = frozenset(streams)
        self.topics_of: Callable[[Row], Iterable[Topic]] = topics_of
        self.someone = asyncio.Event()
        self.turn = asyncio.Lock()
        """Held while the tail is moved."""

    async def begin(self) -> None:
        """Tell from now on, unless it is told already."""
        async with self.turn:
            if not self.someone.is_set():
                await self.tail.begin()
                self.someone.set()


class Hub:
    """Tells listeners what is entered and noticed. Use it as ``async with``.

    ``changes`` gives the changes of accounts and credentials, as :meth:`gateway.sidecar.feed.Feed.subscribe`;
    ``write`` writes out what is told.
    """

    def __init__(self, store: Store, changes: Changes, write: Callable[[Topic, Told], str]) -> None:
        self.missed = 0
        """Events that listeners were not told because they did not keep up."""
        self.told: Counter[StreamName] = Counter()
        self._entries = _Source(Tail(store, LedgerEntry), {"costs", "usage"}, _of_entry)
        self._notices = _Source(Tail(store, Notice), {"alerts", "forecasts"}, _of_notice)
        self._changes = changes
        self._write = write
        self._listeners: set[Listener] = set()
        self._topics: dict[Topic, dict[Listener, None]] = {}
        self._someone = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Hub:
        self._tasks = [
            asyncio.create_task(self._run(lambda: self._tell(self._entries)), name="live ledger"),
            asyncio.create_task(self._run(lambda: self._tell(self._notices)), name="live notices"),
            asyncio.create_task(self._run(self._watch), name="live credentials"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def close(self) -> None:
        """Nobody is told any more."""
        self._closed = True
        for listener in self._listeners:
            listener.over = True
            listener.news.set()

    def join(self, organization: str, depends: Iterable[str]) -> Listener:
        """A new listener, to no topic yet. Raises RATE_LIMITED and UNAVAILABLE ``too_many_listeners``."""
        if self._closed:
            raise GatewayError(Kind.UNAVAILABLE, "shutting_down", "The gateway is shutting down.", retry_after=1.0)
        if len(self._listeners) >= LISTENERS:
            message = f"There are {LISTENERS} listeners already."
            raise GatewayError(Kind.UNAVAILABLE, "too_many_listeners", message, retry_after=5.0)
        if sum(each.organization == organization for each in self._listeners) >= EACH:
            message = f"Your organization has {EACH} listeners already."
            raise GatewayError(Kind.RATE_LIMITED, "too_many_listeners", message, retry_after=5.0)
        listener = Listener(organization, depends)
        self._listeners.add(listener)
        self._someone.set()
        return listener

    async def subscribe(self, listener: Listener, topics: Iterable[Topic]) -> None:
        """Have a listener told of topics too: of all that comes from when this returns."""
        topics = list(topics)
        streams = {topic.stream for topic in topics}
        sources = [source for source in (self._entries, self._notices) if source.streams & streams]
        # Whoever else leaves while one of them begins may end the other.
        while idle := [source for source in sources if not source.someone.is_set()]:
            for source in idle:
                await source.begin()
        for topic in topics:
            listener.topics[topic] = None
            self._topics.setdefault(topic, {})[listener] = None

    def unsubscribe(self, listener: Listener, topics: Iterable[Topic]) -> None:
        """Have a listener told of topics no more."""
        for topic in list(topics):
            if topic in listener.topics:
                del listener.topics[topic]
                del self._topics[topic][listener]
                if not self._topics[topic]:
                    del self._topics[topic]
        streams = {topic.stream for topic in self._topics}
        for source in (self._entries, self._notices):
            if not source.streams & streams:
                source.someone.clear()  # what comes while nobody listens is nobody's news

    def leave(self, listener: Listener) -> None:
        """A listener is gone."""
        self.unsubscribe(listener, listener.topics)
        self._listeners.discard(listener)
        if not self._listeners:
            self._someone.clear()

    async def _run(self, task: Callable[[], AsyncGenerator[None, None]]) -> None:
        failing = False
        while True:
            try:
                async with aclosing(task()) as turns:
                    async for _ in turns:
                        failing = False
            except Exception as error:
                # A database that is away must not end it for good; it is read on from where it was.
                if not failing:
                    _log.warning("listeners are not told now", extra={"reason": f"{type(error).__name__}: {error}"})
                failing = True
            await asyncio.sleep(_AGAIN)

    async def _tell(self, source: _Source[Row]) -> AsyncGenerator[None, None]:
        while True:
            await source.someone.wait()
            more = False
            async with source.turn:
                if source.someone.is_set():
                    rows, more = await source.tail.next(lambda organization: self._is_wanted(source, organization))
                    for row in rows:
                        self._spread(row, source.topics_of(row))
            yield
            if not more:
                await asyncio.sleep(LOOK)

    async def _watch(self) -> AsyncGenerator[None, None]:
        await self._someone.wait()
        async with aclosing(self._changes()) as changes:
            async for change in changes:
                if isinstance(change, Change):
                    for listener in self._listeners:
                        if change.kind == "everything" or change.id in listener.depends:
                            listener.doubted = True
                            listener.news.set()
                yield
                if not self._listeners:
                    return

    def _is_wanted(self, source: _Source[Row], organization: str) -> bool:
        return any(
            topic.stream in source.streams and topic.organization in (organization, EVERY) for topic in self._topics
        )

    def _spread(self, row: Told, topics: Iterable[Topic]) -> None:
        for topic in topics:
            listeners = self._topics.get(topic)
            if listeners:
                event = Event(topic, self._write(topic, row))
                for listener in listeners:
                    if listener.push(event):
                        self.told[topic.stream] += 1
                    else:
                        self.missed += 1


def _of_notice(notice: Notice) -> Iterable[Topic]:
    stream: StreamName = "forecasts" if notice.event == FORECAST else "alerts"
    for organization in (notice.organization, EVERY):
        yield Topic(stream, organization)


def _of_entry(entry: LedgerEntry) -> Iterable[Topic]:
    for organization in (entry.organization, EVERY):
        if entry.cost_nanos is not None and entry.kind != "activity":
            yield Topic("costs", organization)
        if entry.kind in REPORTED:
            yield Topic("usage", organization)
            if entry.provider is not None:
                yield Topic("usage", organization, entry.provider)


@contextlib.asynccontextmanager
async def listening(hub: Hub, organization: str, depends: Iterable[str]) -> AsyncGenerator[Listener, None]:
    """A listener for the time of the block. Raises as :meth:`Hub.join`."""
    listener = hub.join(organization, depends)
    try:
        yield listener
    finally:
        hub.leave(listener)
