"""Streams of Responses that are made in the background: their events are noted, and followed by whoever asks.

The worker that makes a Response has its last events at hand; all of them are in the store soon after, where another
worker reads them for a client that comes back. Source: OpenAI guides, "Background mode" (``starting_after``).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import orjson

from gateway.dataplane.stored.database import telling
from gateway.dataplane.stored.records import RUNNING, Json
from gateway.kernel.errors import GatewayError
from gateway.plugin.sse import data_of, split_events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.dataplane.stored.conversations import Write
    from gateway.dataplane.stored.store import Store

PAUSE: Final = 0.25
"""Seconds between two writes of a stream's events, and between two looks at what another worker has written."""
KEPT: Final = 1_048_576
"""Bytes of events that are kept at hand; those that are in the store already go first."""
MOST: Final = 16_777_216
"""Bytes that may wait for a store that can't be written; beyond, the oldest are lost."""
_ANNOUNCED: Final = ("response.created", "response.queued")
_LAST: Final = ("response.completed", "response.incomplete", "response.failed", "error")


class Log:
    """The events of one Response, numbered from 0. ``base`` is the number of the first at hand, ``ended`` says that the
    last one has come, ``over`` that nothing follows.
    """

    def __init__(self, store: Store, organization: str, queued: Json) -> None:
        self.organization = organization
        self.id: str = queued["id"]
        self.base = 0
        self.ended = False
        self.over = False
        self._store = store
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self._saved = 0  # the number of the first that is not in the store
        self._head: bytearray | None = bytearray()  # of the answer whose bytes come, until it is whole
        self._is_stream = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._saving: asyncio.Task[None] | None = None
        for kind in _ANNOUNCED:
            self.tell(kind, {"response": queued})

    @property
    def next(self) -> int:
        """The number of the next event."""
        return self.base + len(self._events)

    def tell(self, kind: str, fields: Json) -> None:
        """The next event."""
        document = {"type": kind, "sequence_number": self.next, **fields}
        event = b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(document))
        self._events.append(event)
        self._bytes += len(event)
        self.ended = kind in _LAST
        while self._bytes > KEPT and (self.base < self._saved or self._bytes > MOST):
            self._bytes -= len(self._events.popleft())
            self.base += 1
        self._wake()

    def feed(self, data: bytes) -> None:
        """The next bytes of the answer as it would go to a client: a head, then whole events. What is no stream is not
        told here.
        """
        if self._head is not None:
            self._head += data
            head, found, rest = bytes(self._head).partition(b"\r\n\r\n")
            if not found:
                return
            self._head = None
            self._is_stream = b"content-type: text/event-stream" in head.lower()
            data = rest
        if self._is_stream:
            for event in split_events(data):
                self._take(event)

    def _take(self, event: bytes) -> None:
        try:
            document = orjson.loads(data_of(event) or b"null")
        except orjson.JSONDecodeError:
            return
        if self.ended or not isinstance(document, dict) or document.get("type") in (None, *_ANNOUNCED):
            return
        kind = str(document.pop("type"))
        document.pop("sequence_number", None)
        self.tell(kind, document)
        if self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save())

    def since(self, after: int) -> list[bytes]:
        """The events at hand with a higher number."""
        return list(self._events)[max(0, after + 1 - self.base) :]

    async def changed(self) -> None:
        """Wait until there are more, or it is over."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def writes(self) -> list[Write]:
        """What is not in the store yet."""
        events = self.since(self._saved - 1)
        if not events:
            return []
        first = max(self._saved, self.base)
        self._saved = self.next
        return [telling(self.organization, self.id, first, self._saved - 1, b"".join(events))]

    def close(self) -> None:
        """Nothing follows."""
        self.over = True
        if self._saving is not None:
            self._saving.cancel()
        self._wake()

    async def _save(self) -> None:
        """Write what comes, as long as something does."""
        await asyncio.sleep(PAUSE)
        before = self._saved
        while writes := self.writes():
            try:
                await self._store.change(*writes)
            except GatewayError:  # the store has said why in the log
                self._saved = before
            before = self._saved
            await asyncio.sleep(PAUSE)
        self._saving = None

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


async def follow(
    store: Store, organization: str, response_id: str, after: int, log: Log | None
) -> AsyncGenerator[bytes, None]:
    """The events with a number above ``after``, as they come. ``log`` is there where this worker makes the Response.

    Raises :class:`~gateway.kernel.errors.GatewayError` where the store can't be read.
    """
    is_over = False
    while True:
        if log is not None and after + 1 >= log.base:
            events = log.since(after)
            if events:
                after += len(events)
                yield b"".join(events)
            elif log.over:
                return
            else:
                await log.changed()
            continue
        told = await store.events(organization, response_id, after)
        for first, last, joined in told:
            yield b"".join(split_events(joined)[max(0, after + 1 - first) :])
            after = last
        if told:
            continue
        if is_over:
            return
        record = await store.find(organization, response_id)
        is_over = record is None or record.status not in RUNNING or record.alive_until < time.time()
        if not is_over:
            await asyncio.sleep(PAUSE)
