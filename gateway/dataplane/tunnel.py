"""WebSocket through the gateway: after the sidecar's 101 the two connections are one, byte for byte.

Until then the sidecar hears one request and nothing else, and what it answers other than 101 is relayed as an answer
and ends the connection: a client can't use a refused offer to speak to the sidecar past the gateway. Each side is read
only as fast as the other takes it (RFC 6455 §4, RFC 9110 §7.8).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.dataplane.envelope import told
from gateway.dataplane.forwarding import Asked, Headers, answer_headers, failure, request_head
from gateway.dataplane.upstream.connection import Connection
from gateway.dataplane.upstream.dial import dial
from gateway.dataplane.upstream.errors import Reason, UpstreamError
from gateway.dataplane.upstream.origin import Origin
from gateway.dataplane.upstream.tls import client_context
from gateway.kernel.errors import GatewayError

if TYPE_CHECKING:
    from gateway.dataplane.forward import Forward
    from gateway.dataplane.server import GatewayProtocol

_CONNECT = 2.0  # seconds
_ANSWER = 30.0  # seconds until the sidecar has agreed to an offer
_FLUSH = 10.0  # seconds a side that does not read gets for what was sent to it before the other left
_LONGEST_ANSWER = 65_536  # bytes of the head and body of a refusal
_EARLY = 65_536  # bytes a client may send before its offer is agreed to


class Tunnel:
    """One client connection taken over from the server, and one to the sidecar."""

    def __init__(self, forward: Forward, origin: Origin, request: Asked, wire: GatewayProtocol, rest: bytes) -> None:
        self.forward = forward
        self.origin = origin
        self.request = request
        self.wire = wire
        self.near = _Side(wire.loop)
        self.near.early = rest
        self.far = _Far(wire.loop)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take the connection over, and ask the sidecar."""
        wire = self.wire
        transport = wire.transport
        wire.flush()
        wire.connections.discard(wire)
        wire.drop_parser()
        self.near.connection_made(transport)
        self.near.pause_reading()
        transport.set_protocol(self.near)
        self.forward.tunnels.add(self)
        self.task = wire.loop.create_task(self._run())

    def close(self) -> None:
        """End both sides."""
        if self.task is not None:
            self.task.cancel()
        self.near.abort()
        self.far.abort()

    async def _run(self) -> None:
        extra: Headers = []
        done = None
        try:
            passage = await self.forward.gate(self.request)
            done, extra = passage.done, passage.headers
            if passage.refusal is not None:
                raise passage.refusal
            await self._open()
            status, headers, body = await self._answer()
            if status == 101:
                await self._join(headers, extra)
            else:
                self._refuse(status, answer_headers(status, headers, extra), body)
        except GatewayError as error:
            status, headers, body = told(error, self.request.owner, self.request.request_id)
            self._refuse(status, headers + [pair for pair in extra if pair[0] not in dict(headers)], body)
        finally:
            self.near.close()
            self.far.close()
            self.forward.tunnels.discard(self)
            if done is not None:
                done()

    async def _open(self) -> None:
        """Connect, and send the request with its offer. Raises :class:`GatewayError`."""
        context = client_context(True, None) if self.origin.scheme == "https" else None
        loop = self.wire.loop
        try:
            async with asyncio.timeout(_CONNECT):
                # The dialler makes anything that has the methods of a protocol.
                await dial(self.origin, self._made, loop, self.forward.resolver, context, None)
        except TimeoutError:
            error = UpstreamError("connect_timeout", "The sidecar took no connection in time.")
            raise failure(error, self.request) from None
        except UpstreamError as error:
            raise failure(error, self.request) from error
        more = (*self.forward.introduction, b"connection: Upgrade", b"upgrade: websocket")
        head = request_head(self.request, self.origin.prefix, *more)
        self.far.write(head)

    def _made(self) -> Connection:
        return cast("Connection", self.far)

    async def _answer(self) -> tuple[int, Headers, bytes]:
        try:
            async with asyncio.timeout(_ANSWER):
                return await self.far.answer
        except TimeoutError:
            error = UpstreamError("first_token_timeout", "The sidecar did not answer in time.")
            raise failure(error, self.request) from None
        except UpstreamError as error:
            raise failure(error, self.request) from error

    async def _join(self, headers: Headers, extra: Headers) -> None:
        """Agree to the client's offer and relay until either side ends."""
        ours = [(b"x-request-id", self.request.request_id.encode()), *extra]
        names = {name for name, _ in ours}
        head = [STATUS_LINE[101], *(_line(n, v) for n, v in headers if n not in names), *(_line(*p) for p in ours)]
        self.near.write(b"".join((*head, b"\r\n")))
        self.near.other, self.far.other = self.far, self.near
        for side, other in ((self.near, self.far), (self.far, self.near)):
            if side.early:
                other.write(side.early)
                side.early = b""
        self.near.update()
        self.far.update()
        await asyncio.wait((self.near.ended, self.far.ended), return_when=asyncio.FIRST_COMPLETED)

    def _refuse(self, status: int, headers: Headers, body: bytes) -> None:
        dropped = (b"content-length", b"date", b"x-request-id")
        lines = [
            STATUS_LINE[status],
            *(_line(name, value) for name, value in headers if name not in dropped),
            _line(b"x-request-id", self.request.request_id.encode()),
            self.wire.clock.date_line,
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body),
        ]
        self.near.write(b"".join((*lines, body)))


def _line(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value)


class _Side(asyncio.Protocol):
    """One end. What it reads goes to ``other``; until there is one, a bounded rest of it is kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.other: _Side | None = None
        self.early = b""
        self.ended: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self.full = False  # it takes no more for now

    def write(self, data: bytes) -> None:
        """Send; whoever writes is paused when the buffer is full."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def update(self) -> None:
        """Read this side exactly while there is someone who takes it."""
        if self.other is not None and not self.other.full:
            self.resume_reading()
        else:
            self.pause_reading()

    def pause_reading(self) -> None:
        """Leave what this side sends in the kernel."""
        transport = self.transport
        if transport is not None and not transport.is_closing() and transport.is_reading():
            transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading this side."""
        transport = self.transport
        if transport is not None and not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()

    def close(self) -> None:
        """End this side when it has taken what was sent to it, or after a while."""
        transport = self.transport
        if transport is not None and not self.ended.done():
            transport.close()
            timer = self.loop.call_later(_FLUSH, transport.abort)
            self.ended.add_done_callback(lambda _: timer.cancel())

    def abort(self) -> None:
        """End this side at once."""
        if self.transport is not None:
            self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.write(data)
            return
        self.early += data
        if len(self.early) > _EARLY:
            self.abort()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.full = True
        if self.other is not None:
            self.other.update()

    def resume_writing(self) -> None:
        self.full = False
        if self.other is not None:
            self.other.update()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Far(_Side):
    """The sidecar's end: first an HTTP answer, ``(status, headers, body)``, then bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.answer: asyncio.Future[tuple[int, Headers, bytes]] = loop.create_future()
        self.answer.add_done_callback(_seen)
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._body = b""
        self._status = 0  # the final one, once the head is there
        self._fed = 0

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            super().data_received(data)
            return
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.pause_reading()
            self.early = data[upgrade.args[0] :]
            self.answer.set_result((101, self._headers, b""))
        except httptools.HttpParserError as error:
            self._fail("protocol", f"The sidecar's answer to an upgrade is not valid HTTP/1.1: {error}.")
        else:
            if self._fed > _LONGEST_ANSWER and not self.answer.done():
                self._fail("too_large", "The sidecar's answer to an upgrade is too large.")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.answer.done():
            return
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self._headers)
        if self._status and not framed and exc is None:
            # A body without length or chunks ends with the connection (RFC 9112 §6.3).
            self.answer.set_result((self._status, self._headers, self._body))
        else:
            self._fail("reset", "The sidecar closed the connection without an answer.")

    def _fail(self, reason: Reason, message: str) -> None:
        self.answer.set_exception(UpstreamError(reason, message))

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status
        elif status != 101:
            self._headers = []  # an interim answer; the final one follows (RFC 9110 §15.2)

    def on_message_complete(self) -> None:
        if self._status and not self.answer.done():
            self.answer.set_result((self._status, self._headers, self._body))


def _seen(answer: asyncio.Future[tuple[int, Headers, bytes]]) -> None:
    # A tunnel that was given up meanwhile no longer asks how the sidecar's end went.
    if not answer.cancelled():
        answer.exception()
