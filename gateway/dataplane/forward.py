"""Paths the data plane does not own: forwarded to the sidecar, both bodies as they come, in either direction.

Memory is bounded by the connections' buffers and ``AHEAD`` bytes of an answer whose client reads slowly. Nothing below
``/internal`` is forwarded. :attr:`Forward.gate` is asked before each request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from gateway.dataplane.endpoints.inference import BY_PATH
from gateway.dataplane.envelope import told
from gateway.dataplane.forwarded import FIRST, STALL, Forwarding
from gateway.dataplane.forwarding import (
    Asked,
    Headers,
    asked,
    is_internal,
    no_such_path,
)
from gateway.dataplane.tunnel import Tunnel
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError
from gateway.settings.model import Connections, Provider, Timeouts

if TYPE_CHECKING:
    from gateway.dataplane.app import Worker
    from gateway.dataplane.server import GatewayProtocol

_IDLE = 3.0  # seconds an unused connection is kept: less than any server keeps one


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
        self.introduction: tuple[bytes, ...] = ()
        """Header lines by which a sidecar on another machine knows that a request comes from its data plane."""
        self.tunnels: set[Tunnel] = set()
        self.expected_by = 0.0
        """Until when (loop time) requests wait for a sidecar that was never there yet; later, and once it was, they are
        refused at once while it is away."""
        self.resolver = Resolver(worker.loop)
        self.pool = _pool(address, worker.loop, self.resolver) if address else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["raw_path"] in BY_PATH:
            raise HTTPException(404)  # a path of ours, asked with another method
        request = _asked(scope)
        passage = Passage()
        exchange: Forwarding | None = None
        try:
            pool = self._pool_for(request)
            passage = await self.gate(request)
            if passage.refusal is not None:
                raise passage.refusal
            exchange = Forwarding(self.worker, pool, request, receive, send, passage.headers)
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
        """Take the connection of a client over that offers WebSocket, unless the path is ours or nobody's.

        ``rest`` is what the client has sent behind the request's head. True: the connection is the tunnel's now.
        """
        if not _offers_websocket(wire):
            return False
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


def _offers_websocket(wire: GatewayProtocol) -> bool:
    """Whether the request just parsed offers WebSocket, and no other is under way before it."""
    if wire.cycle is not None and not wire.cycle.response_complete:
        return False
    return wire._get_upgrade() == b"websocket" and wire.parser.get_method() == b"GET"


def _pool(address: str, loop: asyncio.AbstractEventLoop, resolver: Resolver) -> Pool:
    timeouts = Timeouts(connect=2.0, first_token=FIRST, stall=STALL)
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
