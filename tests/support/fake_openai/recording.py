"""What the provider saw: every connection and every request, readable from any thread while the server runs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds a test waits for something the provider should see before it fails."""


@dataclass(eq=False)
class Connection:
    """One TCP connection. Times are :func:`time.monotonic` seconds."""

    peer: tuple[str, int]
    opened_at: float
    closed_at: float | None = None
    closed_by_peer: bool = False
    bytes_received: int = 0
    transport: asyncio.Transport | None = field(default=None, repr=False)


@dataclass(eq=False)
class Recorded:
    """One request as it came over the wire. ``complete`` is false while (or if never) the whole body was received."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    connection: Connection
    started_at: float
    body: bytes = b""
    complete: bool = False
    chunks_sent: int = 0

    @property
    def json(self) -> Any:
        """The body parsed as JSON. Raises :class:`ValueError` where it is none."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of the header ``name`` in lower case, or None."""
        return next((value for key, value in self.headers if key == name), None)


class Recording:
    """Thread-safe log of connections and requests, oldest first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.connections: list[Connection] = []
        self.requests: list[Recorded] = []
        self._by_peer: dict[tuple[str, int], Connection] = {}

    @property
    def bytes_received(self) -> int:
        """Bytes received over all connections so far."""
        with self._changed:
            return sum(connection.bytes_received for connection in self.connections)

    def opened(self, transport: asyncio.Transport) -> Connection:
        """Record a new connection."""
        host, port = transport.get_extra_info("peername")[:2]
        connection = Connection((host, port), time.monotonic(), transport=transport)
        with self._changed:
            self.connections.append(connection)
            self._by_peer[connection.peer] = connection
            self._changed.notify_all()
        return connection

    def update(self, change: Callable[[], None]) -> None:
        """Run ``change`` under the lock and wake whoever waits for it."""
        with self._changed:
            change()
            self._changed.notify_all()

    def started(self, scope: dict[str, Any]) -> Recorded:
        """Record a request whose head has arrived."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        with self._changed:
            request = Recorded(
                scope["method"],
                scope["raw_path"].decode("latin-1"),
                scope["query_string"].decode("latin-1"),
                headers,
                self._by_peer[tuple(scope["client"])],
                time.monotonic(),
            )
            self.requests.append(request)
            self._changed.notify_all()
        return request

    def mark(self) -> int:
        """A position in the log for :meth:`since`."""
        with self._changed:
            return len(self.requests)

    def since(self, mark: int) -> list[Recorded]:
        """Requests recorded after ``mark``."""
        with self._changed:
            return self.requests[mark:]

    def wait_request(self, containing: str, timeout: float = _PATIENCE) -> Recorded:
        """The latest complete request whose body contains ``containing``. Raises ``TimeoutError``."""
        needle = containing.encode()
        searched: set[int] = set()  # bodies can be large: each is searched once

        def find() -> Recorded | None:
            for request in reversed(self.requests):
                if request.complete and id(request) not in searched:
                    if needle in request.body:
                        return request
                    searched.add(id(request))
            return None

        return self._wait(find, f"no request containing {containing!r}", timeout)

    def wait_started(self, boundary: str, timeout: float = _PATIENCE) -> Recorded:
        """The first request whose Content-Type holds ``boundary``, as soon as its head is in."""

        def find() -> Recorded | None:
            return next((r for r in self.requests if boundary in (r.header("content-type") or "")), None)

        return self._wait(find, f"no request of content type {boundary!r}", timeout)

    def wait_closed(self, request: Recorded, timeout: float = _PATIENCE) -> float:
        """When the connection of ``request`` was closed, :func:`time.monotonic` seconds. Raises ``TimeoutError``."""
        connection = request.connection
        return self._wait(lambda: connection.closed_at, f"connection {connection.peer} still open", timeout)

    def wait_all_closed(self, connections: list[Connection], timeout: float = _PATIENCE) -> None:
        """Wait until all ``connections`` are closed. Raises ``TimeoutError``."""
        self._wait(lambda: all(c.closed_at for c in connections) or None, "connections still open", timeout)

    def wait_sent(self, request: Recorded, chunks: int, timeout: float = _PATIENCE) -> None:
        """Wait until ``chunks`` events of the answer to ``request`` were written. Raises ``TimeoutError``."""
        self._wait(lambda: request.chunks_sent >= chunks or None, f"fewer than {chunks} events sent", timeout)

    def wait_quiet(self, request: Recorded, quiet: float = 0.5) -> Recorded:
        """Wait until no event of the answer to ``request`` has been written for ``quiet`` seconds."""
        with self._changed:
            while True:
                sent = request.chunks_sent
                if not self._changed.wait_for(lambda sent=sent: request.chunks_sent != sent, quiet):  # type: ignore[misc]
                    return request

    def _wait(self, probe: Callable[[], T | None], otherwise: str, timeout: float) -> T:
        found: list[T] = []

        def look() -> bool:
            value = probe()
            if value is not None:
                found.append(value)
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(look, timeout):
                raise TimeoutError(f"{otherwise} after {timeout} s")
            assert found
            return found[0]
