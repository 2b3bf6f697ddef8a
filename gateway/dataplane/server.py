"""The client's side of the wire: a uvicorn protocol that hands inference requests to the pipeline, past ASGI.

Everything else (health, models, metrics, unknown paths) goes through uvicorn's own request cycle to the Starlette app.
Requests of both kinds may follow each other on one connection, pipelined or not; they are answered in order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.dataplane.answers import error_lines
from gateway.dataplane.body import invalid
from gateway.dataplane.envelope import body_of, status_of
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.reading import MAX_HEAD_BYTES, MAX_HEADERS, Reader, run, start
from gateway.dataplane.settlement import settle
from gateway.dataplane.sweeping import sweep
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.clock import Clock


_OF_READER: Final = ("answered", "data_received", "write")
"""What the reader does for its connection as long as that reads HTTP."""


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
        self.writes = self.worker.writes
        self.reader = reader = Reader(self)
        self.parser = reader.parser()
        # Compiled, each is called as it is, without a frame of Python's.
        for name in _OF_READER:
            setattr(self, name, getattr(reader, name))
        self.current: Exchange | None = None  # being answered; `cycle` is the last one parsed
        self.broken = False
        self.lookup: asyncio.Task[None] | None = None
        self.starting = False
        self.busy_since = self.loop.time()
        self.linger_until = 0.0
        self.unsent = False

    # bytes in

    def data_received(self, data: bytes) -> None:
        """See :meth:`gateway.dataplane.reading.Reader.data_received`."""
        if self.reader is not None:
            self.reader.data_received(data)

    def head_without_upgrade(self) -> bytes:
        """The head of a request that offers another protocol, without the offer.

        Nobody takes it, so the request is served as it is (RFC 9110 §7.8); but the parser has left its body unread.
        Java's client offers HTTP/2 in this way with every first request.
        """
        parser, self.parser = self.parser, self.reader.parser()
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join([part for part in value.split(b",") if part.strip().lower() != b"upgrade"])
            if name not in (b"upgrade", b"http2-settings"):
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def other_request(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of a request that is for uvicorn to serve, or offers another protocol."""
        self.url = url
        self.headers = headers
        if self.parser.should_upgrade():
            return
        self.expect_100_continue = any(n == b"expect" and v.lower() == b"100-continue" for n, v in headers)
        version = self.parser.get_http_version()
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": headers,
            "state": self.app_state.copy(),
        }
        self.scope = scope  # uvicorn fills in method and path
        super().on_headers_complete()

    # inference requests, begun by the reader

    def run(self, exchange: Exchange) -> None:
        """See :func:`gateway.dataplane.reading.run`."""
        run(self, exchange)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is Exchange:
            start(self, cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def answered(self, exchange: Exchange) -> None:
        """See :meth:`gateway.dataplane.reading.Reader.answered`."""
        self.reader.answered(exchange)

    def start_waiting(self) -> None:
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

    def answered_early(self) -> None:
        # Closing with unread bytes would reset the connection and take the answer with it (RFC 9112 §9.6): let the
        # client finish or notice, for a while.
        self.broken = True
        self.flush()
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

    def write(self, data: bytes) -> None:
        """Send before the turn of the event loop ends."""
        self.writes.write(self, data)

    def flush(self) -> None:
        """Send what was written now, for who will close, read how much the transport holds, or not wait."""
        if self.unsent:
            self.writes.flush()

    # bytes that are no request

    def malformed(self, *, head_too_large: bool) -> None:
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
        self.write(
            b"%b%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], error_lines(error), self.clock.date_line, len(body), body)
        )
        self.answered_early()

    # the transport

    def connection_lost(self, exc: Exception | None) -> None:
        cycle: Any = self.cycle
        if type(cycle) is Exchange:
            self.connections.discard(self)
            self.flow.resume_writing()
        else:
            super().connection_lost(exc)
        self.drop_parser()
        if self.current is not None and not self.current.response_complete:
            self._lost(self.current)
        while self.pipeline:
            waiting: Any = self.pipeline.pop()[0]
            if type(waiting) is Exchange:
                self._lost(waiting)
        self.cycle = self.current = None  # they refer back here, and cycles wait long for the collector

    def drop_parser(self) -> None:
        """No more is read as HTTP. What reads it refers back here, and cycles wait long for the collector."""
        self.parser = None  # type: ignore[assignment]
        self.reader = None  # type: ignore[assignment]
        for name in _OF_READER:
            self.__dict__.pop(name, None)

    def _lost(self, exchange: Exchange) -> None:
        exchange.on_disconnect()
        if exchange.flow is None:
            settle(exchange)  # it never started: free what it holds

    def eof_received(self) -> None:
        self.flush()  # the transport closes itself now
        super().eof_received()

    def pause_writing(self) -> None:
        super().pause_writing()
        current = self.current
        if current is None:
            return
        if current is self.cycle and current.response_complete:
            self.read_more(False)  # a client that does not read its answers gets no more of them made
        else:
            current.on_writable(False)

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
                self.start_waiting()

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
            self.flush()
            self.transport.close()
        else:
            self.cycle.keep_alive = False
