"""The connections of one provider: kept alive, capped, waited for in order, watched by one sweep."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from gateway.dataplane.sockets import is_stale
from gateway.dataplane.upstream.connection import Connection
from gateway.dataplane.upstream.dial import HttpProxy, dial
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.origin import Origin, parse_origin
from gateway.dataplane.upstream.resolver import Resolver
from gateway.dataplane.upstream.tls import client_context
from gateway.dataplane.waiting import Room, Waiter
from gateway.dataplane.writes import Writes
from gateway.settings.model import Provider

SWEEP: Final = 0.05  # seconds between looks at the deadlines: also how late one may be noticed
_IDLE_SWEEP = 1.0  # seconds between looks when no deadline is running
_CONFIRM: Final = 0.001  # seconds until one that seems late is looked at again: the least that lets sockets be read
_PEEK_AFTER: Final = 0.05  # seconds idle after which a connection is looked at before it is used again


class Pool:
    """Connections to one origin. Not thread-safe: it belongs to one event loop."""

    def __init__(self, provider: Provider, base_url: str, loop: asyncio.AbstractEventLoop, resolver: Resolver) -> None:
        self.origin: Origin = parse_origin(base_url)
        self.active: set[Connection] = set()
        self.timeouts = provider.timeouts
        self._limits = provider.connections
        self._loop = loop
        self.writes = Writes(loop)
        self._resolver = resolver
        self._proxy = HttpProxy(provider.proxy) if provider.proxy is not None else None
        self._context = client_context(provider.verify_tls, provider.ca_file) if self.origin.scheme == "https" else None
        self._idle: deque[Connection] = deque()
        self._open = 0
        self._room: Room[Connection | None] = Room(self._limits.queue, self._pass_on)
        self._sweeper: asyncio.TimerHandle | None = None
        self._late: list[Connection] = []
        self.sweeping = False  # whether the running timer is the fine one
        self.closed = False

    @property
    def request_target_prefix(self) -> str:
        """What stands before the path in a request line: the absolute form through a plain-HTTP proxy."""
        if self._proxy is not None and self._context is None:
            return self.origin.url + self.origin.prefix
        return self.origin.prefix

    @property
    def proxy_headers(self) -> bytes:
        """Header lines a plain-HTTP proxy needs with each request."""
        return self._proxy.authorization if self._proxy is not None and self._context is None else b""

    @property
    def open_connections(self) -> int:
        """Connections that are open or being opened."""
        return self._open

    @property
    def waiting(self) -> int:
        """Requests waiting for a connection."""
        return len(self._room)

    def take_idle(self) -> Connection | None:
        """The connection used last, or None. Costs no system call when it was used just now."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.alive:
                if self._loop.time() - connection.idle_since > _PEEK_AFTER and is_stale(connection.transport):
                    connection.abort()
                    continue
                return connection
        return None

    def drop_stale(self) -> None:
        """Look at every idle connection and close those the upstream has closed."""
        for connection in tuple(self._idle):
            if is_stale(connection.transport):
                connection.abort()

    async def acquire(
        self, deadline: float, patience: float | None = None, who: str = "", weight: float = 1.0
    ) -> Connection:
        """A connection, by loop time ``deadline``. Raises :class:`UpstreamError` with ``sent`` false.

        ``patience`` is in seconds: how long opening one may take, where the provider allows more. ``who`` is the
        organisation, for turns among those that wait, which it gets by its ``weight``.
        """
        connection = self.take_idle()
        if connection is not None:
            return connection
        if self._open >= self._limits.max:
            # For a released connection, or for the right to open one.
            given = (await self._room.wait(who, weight, deadline)).item.result()
            if given is not None:
                # It may have been closed between being passed on and here; its slot is free again then.
                return given if given.alive else await self.acquire(deadline, patience, who, weight)
        else:
            self._open += 1
        return await self._connect(deadline, self.timeouts.connect if patience is None else patience)

    def _pass_on(self, waiter: Waiter[Connection | None]) -> None:
        connection = waiter.item.result()
        if connection is None:
            self._freed()
        elif connection.alive:  # a closed one has freed its slot itself
            self.release(connection)

    async def _connect(self, deadline: float, patience: float) -> Connection:
        opened = False
        try:
            limit = min(deadline, self._loop.time() + patience)
            async with asyncio.timeout_at(limit):
                connection = await dial(self.origin, self._new, self._loop, self._resolver, self._context, self._proxy)
            if not connection.alive:
                raise UpstreamError("connect", f"{self.origin.url} closed the connection at once.")
            connection.pool_slot = opened = True
        except TimeoutError as error:
            raise UpstreamError(
                "connect_timeout", f"{self.origin.url} took no connection within {patience:g} seconds."
            ) from error
        finally:
            if not opened:
                self._freed()
        return connection

    def _new(self) -> Connection:
        return Connection(self, self._loop)

    def release(self, connection: Connection) -> None:
        """Take a connection back that can serve again."""
        self.active.discard(connection)
        self.keep_session(connection)
        # Nobody waits while there are fewer than allowed; that is quicker to see than whether somebody does.
        if self._open >= self._limits.max and self._room.serve(connection, self._loop.time()):
            return
        if self.closed or len(self._idle) >= self._limits.keep:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        self._watch(_IDLE_SWEEP)

    def keep_session(self, connection: Connection) -> None:
        """Keep the TLS session of a connection that has answered once, for the next one to resume."""
        if self._context is not None and connection.used == 1:
            self._context.remember(connection.transport.get_extra_info("ssl_object"), self.origin.host)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that was closed. Calling it twice is harmless."""
        self.active.discard(connection)
        if connection.pool_slot:
            connection.pool_slot = False
            if connection in self._idle:
                self._idle.remove(connection)
            self._freed()

    def _freed(self) -> None:
        """A slot is free: the next in line may open a connection with it."""
        if not self._room.serve(None, self._loop.time()):
            self._open -= 1

    def close(self) -> None:
        """Take no more connections into the pool: idle ones close now, busy ones when they are done."""
        self.closed = True
        while self._idle:
            self._idle.pop().abort()

    # the sweep

    def watch(self) -> None:
        """Make sure that deadlines are being looked at."""
        self._watch(SWEEP)

    def _watch(self, interval: float) -> None:
        if self._sweeper is not None:
            if self.sweeping or interval == _IDLE_SWEEP:
                return
            self._sweeper.cancel()
        self.sweeping = interval == SWEEP
        self._sweeper = self._loop.call_later(interval, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        # Timers come before sockets in a turn: after a pause of this process (it computed, was stopped, its machine was
        # paused) an answer that came in time lies in the kernel. So who seems late is judged once that was read.
        late, self._late = self._late, []
        for connection in late:
            if connection in self.active and connection.is_overdue(now):
                connection.expire(now)
        for connection in self.active:
            if (now >= connection.deadline or now >= connection.total_at) and connection.is_overdue(now):
                self._late.append(connection)
        oldest = now - self._limits.idle
        while self._idle and (self._idle[0].idle_since < oldest or not self._idle[0].alive):
            self._idle.popleft().abort()
        self._sweeper = None
        self.sweeping = False
        if self._late:
            self.sweeping = True
            self._sweeper = self._loop.call_later(_CONFIRM, self._sweep)
        elif self.active or len(self._room):
            self._watch(SWEEP)
        elif self._idle:
            self._watch(_IDLE_SWEEP)
