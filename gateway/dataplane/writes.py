"""Writes to sockets, gathered over one turn of the event loop and made together at its end.

A write wakes whoever reads at the other end, and to wake a process that sleeps costs more than the write. Made one by
one between the requests of a turn, each finds the reader asleep again: it was quicker than the next request. Made
together, the first wakes it and the others find it awake. Redis writes its answers so, before it waits for more
(``handleClientsWithPendingWrites``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

logger = logging.getLogger("gateway.writes")

MOST: Final = 32  # writes kept at most: the first is late by no more than what as many requests take
LARGE: Final = 65_536  # bytes of a write that is not kept: it takes longer than to wake its reader


class Sender(Protocol):
    """Whose writes are kept. ``unsent`` is whether one is."""

    unsent: bool
    transport: asyncio.Transport


class Writes:
    """The writes of one turn, in their order. Not thread-safe: it belongs to one event loop.

    Who closes a transport, or writes to it directly, must :meth:`flush` first where its sender has something unsent.
    """

    __slots__ = ("_kept", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._kept: list[tuple[Sender, bytes | memoryview]] = []

    def write(self, sender: Sender, data: bytes | memoryview) -> None:
        """Write ``data`` before the turn ends."""
        kept = self._kept
        kept.append((sender, data))
        sender.unsent = True
        if len(kept) >= MOST or len(data) >= LARGE:
            self.flush()
        elif len(kept) == 1:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write everything now. What is for a transport that is closing is dropped."""
        kept = self._kept
        if not kept:
            return
        self._kept = []
        for sender, data in kept:
            sender.unsent = False
            transport = sender.transport
            if transport.is_closing():
                continue
            try:
                transport.write(data)
            except Exception:  # one connection's fault must not take the bytes of the others with it
                logger.exception("a write failed")
                transport.abort()
