"""What a client's parser tells of its requests: heads gathered, inference requests opened, started and run.

Functions and callbacks of a client's connection, called a dozen times a request; apart from
:mod:`gateway.dataplane.server` because a class that inherits from uvicorn's can't be compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httptools

from gateway.dataplane import pipeline
from gateway.dataplane.answers import fail
from gateway.dataplane.auth import Presented
from gateway.dataplane.endpoints import ml
from gateway.dataplane.endpoints.inference import BY_PATH
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.flow import Flow
from gateway.dataplane.opening import open_again, open_exchange
from gateway.dataplane.receiving import DISCARDED, answer_early, receive
from gateway.dataplane.repeating import Repeated
from gateway.dataplane.settlement import settle
from gateway.dataplane.upload import is_kept
from gateway.dataplane.writes import LARGE

if TYPE_CHECKING:
    from gateway.dataplane.endpoints.inference import Endpoint
    from gateway.dataplane.server import GatewayProtocol

MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 200
MAX_PIPELINED: Final = 16


class HeadTooLarge(Exception):
    """A request's head is larger than is read."""


class NotServed(Exception):
    """A request of another kind than this server serves: another version of HTTP, or CONNECT."""


class Reader:
    """The callbacks of one connection's parser (httptools, "Using HttpRequestParser"), over all its requests.

    ``head_fed`` counts the bytes of a head over several reads, ``arrived`` those of the read that is being parsed,
    ``heads`` the heads in it. ``left`` is what is still to come of a body that goes past the parser.
    """

    __slots__ = (
        "_between",
        "_writes",
        "arrived",
        "head_fed",
        "headers",
        "heads",
        "in_head",
        "left",
        "presented",
        "repeated",
        "url",
        "wire",
    )

    def __init__(self, wire: GatewayProtocol) -> None:
        self.wire = wire
        self._writes = wire.writes
        self.presented = Presented()
        self.repeated = Repeated()
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.in_head = False
        self.head_fed = 0
        self.arrived = 0
        self.heads = 0
        self.left = 0
        self._between = True  # the parser has begun nothing, and the connection is kept

    def parser(self) -> httptools.HttpRequestParser:
        """A parser that tells this reader; as uvicorn's, it lets bytes behind a last request pass."""
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        wire = self.wire
        if wire.broken:
            return  # an answer with "connection: close" is out, and the rest of the request is let pass
        repeated = self.repeated
        if self.left:
            data = self._go_on(data, 0)
        while repeated.known and self._between and data and not wire.broken:
            size = repeated.find(data)
            if not size:
                break
            data = self._again(data, size)
        if data and not wire.broken:
            self._parse(data)

    def _again(self, data: bytes, size: int) -> bytes:
        """A request whose head is known, of so many bytes; gives what follows it in this read."""
        wire = self.wire
        wire.expect_100_continue = False
        wire.busy_since = wire.loop.time()
        self.left = self.repeated.length
        self._begin(open_again(wire, self.repeated, self.presented))
        return self._go_on(data, size)

    def _go_on(self, data: bytes, at: int) -> bytes:
        """The body of a request whose head was known, or a piece of it, from ``at``; gives what follows it."""
        wire = self.wire
        cycle: Any = wire.cycle
        piece = data[at : at + self.left]
        self.left -= len(piece)
        if piece:
            receive(wire, cycle, piece)
        if not self.left:
            self._complete(cycle)
        return data[at + len(piece) :]

    def _parse(self, data: bytes) -> None:
        wire = self.wire
        begins = self._between
        self.heads = 0
        self.arrived = len(data)
        self.head_fed += self.arrived
        while data:
            try:
                wire.parser.feed_data(data)
                break
            except httptools.HttpParserError as error:
                wire.malformed(head_too_large=isinstance(error.__context__, HeadTooLarge))
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
                if wire.worker.forward.takes(wire, rest):
                    return
                data = wire.head_without_upgrade() + rest
        if self.head_fed > MAX_HEAD_BYTES:
            wire.malformed(head_too_large=True)
        elif self.repeated.noted:
            if begins and self.heads == 1:
                self.repeated.learn(data)
            self.repeated.noted = False

    def write(self, data: bytes) -> None:
        """Send before the turn of the event loop ends."""
        self._writes.write(self.wire, data)

    def answered(self, exchange: Exchange) -> None:
        """The answer of the current exchange is out: go on with the connection, or close it."""
        wire = self.wire
        wire.server_state.total_requests += 1
        transport = wire.transport
        if transport.is_closing():
            return
        if not exchange.complete:
            wire.answered_early()
            return
        if not exchange.keep_alive:
            if wire.broken:
                wire.answered_early()
            else:
                wire.flush()
                transport.close()
            return
        wire.busy_since = wire.loop.time()
        if wire.flow.write_paused:
            wire.read_more(False)  # a client that does not read its answers gets no more of them made
            return
        if not wire.reading:
            wire.read_more(True)
        if wire.pipeline and not wire.starting:
            wire.start_waiting()

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.in_head = True
        self._between = False
        self.heads += 1
        self.head_fed = 0  # of reads that follow: where in this one the head begins isn't known
        wire = self.wire
        wire.expect_100_continue = False
        wire.busy_since = wire.loop.time()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # trailers are read and forgotten
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.in_head = False
        headers = self.headers
        wire = self.wire
        if len(headers) > MAX_HEADERS or (
            (self.head_fed > MAX_HEAD_BYTES or self.arrived > MAX_HEAD_BYTES)
            and sum([len(name) + len(value) + 4 for name, value in headers]) > MAX_HEAD_BYTES
        ):
            raise HeadTooLarge
        parser = wire.parser
        version = parser.get_http_version()
        method = parser.get_method()
        if version not in ("1.1", "1.0") or method == b"CONNECT":
            raise NotServed
        if not parser.should_upgrade():
            url = self.url
            spec = BY_PATH.get(url)
            if spec is None and b"?" in url:
                spec = BY_PATH.get(url.partition(b"?")[0])
            if spec is not None and method == b"POST":
                self._open(spec, headers, version == "1.1")
                return
        wire.other_request(self.url, headers)

    def on_body(self, body: bytes) -> None:
        self.head_fed = 0  # what comes between two pieces of a body, or after it, is bounded like a head
        wire = self.wire
        cycle = wire.cycle
        if type(cycle) is not Exchange:
            wire.on_body(body)
        else:
            receive(wire, cycle, body)

    def on_message_complete(self) -> None:
        self.head_fed = 0
        wire = self.wire
        parser = wire.parser
        if parser.should_upgrade():
            return
        self._between = parser.should_keep_alive()
        cycle = wire.cycle
        if type(cycle) is not Exchange:
            wire.on_message_complete()
        else:
            self._complete(cycle)

    def _complete(self, cycle: Exchange) -> None:
        cycle.complete = True
        if cycle.response_complete:
            return
        if cycle.upload is not None and cycle.flow is not None:
            cycle.upload_ended()
        elif cycle.turn:
            run(self.wire, cycle)

    def _open(self, spec: Endpoint, headers: list[tuple[bytes, bytes]], http11: bool) -> None:
        """The head of an inference request is here: authenticate before a byte of its body is kept."""
        exchange = open_exchange(self.wire, spec, headers, http11, self.presented)
        self.repeated.note(exchange, headers)
        self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        wire = self.wire
        previous: Any = wire.cycle
        wire.cycle = exchange
        if (previous is None or previous.response_complete) and not wire.flow.write_paused:
            start(wire, exchange)
        else:
            wire.pipeline.appendleft((exchange, wire.app))  # type: ignore[arg-type]  # _start_asgi_task knows it
            if len(wire.pipeline) >= MAX_PIPELINED or wire.flow.write_paused:
                wire.read_more(False)


def start(wire: GatewayProtocol, exchange: Exchange) -> None:
    """It is this request's turn on its connection."""
    exchange.turn = True
    wire.current = exchange
    expected = wire.expect_100_continue
    if expected and exchange.refusal is None and not exchange.complete:
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.expect_100_continue = expected = False
    if exchange.complete:
        run(wire, exchange)
    elif exchange.refusal is not None:
        if expected or (exchange.declared_length or 0) > DISCARDED:
            answer_early(wire, exchange)
    elif exchange.upload is not None and exchange.upload.model is not None and not is_kept(exchange, exchange.upload):
        run(wire, exchange)


def run(wire: GatewayProtocol, exchange: Exchange) -> None:
    """Start the pipeline, or answer at once what is refused already."""
    if exchange.refusal is not None:
        fail(exchange, exchange.refusal)
        settle(exchange)
        return
    if (exchange.declared_length or 0) >= LARGE:
        wire.writes.flush()  # answers that are ready need not wait for what so large a body takes
    work = ml.handle(exchange) if exchange.spec.decides else pipeline.handle(exchange)
    exchange.flow = flow = Flow(work, wire.loop)
    flow.start(as_task=not exchange.runtime.chain.plain)
