"""Looking at a connection's socket without reading from it."""

from __future__ import annotations

import asyncio
import select

_LEFT: int = getattr(select, "POLLRDHUP", select.POLLHUP)  # the former is Linux's


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the peer has closed its side; for transports that are not being read, which are not told."""
    return _polls(transport, _LEFT, unknown=False)


def is_stale(transport: asyncio.Transport) -> bool:
    """Whether the peer has closed, or said something unasked, while the connection was idle."""
    return _polls(transport, select.POLLIN | select.POLLHUP | select.POLLERR, unknown=True)


def _polls(transport: asyncio.Transport, events: int, *, unknown: bool) -> bool:
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return unknown
    poller = select.poll()
    poller.register(sock.fileno(), events)
    return bool(poller.poll(0))
