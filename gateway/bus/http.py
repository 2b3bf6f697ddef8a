"""A small HTTP/1.1 client for one address, a Unix socket or TCP: what the data plane asks its sidecar with.

The libraries for it weigh more than the data plane itself. Answers are bounded, connections are kept open.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

MAX_BODY = 4_194_304  # bytes of one answer
MAX_LINE = 1_048_576  # bytes of one line of a stream
IDLE = 8  # connections kept open
_CHUNK = 65_536


class Address(NamedTuple):
    """Where to connect: ``path`` of a Unix socket, or ``host`` and ``port``. ``name`` is the Host header's value."""

    name: str
    path: str | None = None
    host: str = ""
    port: int = 0
    tls: bool = False


class Answer(NamedTuple):
    """The status and the whole body of an answer."""

    status: int
    body: bytes


class Refused(OSError):
    """The peer closed the connection without an answer, or what it sent is not HTTP."""


def parse_address(text: str) -> Address:
    """An address from ``unix:/path``, ``http://host[:port]`` or ``https://host[:port]``. Raises ValueError."""
    if text.startswith("unix:/"):
        return Address(name="sidecar", path=text.removeprefix("unix:"))
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected unix:/path, http://host:port or https://host:port")
    tls = parts.scheme == "https"
    return Address(parts.netloc.rpartition("@")[2], None, parts.hostname, parts.port or (443 if tls else 80), tls)


class _Reading:
    """Callbacks of the parser: the parts of the answer that have arrived."""

    def __init__(self) -> None:
        self.head = False
        self.status = 0
        self.complete = False
        self.keep_alive = False
        self.parser = httptools.HttpResponseParser(self)
        self.parts: deque[bytes] = deque()
        self.size = 0

    def on_headers_complete(self) -> None:
        self.head = True
        self.status = int(self.parser.get_status_code())

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)

    def on_message_complete(self) -> None:
        self.complete = True
        # To be asked now: the parser forgets it with the next message.
        self.keep_alive = self.parser.should_keep_alive()


class Connection:
    """One connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address) -> None:
        self.reader = reader
        self.writer = writer
        self.address = address
        self.reusable = False

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Write a request."""
        self.reusable = False
        self._reading = _Reading()
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.address.name}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def _more(self) -> None:
        data = await self.reader.read(_CHUNK)
        if not data:
            raise Refused("the connection was closed before the answer was complete")
        try:
            self._reading.parser.feed_data(data)
        except httptools.HttpParserError:
            raise Refused("what was answered is not HTTP") from None

    async def head(self) -> int:
        """Wait for the answer's status."""
        await self.writer.drain()
        while not self._reading.head:
            await self._more()
        return self._reading.status

    async def body(self) -> bytes:
        """Read the rest of the answer."""
        while not self._reading.complete:
            if self._reading.size > MAX_BODY:
                raise Refused("the answer is too large")
            await self._more()
        self.reusable = self._reading.keep_alive
        del self._reading.parser  # which holds the reading: a cycle would wait for the collector
        return b"".join(self._reading.parts)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines of a stream as they come, without their line feed."""
        rest = b""
        while True:
            while self._reading.parts:
                *whole, rest = (rest + self._reading.parts.popleft()).split(b"\n")
                for line in whole:
                    yield line
            if self._reading.complete:
                return
            if len(rest) > MAX_LINE:
                raise Refused("a line of the answer is too long")
            await self._more()

    def close(self) -> None:
        """Close at once."""
        self.writer.transport.abort()


class Client:
    """Requests to one address over at most ``limit`` connections, each answered within ``deadline`` seconds.

    Raises OSError for failures, TimeoutError among them.
    """

    def __init__(self, address: Address, deadline: float, limit: int = IDLE) -> None:
        self.address = address
        self.deadline = deadline
        self._idle: deque[Connection] = deque()
        self._places = asyncio.Semaphore(limit)
        self._tls: ssl.SSLContext | None = None

    async def connect(self) -> Connection:
        """A new connection, which the caller closes."""
        address = self.address
        if address.path is not None:
            streams = await asyncio.open_unix_connection(address.path)
        else:
            if address.tls and self._tls is None:
                self._tls = ssl.create_default_context()
            streams = await asyncio.open_connection(address.host, address.port, ssl=self._tls)
        return Connection(*streams, address)

    async def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request and its whole answer; waiting for a free connection counts for the deadline.

        A kept connection that the peer has closed meanwhile is replaced by a new one, so the request must be one that
        may be made twice.
        """
        async with asyncio.timeout(self.deadline), self._places:
            while self._idle:
                connection = self._idle.pop()
                if not connection.reader.at_eof():
                    with contextlib.suppress(ConnectionError, Refused):
                        return await self._exchange(connection, method, path, headers, body)
                connection.close()
            return await self._exchange(await self.connect(), method, path, headers, body)

    async def _exchange(
        self, connection: Connection, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        try:
            connection.send(method, path, headers, body)
            answer = Answer(await connection.head(), await connection.body())
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()
