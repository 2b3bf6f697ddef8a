"""A worker of the data plane in front of a sidecar that a test scripts, on a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.dataplane.forward import Forward
from gateway.settings.model import Server, Settings, Telemetry
from tests.support.raw_upstream import WAIT, Peer, RawUpstream, Script, raw_upstream
from tests.support.wire import Wire, wire
from tests.support.worker import RunningWorker, running_worker

LIMIT = 20_000_000
"""Bytes a request's body may have."""
GET = b"GET /api/v1/costs HTTP/1.1\r\nhost: gw.example\r\n\r\n"
GONE = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone"


def head(path: str, *lines: bytes, method: str = "POST") -> bytes:
    """A request's head, with these lines."""
    return b"\r\n".join((f"{method} {path} HTTP/1.1".encode(), b"host: gw", *lines, b"", b""))


@asynccontextmanager
async def forwarding(directory: Path, address: str | None, *, limit: int = LIMIT) -> AsyncIterator[RunningWorker]:
    """A worker that forwards to ``address``. At its end nothing may be under way to the sidecar."""
    settings = Settings(server=Server(max_body_bytes=limit, drain=5), telemetry=Telemetry(access_log=False))
    async with running_worker(settings, directory) as gateway:
        forward = gateway.worker.forward = Forward(gateway.worker, address)
        try:
            yield gateway
        finally:
            for connection in tuple(gateway.connections):
                connection.transport.abort()
            await at_rest(forward)
            forward.close()


@asynccontextmanager
async def front(
    directory: Path, script: Script, *, limit: int = LIMIT, receive_buffer: int | None = None, tcp: bool = False
) -> AsyncIterator[tuple[RawUpstream, RunningWorker, Wire]]:
    """A sidecar with a script, a worker in front of it, and a client's connection to that."""
    async with (
        raw_upstream(script, path=None if tcp else directory / "s") as sidecar,
        forwarding(directory, sidecar.base_url, limit=limit) as gateway,
        wire(gateway.address, receive_buffer=receive_buffer) as client,
    ):
        yield sidecar, gateway, client


async def settled(count: Callable[[], int]) -> int:
    """A count, once it has begun and then stood still for a while: what is held back by a full buffer."""
    async with asyncio.timeout(WAIT):
        before = 0
        while before != count() or not before:
            before = count()
            await asyncio.sleep(0.2)
    return before


async def at_rest(forward: Forward) -> None:
    """Wait until no request and no tunnel is under way."""
    async with asyncio.timeout(WAIT):
        while forward.tunnels or (forward.pool is not None and forward.pool.active):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def echo(peer: Peer) -> None:
    """A sidecar that answers each request with its body."""
    while True:
        try:
            request = await peer.request()
        except ValueError:
            return  # given up between two chunks
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(request.body), request.body)
