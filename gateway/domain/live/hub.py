"""Who listens to what is entered, and what each is still to be told.

The ledger is looked at a few times a second while somebody listens, and not at all while nobody does. What waits for a
listener is bounded: one who does not keep up is told how many entries they missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from gateway.contract.policy import Change
from gateway.domain.analytics.entries import REPORTED
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.live.tail import Tail
from gateway.kernel.errors import GatewayError, Kind
from gateway.store.engine import Store

LOOK = 0.2  # seconds
QUEUE = 1_000  # entries that may wait for one listener
WAITING = 2_097_152  # characters of them
LISTENERS = 1_024
EACH = 128  # listeners of one organisation
EVERY = "*"
"""In the place of an organisation: all of them."""
_AGAIN = 1.0  # seconds until what failed is tried again

StreamName: TypeAlias = Literal["costs", "usage"]
Changes: TypeAlias = Callable[[], AsyncGenerator[int | Change | None, None]]

_log = logging.getLogger("gateway.live")


class Topic(NamedTuple):
    """What can be listened to: the costs, or the usage, of one organisation or all, of one provider or all.

    ``costs`` are all entries with a cost, those that take others back included; their sum is what was spent.
    ``usage`` is each request once, priced or not.
    """

    stream: StreamName
    organization: str
    provider: str | None = None


class Told(Struct, frozen=True):
    """An entry as the listeners of a topic are told of it: written out once for all of them."""

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
        self.queue: deque[Told] = deque()
        self.waiting = 0
        """Characters of what is in the queue."""
        self.missed = 0
        self.doubted = True  # a change may have come between the check and now
        self.over = False
        self.news = asyncio.Event()
        self.news.set()

    def push(self, told: Told) -> bool:
        """Have it told, unless too much waits already; gives whether it will be."""
        if len(self.queue) >= QUEUE or self.waiting >= WAITING:
            self.missed += 1
            return False
        self.queue.append(told)
        self.waiting += len(told.text)
        self.news.set()
        return True

    def take(self) -> str:
        """What is to be told next. Raises IndexError where nothing is."""
        text = self.queue.popleft().text
        self.waiting -= len(text)
        return text


class Hub:
    """Tells listeners what is entered. Use it as ``async with``.

    ``changes`` gives the changes of accounts and credentials, as :meth:`gateway.sidecar.feed.Feed.subscribe`;
    ``write`` writes out what is told.
    """

    def __init__(self, store: Store, changes: Changes, write: Callable[[Topic, LedgerEntry], str]) -> None:
        self.missed = 0
        """Entries that listeners were not told because they did not keep up."""
        self.told: Counter[StreamName] = Counter()
        self._tail = Tail(store)
        self._changes = changes
        self._write = write
        self._listeners: set[Listener] = set()
        self._topics: dict[Topic, dict[Listener, None]] = {}
        self._someone = asyncio.Event()
        self._begun = asyncio.Lock()
        self._at_end = False
        self._closed = False

    async def __aenter__(self) -> Hub:
        self._tasks = [
            asyncio.create_task(self._run(self._tell), name="live ledger"),
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
        """Have a listener told of topics too: of all that is entered from when this returns."""
        async with self._begun:
            if not self._at_end:
                await self._tail.begin()
                self._at_end = True
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
        if not self._topics:
            self._at_end = False  # what is entered while nobody listens is nobody's news

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
                # A database that is away must not end it for good; the ledger is read on from where it was.
                if not failing:
                    _log.warning("listeners are not told now", extra={"reason": f"{type(error).__name__}: {error}"})
                failing = True
            await asyncio.sleep(_AGAIN)

    async def _tell(self) -> AsyncGenerator[None, None]:
        while True:
            await self._someone.wait()
            more = False
            async with self._begun:
                if self._at_end:
                    entries, more = await self._tail.next(self._is_wanted)
                    for entry in entries:
                        self._spread(entry)
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

    def _is_wanted(self, organization: str) -> bool:
        return any(topic.organization in (organization, EVERY) for topic in self._topics)

    def _spread(self, entry: LedgerEntry) -> None:
        for topic in _topics_of(entry):
            listeners = self._topics.get(topic)
            if listeners:
                told = Told(topic, self._write(topic, entry))
                for listener in listeners:
                    if listener.push(told):
                        self.told[topic.stream] += 1
                    else:
                        self.missed += 1


def _topics_of(entry: LedgerEntry) -> Iterable[Topic]:
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
