"""One call to one target: receives the answer and either keeps it whole or relays it as it comes.

The upstream connection calls the methods of :class:`Attempt` directly, so that an event goes from socket to socket
within one callback. The pipeline awaits the attempt itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from gateway.contract.usage import Attempt as AttemptRecord
from gateway.contract.usage import Tokens
from gateway.dataplane.decoding import Decoder, decoder_for, is_text
from gateway.dataplane.envelope import event_of
from gateway.dataplane.falling_back import fallback_line
from gateway.dataplane.pricing import cost_of
from gateway.dataplane.refusal import as_envelope, status_told
from gateway.dataplane.relay import CLIENT, EventRelay
from gateway.dataplane.streaming import EventStream
from gateway.dataplane.timing import seconds_of, timings
from gateway.dataplane.translating import Inbound, begin_reading, translate_whole, translated
from gateway.dataplane.upstream.connection import Connection, Headers
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.kernel.errors import GatewayError
from gateway.plugin.sse import data_of

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.load import Load
    from gateway.dataplane.racing import Race
    from gateway.dataplane.target import Target

MAX_BUFFERED: Final = 67_108_864
"""Bytes of a whole JSON answer; a larger one is a fault of the upstream."""
MAX_ERROR_BODY: Final = 1_048_576
PASSING: Final = frozenset((408, 409, 425, 429))
"""Refusals that may pass, beside every 5xx."""
_LINGER: Final = 2.0  # seconds an upstream has to end its answer after [DONE], before its connection is closed

_READ: Final = frozenset((b"content-type", b"content-length", b"content-encoding"))
_RELAYED: Final = frozenset(
    (
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        b"openai-processing-ms",
        b"openai-version",
        b"content-disposition",
    )
)
_HUNDREDTHS: Final = tuple([b"%02d" % number for number in range(100)])


class Mode(Enum):
    """What is done with the body."""

    WHOLE = "whole"
    EVENTS = "events"
    BYTES = "bytes"


class Attempt:
    """See the module. Once finished: ``error`` is a transport failure, ``cancelled`` means that the client left,
    ``relayed`` that the body went out in pieces, and otherwise ``status``, ``lines`` and :meth:`body` are the answer.
    """

    __slots__ = (
        "_chunks", "_decoder", "_done", "_holders", "_load", "_mode", "_relay", "_sent_at", "_size", "_started_ns",
        "apart", "cancelled", "connection", "content_type", "error", "events", "exchange", "finished", "head_at",
        "inbound", "length", "lines", "native", "number", "race", "refused", "relayed", "status", "tail", "target",
        "told", "too_long",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, target: Target) -> None:
        self.exchange = exchange
        self.target = target
        self._done: asyncio.Future[None] | None = None
        self.number = len(exchange.attempts) + 1
        self.race: Race | None = None  # where another target is asked too
        self._load: Load | None = None
        self.connection: Connection | None = None
        self.status: int | None = None
        self.lines = b""
        self.content_type = b""
        self.refused: Headers = []  # the headers of an error
        self.too_long = False
        self.native = False  # the answer is in the client's own protocol
        self.inbound: Inbound | None = None  # what makes the answer one of OpenAI's API
        self.apart: bytes | None = None  # what tells the usage of a translated answer that is no JSON
        self.told = b""  # the event in which the upstream reported an error
        self.length: int | None = None
        self.error: UpstreamError | None = None
        self.cancelled = False
        self.finished = False
        self.relayed = False
        self.events: EventStream | None = None
        self.tail = b""
        self.head_at = 0.0
        self._mode = Mode.WHOLE
        self._chunks: list[bytes] = []
        self._size = 0
        self._decoder: Decoder | None = None
        self._holders = 0
        self._relay: EventRelay | None = None  # while an event stream is relayed
        self._sent_at = time.perf_counter()
        self._started_ns = time.time_ns()

    def send(self, connection: Connection, request: list[bytes | memoryview]) -> None:
        """Write the request; the answer comes by the ``on_`` methods. An upload goes on with :meth:`send_more`."""
        self.connection = connection
        connection.reusable = self.exchange.complete
        if self.target.watched:
            self._load = load = self.target.load
            load.pending += 1
        exchange = self.exchange
        timeouts = exchange.timeouts_at(self.target)
        total_at = exchange.wire.loop.time() + timeouts.total
        if total_at > exchange.deadline:
            total_at = exchange.deadline
        connection.send(self, request, timeouts.first_token, timeouts.stall, total_at)

    def send_more(self, data: bytes, *, last: bool = False) -> None:
        """The next piece of an upload. The first-token deadline starts anew with each."""
        connection = self.connection
        if connection is None or connection.handler is not self:
            return  # answered before the upload was complete: the rest is not wanted
        connection.reusable = last
        if data:
            connection.send_more(data, self.exchange.timeouts_at(self.target).first_token)

    # gateway.dataplane.upstream.connection.Handler

    def on_head(self, status: int, headers: Headers) -> None:
        self.status = status
        self.head_at = time.perf_counter()
        kept = []
        encoding = b""
        for name, value in headers:
            if name in _READ:
                if name == b"content-type":
                    self.content_type = value
                elif name == b"content-length":
                    self.length = int(value)
                else:
                    encoding = value
            elif name in _RELAYED or (name.startswith(b"x-ratelimit-") and status >= 400):
                kept.append(name + b": " + value + b"\r\n")
        route = self.exchange.route
        if route is not None and route.fallbacks:
            kept.append(fallback_line(self.exchange, route, self.target, raced=self.race is not None))
        self.lines = b"".join(kept)
        if status >= 400:
            self.refused = headers
        if encoding and encoding != b"identity":
            self.length = None
            self._decoder = decoder_for(encoding)
            if self._decoder is None:
                self.fail(f"The upstream answered in the encoding {encoding[:40]!r}, which was not asked for.")
                return
        if self.exchange.seam is not None and self.exchange.wire.flow.write_paused:
            self.hold_upstream(CLIENT, True)  # the client is told of as full only once, and that was the attempt before
        if self.exchange.foreign is not None:
            begin_reading(self, self.exchange.foreign, headers)
        self._mode = self._mode_for(status)
        if self._mode is Mode.EVENTS:
            self._relay = relay = EventRelay(self)
            self.events = relay.events

    def _mode_for(self, status: int) -> Mode:
        if status >= 300:
            return Mode.WHOLE
        if self.content_type == b"application/json":
            return Mode.WHOLE
        kind = self.content_type.partition(b";")[0].strip().lower()
        if self.exchange.seam is not None and kind != b"text/event-stream":
            return Mode.WHOLE  # a stream has begun, and only another goes on with it
        if is_text(kind) and self.exchange.runtime.chain.on_response:
            return Mode.WHOLE  # a transcript as plain text goes through the plugins like one in JSON
        if kind == b"text/event-stream":
            return Mode.EVENTS
        if kind == b"application/json" or self.exchange.spec.json_answer:
            return Mode.WHOLE
        return Mode.BYTES

    def on_data(self, data: bytes) -> None:
        if self.finished:
            return
        if self._decoder is not None:
            try:
                data = self._decoder(data, MAX_BUFFERED)
            except ValueError as error:
                self.fail(str(error))
                return
        mode = self._mode
        if self._relay is not None:
            self._relay.feed(data if self.inbound is None else translated(self, data))
        elif mode is Mode.WHOLE:
            self._chunks.append(data)
            self._size += len(data)
            if self._size > (MAX_BUFFERED if self.status == 200 else MAX_ERROR_BODY):
                self.fail("The upstream's answer is too large.")
        elif not self.exchange.response_started:
            self.begin(data)
        else:
            self.exchange.write(data)

    def on_end(self) -> None:
        if self.finished:
            return
        if self._relay is not None:
            if self.inbound is not None:
                self._relay.feed(translated(self, None))
            if not self.finished:
                self._relay.end()
        elif self._mode is Mode.BYTES:
            if not self.exchange.response_started:
                self.begin(b"")
            self.finish()
        elif self.inbound is None or translate_whole(self):
            self.finish()

    def on_fail(self, error: UpstreamError) -> None:
        if not self.finished and not (self._relay is not None and self._relay.fail(error)):
            self.end_in(error)

    def end_in(self, error: UpstreamError) -> None:
        """The attempt failed."""
        self.error = error
        self.finish()

    def on_writable(self, writable: bool) -> None:
        # Only of an upload is there more to read; otherwise the client is listened to, because it may leave.
        if self.exchange.upload is not None:
            self.exchange.wire.read_more(writable)

    # relaying

    def begin(self, data: bytes) -> None:
        """The first piece is here: from now on the client sees this attempt."""
        exchange = self.exchange
        if self.race is not None:
            self.race.won(self)
        exchange.first_at = time.perf_counter()
        self.relayed = True
        if self._relay is not None:
            exchange.transcript = self._relay.transcript
        target = self.target
        if target.breaker.state:
            target.breaker.answered()
        if target.limit is not None:
            target.limit.began(self)
        if exchange.interpreter is not None:
            exchange.interpreter.native = self.native
        exchange.start(self.status or 200, self.head_lines(), self.length if self._mode is Mode.BYTES else None, data)

    def head_lines(self) -> bytes:
        """The header lines of the answer: the upstream's content type and what else is relayed, and ours."""
        exchange = self.exchange
        # In hundredths of a millisecond: whole numbers are formatted several times as fast, and those without a width
        # faster still.
        upstream = int((self.head_at - self._sent_at) * 100_000)
        own = int((time.perf_counter() - exchange.started) * 100_000) - upstream
        before = b""
        if self.number > 1 or exchange.waited:
            own = max(0, own - int((exchange.waited + seconds_of(exchange.attempts[: self.number - 1])) * 100_000))
            before = timings(exchange, self.number - 1)
        return (
            b"content-type: %b\r\n%b%bx-gateway-attempts: %d\r\n"
            b"server-timing: gateway;dur=%d.%b, %bupstream;dur=%d.%b\r\n"
            % (
                self.content_type or b"application/json",
                self.lines,
                self.target.header,
                self.number,
                own // 100,
                _HUNDREDTHS[own % 100],
                before,
                upstream // 100,
                _HUNDREDTHS[upstream % 100],
            )
        )

    def give(self, data: bytes) -> None:
        """Pass a piece on to the client."""
        if self.exchange.response_started:
            self.exchange.write(data)
        elif data:
            self.begin(data)

    def end_with(self, tail: bytes) -> None:
        """The answer is complete; its last piece waits until the usage event is safe."""
        self.tail = tail
        connection = self.connection
        if connection is not None and connection.handler is self:
            connection.deadline = connection.total_at = self.exchange.wire.loop.time() + _LINGER
        self.finish()

    def end_in_report(self, event: bytes, *, waiting: bool) -> None:
        """The upstream reported an error within its stream. Where the client has nothing of it yet it is as if the
        request had been answered with the error. ``waiting``: plugins still hold events that came before.
        """
        self._abort_connection()
        exchange = self.exchange
        body = data_of(event) or b""
        status = status_told(body) or 502
        if not exchange.response_started and not waiting:
            self.status, self.content_type, self.events = status, b"application/json", None
            self._chunks.append(as_envelope(body))
            self.finish()
        elif status < 500 and status not in PASSING and exchange.seam is None and not waiting:
            self.end_with(event)  # no other target would do better
        else:
            self.told = event
            self.on_fail(UpstreamError("stream_error", "The upstream reported an error within its stream."))

    def refuse(self, error: GatewayError) -> None:
        """A plugin refused an event: the client gets the error, as the last event where some have gone out."""
        self._abort_connection()
        self.exchange.refusal = error
        if self.exchange.response_started:
            self.tail = event_of(error)
        self.finish()

    # the end

    def fail(self, message: str) -> None:
        """The upstream's answer is no good."""
        self._abort_connection()
        self.on_fail(UpstreamError("protocol", message))

    @property
    def went_stale(self) -> bool:
        """Whether a connection that had served before was closed without a byte of this answer."""
        error, connection = self.error, self.connection
        return (
            error is not None
            and error.reason == "reset"
            and self.status is None
            and connection is not None
            and connection.used > 1
            and not connection.received
            and self.exchange.repeatable
        )

    def finish(self) -> None:
        """Wake the pipeline. Calling it twice is harmless."""
        if self.finished:
            return
        self.finished = True
        if self._load is not None:
            self._unload(self._load)
        self._relay = None  # it refers back here, and cycles wait long for the collector
        if self._done is not None:
            if not self._done.done():
                self._done.set_result(None)
        elif self.exchange.flow is not None:
            self.exchange.flow.wake()

    def _unload(self, load: Load) -> None:
        """The call is over: what it tells of its target."""
        self._load = None
        load.pending -= 1
        if self.cancelled:
            return
        now = self.exchange.wire.loop.time()
        status = self.status
        if self.error is not None or status is None or status >= 500 or status in PASSING:
            load.failed(self.seconds, now)
        elif status < 300:
            load.answered(self.exchange.first_at - self._sent_at if self.relayed else self.seconds, now)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until the attempt is finished: in a task for a future, and by hand for :meth:`finish`."""
        if self.finished:
            return
        flow = self.exchange.flow
        if flow is not None and flow.by_hand:
            yield self
        else:
            self._done = self.exchange.wire.loop.create_future()
            yield from self._done

    def cancel(self) -> None:
        """The client left: the upstream must stop generating."""
        if self.finished:
            return
        self.cancelled = True
        self._abort_connection()
        if self._relay is not None:
            self._relay.cancel()
        self.finish()

    def _abort_connection(self) -> None:
        if self.connection is not None and self.connection.handler is self:
            self.connection.abort()

    def replace(self, status: int, body: bytes) -> None:
        """Another answer stands for the one that came."""
        self.status, self._chunks = status, [body]
        if status < 300 or status >= 400:
            self.content_type = b"application/json"

    def body(self) -> bytes:
        """The whole answer of an attempt that was not relayed."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.perf_counter() - self._sent_at

    def record(self, reason: str, tokens: Tokens | None = None) -> AttemptRecord:
        """What the usage event keeps of this attempt. ``reason`` is ``ok`` or why it failed; ``tokens`` are told where
        they are not those of the event.
        """
        took = time.perf_counter() - self._sent_at
        target = self.target
        record = AttemptRecord(
            target.provider.name, target.model, self._started_ns, int(took * 1e9), self.status, reason
        )
        if tokens is not None:
            record.tokens = tokens
            record.cost_nanos = None if target.rate is None else cost_of(target.rate, tokens)
        return record

    # back-pressure

    def on_client_writable(self, writable: bool) -> None:
        """Read the upstream no faster than the client reads. The stall deadline rests meanwhile."""
        self.hold_upstream(CLIENT, not writable)

    def hold_upstream(self, who: int, held: bool) -> None:
        """Leave the upstream's bytes in the kernel as long as anyone wants that: ``CLIENT`` or ``PLUGINS``."""
        before = self._holders
        after = self._holders = before | who if held else before & ~who
        connection = self.connection
        if bool(before) is bool(after) or connection is None or connection.handler is not self:
            return
        connection.hold(bool(after), connection.total_at)
