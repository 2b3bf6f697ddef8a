"""The client's side of the wire: a uvicorn protocol that hands inference requests to the pipeline, past ASGI.

Everything else (health, models, metrics, unknown paths) goes through uvicorn's own request cycle to the Starlette app.
Requests of both kinds may follow each other on one connection, pipelined or not; they are answered in order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.dataplane import pipeline
from gateway.dataplane.answers import error_lines, fail
from gateway.dataplane.body import invalid
from gateway.dataplane.endpoints.inference import BY_PATH, Endpoint
from gateway.dataplane.envelope import body_of, status_of
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.flow import Flow
from gateway.dataplane.opening import open_exchange
from gateway.dataplane.receiving import DISCARDED, answer_early, receive
from gateway.dataplane.settlement import settle
from gateway.dataplane.sweeping import sweep
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.clock import Clock

MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 200
MAX_PIPELINED: Final = 16


class GatewayProtocol(HttpToolsProtocol):
    """One client connection. ``config.app`` must be a :class:`gateway.dataplane.app.Worker`."""

    cycle: Any  # a uvicorn cycle or an Exchange: both have response_complete, keep_alive and disconnected

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.worker: Worker = config.loaded_app
        self.clock: Clock = self.worker.clock
        self.access_log = False
        self.reading = True
        self.in_head = False
        self.head_fed = 0
        self.arrived = 0
        self.current: Exchange | None = None  # being answered; `cycle` is the last one parsed
        self.broken = False
        self.lookup: asyncio.Task[None] | None = None
        self.starting = False
        self.busy_since = self.loop.time()
        self.linger_until = 0.0

    # bytes in

    def data_received(self, data: bytes) -> None:
        if self.broken:
            return  # an answer with "connection: close" is out, and the rest of the request is let pass
        self.arrived = len(data)
        self.head_fed += self.arrived
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserError as error:
                self._malformed(head_too_large=isinstance(error.__context__, _HeadTooLarge))
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
                if self.worker.forward.takes(self, rest):
                    return
                data = self._head_without_upgrade() + rest
        if self.head_fed > MAX_HEAD_BYTES:
            self._malformed(head_too_large=True)

    def _head_without_upgrade(self) -> bytes:
        """The head of a request that offers another protocol, without the offer.

        Nobody takes it, so the request is served as it is (RFC 9110 §7.8); but the parser has left its body unread.
        Java's client offers HTTP/2 in this way with every first request.
        """
        parser, self.parser = self.parser, httptools.HttpRequestParser(self)
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join([part for part in value.split(b",") if part.strip().lower() != b"upgrade"])
            if name not in (b"upgrade", b"http2-settings"):
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.in_head = True
        self.head_fed = 0  # of reads that follow: where in this one the head begins isn't known
        self.busy_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # trailers are read and forgotten
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.in_head = False
        headers = self.headers
        if len(headers) > MAX_HEADERS or (
            max(self.head_fed, self.arrived) > MAX_HEAD_BYTES
            and sum(len(n) + len(v) + 4 for n, v in headers) > MAX_HEAD_BYTES
        ):
            raise _HeadTooLarge
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0") or self.parser.get_method() == b"CONNECT":
            raise _NotServed
        if self.parser.should_upgrade():
            return
        spec = BY_PATH.get(self.url) or (BY_PATH.get(self.url.partition(b"?")[0]) if b"?" in self.url else None)
        if spec is not None and self.parser.get_method() == b"POST":
            self._open(spec, headers, version == "1.1")
            return
        self.expect_100_continue = any(n == b"expect" and v.lower() == b"100-continue" for n, v in headers)
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": headers,
            "state": self.app_state.copy(),
        }
        self.scope = scope  # uvicorn fills in method and path
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.head_fed = 0  # what comes between two pieces of a body, or after it, is bounded like a head
        cycle = self.cycle
        if type(cycle) is not Exchange:
            super().on_body(body)
        else:
            receive(self, cycle, body)

    def on_message_complete(self) -> None:
        self.head_fed = 0
        if self.parser.should_upgrade():
            return
        cycle = self.cycle
        if type(cycle) is not Exchange:
            super().on_message_complete()
            return
        cycle.complete = True
        if cycle.response_complete:
            return
        if cycle.upload is not None and cycle.flow is not None:
            cycle.upload_ended()
        elif cycle.turn:
            self.run(cycle)

    # inference requests

    def _open(self, spec: Endpoint, headers: list[tuple[bytes, bytes]], http11: bool) -> None:
        """The head of an inference request is here: authenticate before a byte of its body is kept."""
        previous: Any = self.cycle
        self.cycle = exchange = open_exchange(self, spec, headers, http11)
        if (previous is None or previous.response_complete) and not self.flow.write_paused:
            self._start(exchange)
        else:
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]  # _start_asgi_task knows it
            if len(self.pipeline) >= MAX_PIPELINED or self.flow.write_paused:
                self.read_more(False)

    def _start(self, exchange: Exchange) -> None:
        """It is this request's turn on its connection."""
        exchange.turn = True
        self.current = exchange
        if self.expect_100_continue and exchange.refusal is None and not exchange.complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expect_100_continue = False
        if exchange.complete:
            self.run(exchange)
        elif exchange.refusal is not None:
            if self.expect_100_continue or (exchange.declared_length or 0) > DISCARDED:
                answer_early(self, exchange)
        elif exchange.upload is not None and exchange.upload.model is not None:
            self.run(exchange)

    def run(self, exchange: Exchange) -> None:
        """Start the pipeline, or answer at once what is refused already."""
        if exchange.refusal is not None:
            fail(exchange, exchange.refusal)
            settle(exchange)
            return
        exchange.flow = flow = Flow(pipeline.handle(exchange), self.loop)
        flow.start(as_task=not exchange.runtime.chain.plain)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is Exchange:
            self._start(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def answered(self, exchange: Exchange) -> None:
        """The answer of the current exchange is out: go on with the connection, or close it."""
        self.server_state.total_requests += 1
        transport = self.transport
        if transport.is_closing():
            return
        if not exchange.complete:
            self._answered_early()
            return
        if not exchange.keep_alive:
            if self.broken:
                self._answered_early()
            else:
                transport.close()
            return
        self.busy_since = self.loop.time()
        if self.flow.write_paused:
            self.read_more(False)  # a client that does not read its answers gets no more of them made
            return
        self.read_more(True)
        if self.pipeline and not self.starting:
            self._start_waiting()

    def _start_waiting(self) -> None:
        """Start the next request; one that is answered at once is followed by another here, not within itself."""
        self.starting = True
        try:
            while self.pipeline:
                cycle, app = self.pipeline.pop()
                self._start_asgi_task(cycle, app)
                if not (cycle.response_complete and cycle.keep_alive) or self.broken or self.transport.is_closing():
                    return
                if self.flow.write_paused:
                    return
        finally:
            self.starting = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # idle connections are closed by the worker's sweep
        self.busy_since = self.loop.time()

    def _answered_early(self) -> None:
        # Closing with unread bytes would reset the connection and take the answer with it (RFC 9112 §9.6): let the
        # client finish or notice, for a while.
        self.broken = True
        self.read_more(True)
        self.linger_until = self.loop.time() + 2.0
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def read_more(self, wanted: bool) -> None:
        """Read from the client, or leave its bytes in the kernel."""
        if self.reading == wanted or self.transport.is_closing():
            return
        self.reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    # bytes that are no request

    def _malformed(self, *, head_too_large: bool) -> None:
        self.broken = True
        if head_too_large:
            message = f"The request's head is too large: at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers."
            error = GatewayError(Kind.INVALID, "headers_too_large", message)
        else:
            error = invalid("The request is not valid HTTP/1.1.", code="invalid_http_request")
        self.worker.metrics.malformed()
        cycle = self.cycle
        if type(cycle) is Exchange and not cycle.complete and not cycle.response_complete:
            # Its own body broke off: that request is the one to be told, when its turn comes.
            cycle.complete = True
            cycle.keep_alive = False
            if cycle.flow is not None:
                cycle.refuse(error)
            else:
                cycle.refusal = error
                if cycle.turn:
                    self.run(cycle)
            return
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False  # answer what came before the garbage, then close
            return
        status = 431 if head_too_large else status_of(error)
        body = body_of(error)
        self.transport.write(
            b"%b%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], error_lines(error), self.clock.date_line, len(body), body)
        )
        self._answered_early()

    # the transport

    def connection_lost(self, exc: Exception | None) -> None:
        cycle: Any = self.cycle
        if type(cycle) is Exchange:
            self.connections.discard(self)
            self.flow.resume_writing()
            self.parser = None  # type: ignore[assignment]  # it refers back to this object
        else:
            super().connection_lost(exc)
        if self.current is not None and not self.current.response_complete:
            self._lost(self.current)
        while self.pipeline:
            waiting: Any = self.pipeline.pop()[0]
            if type(waiting) is Exchange:
                self._lost(waiting)
        self.cycle = self.current = None  # they refer back here, and cycles wait long for the collector

    def _lost(self, exchange: Exchange) -> None:
        exchange.on_disconnect()
        if exchange.flow is None:
            settle(exchange)  # it never started: free what it holds

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.current is not None:
            self.current.on_writable(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        current = self.current
        if current is None:
            return
        if not current.response_complete:
            current.on_writable(True)
        elif current.keep_alive and not self.broken:
            self.read_more(True)
            if self.pipeline and not self.starting:
                self._start_waiting()

    def sweep(self, now: float, idle: float, incomplete: float) -> None:
        """See :func:`gateway.dataplane.sweeping.sweep`."""
        sweep(self, now, idle, incomplete)

    def retire(self) -> None:
        """Tell the client with the next answer that begins that the connection ends behind it."""
        if self.current is not None and not self.current.response_started:
            self.current.keep_alive = False

    def shutdown(self) -> None:
        """Stop after the current answer; called when the worker drains."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False


class _HeadTooLarge(Exception):
    pass


class _NotServed(Exception):
    pass
