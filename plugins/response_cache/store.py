"""Entries in a cache that may be slow or gone: reading never fails, writing never keeps an answer waiting."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from gateway.contract.usage import Tokens

logger = logging.getLogger("gateway.plugin")

MAX_PENDING = 256
"""Writes under way at once; further answers are not stored."""

COOLDOWN = 5.0
"""Seconds for which a backend that failed is left alone, so that it does not slow down every request."""

LOG_EVERY = 60.0


class Entry(Struct, array_like=True, frozen=True):
    """A stored answer: ``events`` of a stream, else ``body``. ``stored`` is in Unix seconds.

    ``tokens`` are those of a stream, whose events may not tell them.
    """

    stored: float
    status: int
    content_type: str
    body: bytes = b""
    events: list[bytes] | None = None
    tokens: Tokens | None = None


class Store:
    """Entries over an aiocache. ``failures`` counts what the backend refused."""

    def __init__(self, cache: Any, ttl: float) -> None:
        self._cache = cache
        self._ttl = ttl
        self._pending: set[asyncio.Task[None]] = set()
        self._writing: dict[str, Entry] = {}
        self._down_until = 0.0
        self._next_log = 0.0
        self.failures = 0

    async def get(self, key: str) -> Entry | None:
        """The entry of a key; None where there is none, or the backend does not answer."""
        if time.monotonic() < self._down_until:
            return None
        # Who has just been answered may ask again before it is written.
        written = self._writing.get(key)
        if written is not None:
            return written
        try:
            data = await self._cache.get(key)
            return None if data is None else msgspec.msgpack.decode(data, type=Entry)
        except msgspec.DecodeError:
            return None  # written by another version
        except Exception as error:
            self._failed(error)
            return None

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry in the background."""
        if len(self._pending) < MAX_PENDING and time.monotonic() >= self._down_until:
            self._writing[key] = entry
            task = asyncio.get_running_loop().create_task(self._put(key, entry))
            self._pending.add(task)
            task.add_done_callback(partial(self._written, key, entry))

    async def settled(self) -> None:
        """Wait until everything that was put is stored."""
        while self._pending:
            await asyncio.wait(self._pending)

    async def close(self) -> None:
        """Finish the writes under way and let go of the backend."""
        await self.settled()
        await self._cache.close()

    async def _put(self, key: str, entry: Entry) -> None:
        try:
            await self._cache.set(key, msgspec.msgpack.encode(entry), ttl=self._ttl)
        except Exception as error:
            self._failed(error)

    def _written(self, key: str, entry: Entry, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if self._writing.get(key) is entry:
            del self._writing[key]

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        self.failures += 1
        self._down_until = now + COOLDOWN
        if now >= self._next_log:
            self._next_log = now + LOG_EVERY
            # The message of a connection error may quote the URL with its password.
            logger.warning("response_cache: the cache does not answer (%s); going on without", type(error).__name__)
