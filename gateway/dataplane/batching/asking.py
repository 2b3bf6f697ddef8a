"""A line of a batch as an inference request like any other: an exchange that has no client's connection.

Limits, budgets, plugins, routing, retries, usage and logs are those of every request of the same credential.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import httptools
from msgspec import Struct

from gateway.dataplane import pipeline
from gateway.dataplane.admitting import accept
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.flow import Flow
from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.auth import Credential
    from gateway.dataplane.endpoints.inference import Endpoint

TAG: Final = "batch_id"
"""The tag that the usage events of a batch carry its id in."""
SHARE: Final = 0.1
"""Of the weight of its organisation's plan, where a line waits for a provider beside live requests."""


class Asked(Struct):
    """How a line was answered. ``refusal`` is what the gateway itself refused it with; ``was_admitted``: past the
    limits of its credential. ``retry_after`` is in seconds, where a pause was asked for.
    """

    status: int
    request_id: str
    body: bytes
    refusal: GatewayError | None
    was_admitted: bool
    retry_after: float | None


class _Answer:
    """Where the bytes of an answer go: parsed as the HTTP that a client would get."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.retry_after: float | None = None

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools, ``HttpResponseParser``."""
        if name.lower() == b"retry-after" and value.isdigit():
            self.retry_after = float(value[:9])

    def on_body(self, data: bytes) -> None:
        """See httptools, ``HttpResponseParser``."""
        self._body.append(data)

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return b"".join(self._body)


class LineWire:
    """What an exchange sees in place of its client's connection."""

    def __init__(self, worker: Worker, address: str | None) -> None:
        self.worker = worker
        self.clock = worker.clock
        self.loop = worker.loop
        self.client = None if address is None else (address, 0)
        self.transport = _Answer()
        self.over: asyncio.Future[None] = worker.loop.create_future()

    def read_more(self, wanted: bool) -> None:
        """There is nothing to be read."""

    def write(self, data: bytes) -> None:
        """The next bytes of the answer."""
        self.transport.write(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def answered(self, exchange: Exchange) -> None:
        """The answer is here as a whole."""
        if not self.over.done():
            self.over.set_result(None)


class Asking:
    """The lines that are under way. ``tags`` go into the usage event of each."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._exchanges: set[Exchange] = set()

    def __len__(self) -> int:
        return len(self._exchanges)

    async def ask(
        self, caller: Credential, address: str | None, spec: Endpoint, body: bytes, tags: dict[str, str]
    ) -> Asked:
        """Have one request answered. Raises :class:`GatewayError` where the credential may not be used for it now."""
        worker = self._worker
        wire = LineWire(worker, address)
        given: Any = wire  # has all of a connection that an exchange uses
        exchange = Exchange(given, worker.runtime, spec, [], worker.clock.request_id(), True, True)
        accept(exchange, caller)
        worker.runtime.active += 1
        exchange.content_type = b"application/json"
        exchange.declared_length = exchange.received = len(body)
        exchange.complete = exchange.turn = True
        exchange.tags = tags
        exchange.share = SHARE
        exchange.feed(body)
        self._exchanges.add(exchange)
        exchange.flow = flow = Flow(pipeline.handle(exchange), worker.loop)
        flow.start(as_task=True)
        try:
            await wire.over
        finally:
            self._exchanges.discard(exchange)
        answer = wire.transport
        refusal = exchange.refusal
        pause = answer.retry_after if refusal is None else refusal.retry_after
        return Asked(exchange.status, exchange.id, answer.body, refusal, exchange.grant is not None, pause)

    def refuse(self, error: GatewayError) -> None:
        """End what is under way."""
        for exchange in list(self._exchanges):
            exchange.refuse(error)
