"""Responses that are made in the background.

Once such a request is admitted its client has its answer, "queued", and the exchange goes on without the connection:
limits, plugins, failover and usage are those of every request. As long as it runs, its worker says so in the store; one
that says nothing any more has died with it, and a Response that was cancelled or removed there is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.dataplane.exchange import Exchange
from gateway.dataplane.stored.beginning import store_of
from gateway.dataplane.stored.following import PAUSE, Log, follow
from gateway.dataplane.stored.session import Session
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.server import GatewayProtocol
    from gateway.dataplane.stored.store import Store

logger = logging.getLogger("gateway.responses")

BEAT: Final = 1.0
"""Seconds between two looks at the store: so long goes on what another worker's client has cancelled."""
ALIVE: Final = 30.0
"""Seconds after which a Response that nobody said is running is taken for lost."""
WAITING: Final = 262_144
"""Bytes of events that may wait for a slow client."""
MOST: Final = 1000
"""Responses that a worker makes in the background at once; a further one is refused."""


async def detach_if_wanted(exchange: Exchange) -> None:
    """Have an admitted request go on in the background where it asks for that."""
    interpreter = exchange.interpreter
    session = interpreter.protocol if interpreter is not None else None
    if isinstance(session, Session) and session.wanted.background:
        await exchange.wire.worker.running.detach(exchange, session)


class _Sink:
    """Where the bytes of an answer go that no connection waits for: the Response is kept in the store instead, and of a
    stream its events in a log.
    """

    def __init__(self, log: Log | None) -> None:
        self._log = log

    def write(self, data: bytes) -> None:
        """Note the events."""
        if self._log is not None and not self._log.over:
            self._log.feed(data)


class DetachedWire:
    """What an exchange sees in place of its client's connection."""

    def __init__(self, wire: GatewayProtocol, log: Log | None) -> None:
        self.worker = wire.worker
        self.clock = wire.clock
        self.loop = wire.loop
        self.client = wire.client
        self.transport = _Sink(log)

    def read_more(self, wanted: bool) -> None:
        """There is nothing to be read."""

    def write(self, data: bytes) -> None:
        """The next bytes of the answer."""
        self.transport.write(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def answered(self, exchange: Exchange) -> None:
        """Nobody waits for what comes next."""


class Running:
    """The Responses that one worker makes in the background, by id."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._exchanges: dict[str, Exchange] = {}
        self.logs: dict[str, Log] = {}
        """Of those that are streamed."""
        self._followers: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()

    async def detach(self, exchange: Exchange, session: Session) -> None:
        """Answer the client of an admitted request, and go on without it. Raises
        :class:`~gateway.kernel.errors.GatewayError` where that can't be kept.
        """
        if len(self._exchanges) >= MOST:
            message = "Too many responses are being made in the background."
            raise GatewayError(Kind.UNAVAILABLE, "background_full", message, retry_after=10)
        await exchange.before_waiting()
        assert exchange.caller is not None
        queued = session.queued()
        record = session.record(queued, "in_progress", time.time() + ALIVE)
        store, organization = store_of(exchange), exchange.caller.organization
        log = Log(store, organization, queued) if session.wanted.stream else None
        await store.put(organization, record, () if log is None else log.writes())
        exchange.check()
        self._exchanges[record.id] = exchange
        self._idle.clear()
        other = _let_go(exchange, DetachedWire(exchange.wire, log))
        if log is None:
            other.hold(200, b"content-type: application/json\r\n", orjson.dumps(queued))
            other.release()
        else:
            self.logs[record.id] = log
            follower = other.wire.loop.create_task(_stream(other, store, log))
            self._followers.add(follower)
            follower.add_done_callback(self._followers.discard)
        if self._beating is None or self._beating.done():
            self._beating = exchange.wire.loop.create_task(self._beat())

    def cancel(self, response_id: str) -> None:
        """Give up one that runs here; nothing where it does not."""
        exchange = self._exchanges.get(response_id)
        if exchange is not None:
            exchange.on_disconnect()

    def over(self, response_id: str) -> None:
        """One has ended."""
        self._exchanges.pop(response_id, None)
        log = self.logs.pop(response_id, None)
        if log is not None:
            log.close()
        if not self._exchanges:
            self._idle.set()

    async def finish(self, seconds: float) -> None:
        """The worker stops: let those that run end by themselves for a while, then refuse the rest."""
        await self._until_idle(seconds)
        error = GatewayError(Kind.UNAVAILABLE, "shutting_down", "The gateway is shutting down.")
        for exchange in list(self._exchanges.values()):
            exchange.refuse(error)
        await self._until_idle(1.0)
        if self._beating is not None:
            self._beating.cancel()
        for follower in self._followers:
            follower.cancel()

    async def _until_idle(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            if self._exchanges:
                async with asyncio.timeout(seconds):
                    await self._idle.wait()

    async def _beat(self) -> None:
        """Say in the store that they run, and give up those that are not wanted any more."""
        while self._exchanges:
            await asyncio.sleep(BEAT)
            # Together, so that one write serves all of them.
            await asyncio.gather(*(self._say(*each) for each in list(self._exchanges.items())))

    async def _say(self, response_id: str, exchange: Exchange) -> None:
        caller, store = exchange.caller, self._worker.stored
        if caller is None or store is None:
            return
        try:
            wanted = await store.live(caller.organization, response_id, time.time() + ALIVE)
        except GatewayError:
            return  # tried again in a second; the store has said why in the log
        if not wanted and response_id in self._exchanges:
            exchange.on_disconnect()


def _let_go(exchange: Exchange, detached: DetachedWire) -> Exchange:
    """The exchange goes on without its connection, which gets the one that is returned in its place: it is over, but
    for its answer.
    """
    wire = exchange.wire
    other = Exchange(wire, exchange.runtime, exchange.spec, [], exchange.id, exchange.http11, exchange.keep_alive)
    other.complete = other.turn = other.settled = True
    other.rate_lines = exchange.rate_lines
    given: Any = detached  # has all of a connection that an exchange uses
    exchange.wire = given
    exchange.keep_alive = True
    exchange.http11 = False  # what is noted of its answer is not in chunks
    if wire.cycle is exchange:
        wire.cycle = other
    wire.current = other
    return other


async def _stream(exchange: Exchange, store: Store, log: Log) -> None:
    """Send a client the events of the Response it asked for, as long as it is there."""
    exchange.interpreter = None  # they are its own protocol's
    exchange.start(200, b"content-type: text/event-stream; charset=utf-8\r\n", None, b"")
    transport = exchange.wire.transport
    try:
        async with contextlib.aclosing(follow(store, log.organization, log.id, -1, log)) as told:
            async for events in told:
                exchange.write(events)
                exchange.wire.flush()
                # What a transport has sent is told to its protocol alone: hence no event to wait for.
                while not exchange.disconnected and transport.get_write_buffer_size() > WAITING:  # noqa: ASYNC110
                    await asyncio.sleep(PAUSE)
                if exchange.disconnected:
                    break
        exchange.hold_end(b"")
    except (Exception, asyncio.CancelledError) as error:
        logger.error("a stream was given up", extra={"request_id": exchange.id, "detail": str(error)})
        exchange.keep_alive = False  # its client must see that the last chunk is missing
    finally:
        exchange.release()
