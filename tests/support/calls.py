"""Calls the upstream client as the pipeline does, and keeps what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.dataplane.upstream.connection import Connection, Headers
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.settings.model import Connections, Provider, Timeouts
from tests.support.raw_upstream import WAIT

LONG = 30.0
"""A deadline that a test never meets."""


class Call:
    """One exchange: a handler that records. ``ended`` is set at the end or the failure."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.heads = 0
        self.body = b""
        self.ends = 0
        self.error: UpstreamError | None = None
        self.ended = asyncio.Event()
        self.grew = asyncio.Event()
        self.writable: list[bool] = []

    def on_head(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers
        self.heads += 1

    def on_data(self, data: bytes) -> None:
        assert data
        assert not self.ended.is_set()
        self.body += data
        self.grew.set()

    def on_end(self) -> None:
        self.ends += 1
        self.ended.set()

    def on_fail(self, error: UpstreamError) -> None:
        assert not self.ended.is_set()
        self.error = error
        self.ended.set()

    def on_writable(self, writable: bool) -> None:
        self.writable.append(writable)

    async def done(self) -> Call:
        """Wait for the end."""
        async with asyncio.timeout(WAIT):
            await self.ended.wait()
        return self

    @property
    def reason(self) -> str:
        """Why it failed, or an empty text."""
        return "" if self.error is None else self.error.reason


def start(
    connection: Connection,
    body: bytes = b"{}",
    *,
    first: float = LONG,
    stall: float = LONG,
    total: float = LONG,
    handler: Call | None = None,
    head: bytes = b"POST /x HTTP/1.1\r\nhost: test\r\n",
    length: int | None = None,
) -> Call:
    """Send a request over a connection. ``length`` is that of the body, where only its start is sent here."""
    call = handler or Call()
    head += b"content-length: %d\r\n\r\n" % (len(body) if length is None else length)
    connection.send(call, [head + body], first, stall, asyncio.get_running_loop().time() + total)
    return call


async def acquire(pool: Pool, within: float = LONG) -> Connection:
    """A connection of the pool within some seconds."""
    return await pool.acquire(asyncio.get_running_loop().time() + within)


async def exchange(pool: Pool, body: bytes = b"{}", **deadlines: Any) -> Call:
    """One request and its answer."""
    return await start(await acquire(pool), body, **deadlines).done()


@asynccontextmanager
async def pool_of(
    base_url: str,
    *,
    resolver: Resolver | None = None,
    timeouts: Timeouts | None = None,
    limits: Connections | None = None,
    **fields: Any,
) -> AsyncIterator[Pool]:
    """A pool for the duration of the block; at its end nothing may be open, busy or waiting."""
    loop = asyncio.get_running_loop()
    provider = Provider(
        name="up", base_url=base_url, timeouts=timeouts or Timeouts(), connections=limits or Connections(), **fields
    )
    pool = Pool(provider, base_url, loop, resolver or Resolver(loop))
    try:
        yield pool
    finally:
        pool.close()
        for connection in tuple(pool.active):
            connection.abort()
    await settled(pool)
    assert pool.open_connections == 0
    assert pool.waiting == 0
    assert not pool.active


async def settled(pool: Pool) -> None:
    """Let what is scheduled happen until the pool has no connection, or patience ends."""
    async with asyncio.timeout(WAIT):
        while pool.open_connections:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.001)
