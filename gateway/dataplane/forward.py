"""Paths the data plane does not own: forwarded to the sidecar, both bodies as they come, in either direction.

Memory is bounded by the connections' buffers and ``_AHEAD`` bytes of an answer whose client reads slowly. Nothing below
``/internal`` is forwarded. :attr:`Forward.gate` is asked before each request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from gateway.dataplane.endpoints.inference import BY_PATH
from gateway.dataplane.envelope import told
from gateway.dataplane.forwarding import (
    Asked,
    Headers,
    answer_headers,
    asked,
    failure,
    is_internal,
    no_such_path,
    request_head,
)
from gateway.dataplane.tunnel import Tunnel
from gateway.dataplane.upstream.connection import Connection
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Connections, Provider, Timeouts

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.server import GatewayProtocol

_AHEAD = 262_144  # bytes of an answer kept for a client that does not read; beyond, the sidecar is not read either
_FIRST = 300.0  # seconds until the answer begins: reports and tasks take their time
_STALL = 600.0  # seconds without a byte in mid-answer; live streams say something far more often
_PATIENCE = 60.0  # seconds for the next piece of a request's body, from the client or into the sidecar
_IDLE = 3.0  # seconds an unused connection is kept: less than any server keeps one
_AGAIN = frozenset(("GET", "HEAD", "OPTIONS"))  # may be sent twice (RFC 9110 §9.2.1)


@dataclass(slots=True)
class Passage:
    """The answer of the gate. ``refusal`` is sent instead of forwarding; ``headers`` (names in lower case) are added to
    whatever is answered; ``done`` is called once, when the request is over, however it ended.
    """

    refusal: GatewayError | None = None
    headers: Headers = field(default_factory=list)
    done: Callable[[], None] = lambda: None


Gate = Callable[[Asked], Awaitable[Passage]]


async def let_pass(request: Asked) -> Passage:
    """The gate of a worker without limits."""
    return Passage()


class Forward:
    """The ASGI app of all other paths, and the taker of WebSocket offers there.

    ``address`` is ``unix:/path`` or ``http(s)://host:port[/prefix]``; None where there is no sidecar.
    """

    def __init__(self, worker: Worker, address: str | None) -> None:
        self.worker = worker
        self.gate: Gate = let_pass
        self.tunnels: set[Tunnel] = set()
        self.resolver = Resolver(worker.loop)
        self.pool = _pool(address, worker.loop, self.resolver) if address else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["raw_path"] in BY_PATH:
            raise HTTPException(404)  # a path of ours, asked with another method
        request = _asked(scope)
        passage = Passage()
        exchange: _Exchange | None = None
        try:
            pool = self._pool_for(request)
            passage = await self.gate(request)
            if passage.refusal is not None:
                raise passage.refusal
            exchange = _Exchange(self, pool, request, receive, send, passage.headers)
            await exchange.run()
        except GatewayError as error:
            if exchange is not None and exchange.started:
                return  # in mid-answer: the connection is closed, which tells the client
            await _refuse(error, request, passage.headers, send)
        finally:
            passage.done()

    def _pool_for(self, request: Asked) -> Pool:
        if self.pool is None or is_internal(request.path):
            raise no_such_path(request)
        return self.pool

    def takes(self, wire: GatewayProtocol, rest: bytes) -> bool:
        """Take an offer of WebSocket over from a client connection, unless the path is ours or nobody's.

        ``rest`` is what the client has sent behind the request's head. True: the connection is the tunnel's now.
        """
        try:
            parsed = httptools.parse_url(wire.url)
            path = unquote(parsed.path.decode("ascii"))
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            return False
        if self.pool is None or is_internal(path) or self._owns(parsed.path, path):
            return False
        target = parsed.path + (b"?" + parsed.query if parsed.query else b"")
        client = wire.client[0] if wire.client else ""
        request_id = self.worker.clock.request_id()
        request = asked("GET", path, target, wire.headers, client, wire.scheme or "http", request_id)
        Tunnel(self, self.pool.origin, request, wire, rest).start()
        return True

    def _owns(self, raw: bytes, path: str) -> bool:
        scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
        routes = self.worker.app.routes
        return raw in BY_PATH or any(r.matches(scope)[0] is not Match.NONE for r in routes)

    def close(self) -> None:
        """Let the connections to the sidecar go, tunnels too."""
        if self.pool is not None:
            self.pool.close()
        for tunnel in tuple(self.tunnels):
            tunnel.close()


def _pool(address: str, loop: asyncio.AbstractEventLoop, resolver: Resolver) -> Pool:
    timeouts = Timeouts(connect=2.0, first_token=_FIRST, stall=_STALL)
    connections = Connections(max=4096, queue=1024, idle=_IDLE, keep=64)
    provider = Provider(name="sidecar", base_url=address, timeouts=timeouts, connections=connections)
    return Pool(provider, address, loop, resolver)


def _asked(scope: Scope) -> Asked:
    query: bytes = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    client = scope["client"][0] if scope["client"] else ""
    request_id = scope["state"]["request_id"]
    return asked(scope["method"], scope["path"], target, scope["headers"], client, scope["scheme"], request_id)


async def _refuse(error: GatewayError, request: Asked, extra: Headers, send: Send) -> None:
    status, headers, body = told(error, request.owner, request.request_id)
    names = {name for name, _ in headers}
    headers += [(name, value) for name, value in extra if name not in names]
    headers.append((b"content-length", b"%d" % len(body)))
    if error.code == "request_timeout":
        headers.append((b"connection", b"close"))  # the rest of its body may come yet
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Left(Exception):
    """The client is gone."""


class _Exchange:
    """One forwarded request: a task for its body and the client's leaving, the caller's own for the answer."""

    def __init__(
        self, forward: Forward, pool: Pool, request: Asked, receive: Receive, send: Send, extra: Headers
    ) -> None:
        self.forward = forward
        self.pool = pool
        self.request = request
        self.receive = receive
        self.send = send
        self.extra = extra
        self.started = False
        self.framing: list[bytes] = []
        self.chunked = False
        for name, value in request.headers:
            if name == b"transfer-encoding":
                self.framing = [b"transfer-encoding: " + value]
                self.chunked = True
            elif name == b"content-length" and not self.chunked:
                self._check_size(int(value))
                self.framing = [b"content-length: " + value]

    def _check_size(self, size: int) -> None:
        limit = self.forward.worker.max_body_bytes
        if size > limit:
            raise GatewayError(Kind.TOO_LARGE, "request_too_large", f"The request's body is larger than {limit} bytes.")

    async def run(self) -> None:
        """Forward, and relay the answer. Raises :class:`GatewayError`.

        A kept-alive connection that was being closed just when it was used again is no failure of the sidecar: where
        that is safe, the request goes out once more.
        """
        again = False
        while True:
            answer = await self._ask()
            try:
                await self._converse(answer)
            except _Left:
                return
            except UpstreamError as error:
                if again or self.started or not self._may_repeat(answer, error):
                    raise failure(error, self.request) from error
                again = True
                self.pool.drop_stale()
            else:
                return

    def _may_repeat(self, answer: _Answer, error: UpstreamError) -> bool:
        return answer.went_stale(error) and not self.framing and self.request.method in _AGAIN

    async def _ask(self) -> _Answer:
        """Take a connection and send the head. Raises :class:`GatewayError`."""
        head = request_head(self.request, self.pool.origin.prefix, *self.framing)
        loop = self.forward.worker.loop
        try:
            connection = self.pool.take_idle() or await self.pool.acquire(loop.time() + _PATIENCE)
        except UpstreamError as error:
            raise failure(error, self.request) from error
        answer = _Answer(connection, loop)
        connection.reusable = not self.framing
        connection.send(answer, [head], math.inf if self.framing else _FIRST, _STALL, math.inf)
        return answer

    async def _converse(self, answer: _Answer) -> None:
        body = asyncio.create_task(self._send_body(answer))
        try:
            await self._relay(answer)
        finally:
            answer.give_up()
            body.cancel()
            with suppress(asyncio.CancelledError):
                await body

    async def _send_body(self, answer: _Answer) -> None:
        """Send the request's body on as it comes; then wait for the client to leave."""
        size = 0
        more = True
        try:
            while True:
                async with asyncio.timeout(_PATIENCE if more and self.framing else None):
                    message = await self.receive()
                if message["type"] == "http.disconnect":
                    answer.stop(_Left())
                    return
                if not more:
                    continue
                data = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(data)
                self._check_size(size)
                if self.framing:
                    await answer.send_body(_chunk(data, last=not more) if self.chunked else data, last=not more)
        except TimeoutError:
            late = "The rest of the request's body did not arrive in time."
            answer.stop(GatewayError(Kind.INVALID, "request_timeout", late))
        except (GatewayError, UpstreamError) as error:
            answer.stop(error)

    async def _relay(self, answer: _Answer) -> None:
        status, headers = await answer.begin()
        self.started = True
        headers = answer_headers(status, headers, self.extra)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        more = self.request.method != "HEAD"  # its answer announces a body that never comes
        while more:
            data, more = await answer.read()
            await self.send({"type": "http.response.body", "body": data, "more_body": more})
        if self.request.method == "HEAD":
            await self.send({"type": "http.response.body", "body": b""})


def _chunk(data: bytes, *, last: bool) -> bytes:
    piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return piece + b"0\r\n\r\n" if last else piece


class _Answer:
    """The sidecar's answer, from the connection's calls to a coroutine that takes it piece by piece."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._head: tuple[int, Headers] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # taken by the exchange

    async def begin(self) -> tuple[int, Headers]:
        """The final status and the headers. Raises what ended the exchange."""
        while self._head is None:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        return self._head

    async def read(self) -> tuple[bytes, bool]:
        """What has come of the body, and whether more will. Raises what ended the exchange, after all that came."""
        while not self._pieces and not self._ended:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        if isinstance(self._error, _Left):
            raise self._error
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        self._pause(False)
        return data, not self._ended

    async def send_body(self, data: bytes, *, last: bool) -> None:
        """The next piece of the request's body, once there is room. Dropped where the answer has ended.

        Raises :class:`UpstreamError` where no room comes.
        """
        connection = self._connection
        try:
            async with asyncio.timeout(None if self._room.is_set() else _PATIENCE):
                await self._room.wait()
        except TimeoutError as error:
            raise UpstreamError("stall_timeout", "The request's body is not being read.", sent=True) from error
        if connection.handler is not self:
            return
        connection.transport.write(data)
        if last:
            connection.reusable = True
            if self._head is None:
                connection.deadline = self._loop.time() + _FIRST

    def went_stale(self, error: UpstreamError) -> bool:
        """Whether a connection that had served before was closed without a byte of this answer."""
        return error.reason == "reset" and self._connection.used > 1 and not self._connection.received

    def stop(self, error: Exception) -> None:
        """End the exchange from this side; the answer's reader gets ``error``."""
        self.give_up()
        self._over(error)

    def give_up(self) -> None:
        """Close the connection where the exchange is not over."""
        if self._connection.handler is self:
            self._connection.abort()

    def _over(self, error: Exception) -> None:
        if not self._ended and self._error is None:
            self._error = error
        self._room.set()
        self._news.set()

    def _pause(self, wanted: bool) -> None:
        """Stop reading the sidecar's answer, or go on."""
        connection = self._connection
        if wanted == self._paused or connection.transport.is_closing():
            return
        self._paused = wanted
        if wanted:
            connection.transport.pause_reading()
            connection.deadline = math.inf
        else:
            connection.transport.resume_reading()
            connection.last_data = self._loop.time()
            connection.deadline = 0.0

    # gateway.dataplane.upstream.connection.Handler

    def on_head(self, status: int, headers: Headers) -> None:
        self._head = (status, headers)
        # From here on silence counts from the last byte: a live stream may say nothing for long.
        self._connection.deadline_reason = "stall_timeout"
        self._connection.deadline = 0.0
        self._news.set()

    def on_data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held > _AHEAD:
            self._pause(True)
        self._news.set()

    def on_end(self) -> None:
        self._ended = True
        if self._paused and not self._connection.transport.is_closing():
            self._connection.transport.resume_reading()  # it is the next request's now
        self._paused = False
        self._room.set()
        self._news.set()

    def on_fail(self, error: UpstreamError) -> None:
        self._over(error)

    def on_writable(self, writable: bool) -> None:
        if writable:
            self._room.set()
        else:
            self._room.clear()
