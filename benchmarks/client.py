"""The benchmark's own HTTP client: kept-alive connections whose answers are timed as the bytes arrive."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast
from urllib.parse import urlsplit

from httptools import HttpResponseParser


class Watcher(Protocol):
    """Hears of one answer."""

    def body(self, data: bytes, now: int) -> None:
        """A part of the body came at ``now``, in monotonic nanoseconds."""

    def end(self, status: int, now: int) -> None:
        """The answer is complete; ``status`` is 0 if the connection broke."""


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watcher: Watcher | None = None
        self._parser = HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, watcher: Watcher) -> None:
        """Send a whole request."""
        self._watcher = watcher
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic_ns()
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self._watcher is not None:
            self._watcher.body(body, self._now)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        watcher, self._watcher = self._watcher, None
        keep = self._parser.should_keep_alive()
        if keep:
            self._client.idle.append(self)
        else:
            self._transport.close()
        if watcher is not None:
            watcher.end(self._parser.get_status_code(), self._now)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._client.idle:
            self._client.idle.remove(self)
        if self._watcher is not None:
            self._watcher.end(0, time.monotonic_ns())

    def close(self) -> None:
        """Close it."""
        self._transport.close()


class Client:
    """Connections to one address. Use it as an asynchronous context manager."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self.idle: list[Connection] = []
        self._opened: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        for connection in self._opened:
            connection.close()

    async def open(self) -> Connection:
        """A new connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), self._host, self._port)
        self._opened.append(connection)
        return connection

    def send(self, request: bytes, watcher: Watcher) -> None:
        """Send at once on an idle connection, or on a new one as soon as that is open."""
        if self.idle:
            self.idle.pop().send(request, watcher)
            return
        task = asyncio.get_running_loop().create_task(self._send_new(request, watcher))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_new(self, request: bytes, watcher: Watcher) -> None:
        try:
            connection = await self.open()
        except OSError:
            watcher.end(0, time.monotonic_ns())
            return
        connection.send(request, watcher)


def post(url: str, headers: dict[str, str], body: bytes) -> bytes:
    """A POST request as bytes."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
