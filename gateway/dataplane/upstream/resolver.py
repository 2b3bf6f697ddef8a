"""Names to addresses: cached, re-resolved, and shared by all pools of a worker."""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple

from gateway.dataplane.upstream.errors import UpstreamError

TTL = 60.0  # seconds; getaddrinfo does not tell the record's own
MAX_NAMES = 1024


class Address(NamedTuple):
    """An address to connect to."""

    family: int
    host: str
    port: int


class Resolver:
    """A bounded cache over the system resolver. A stale entry is served when a refresh fails."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._cache: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Addresses in the system's order of preference. Raises :class:`UpstreamError` ``dns``."""
        key = (host, port)
        known = self._cache.get(key)
        now = self._loop.time()
        if known is not None and now < known[0]:
            return known[1]
        try:
            infos = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # a label that is too long can't even be asked for
            if known is not None:
                return known[1]
            why = getattr(error, "strerror", None) or error
            raise UpstreamError("dns", f"The name {host!r} does not resolve: {why}.") from error
        addresses = [Address(int(family), str(sockaddr[0]), port) for family, _, _, _, sockaddr in infos]
        if len(self._cache) >= MAX_NAMES:
            self._cache.pop(next(iter(self._cache)))
        self._cache[key] = (now + TTL, addresses)
        return addresses

    def forget(self, host: str, port: int) -> None:
        """Resolve anew at the next call: none of the addresses took a connection."""
        self._cache.pop((host, port), None)
