"""The aiocache backend in memory, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from aiocache import SimpleMemoryCache
from aiocache.serializers import NullSerializer

OVERHEAD = 512
"""Bytes that an entry costs in memory beside its key and value."""


class _Sized(OrderedDict[str, bytes]):
    """Counts the bytes of what it holds, whoever puts it in or takes it out."""

    bytes_held = 0

    def __setitem__(self, key: str, value: bytes) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        self.bytes_held += size_of(key, value)

    def pop(self, key: str, default: Any = None) -> Any:
        value = super().pop(key, None)
        if value is None:
            return default
        self.bytes_held -= size_of(key, value)
        return value


def size_of(key: str, value: bytes) -> int:
    """What an entry counts against ``max_bytes``."""
    return len(key) + len(value) + OVERHEAD


class BoundedMemoryCache(SimpleMemoryCache):  # type: ignore[misc]
    """At most ``max_entries`` entries and ``max_bytes`` bytes; the least recently used go first."""

    def __init__(self, *, max_entries: int, max_bytes: int, **kwargs: Any) -> None:
        super().__init__(serializer=NullSerializer(encoding=None), timeout=None, **kwargs)
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._cache = _Sized()

    async def _get(self, key: str, encoding: str | None = None, _conn: Any = None) -> bytes | None:
        value = self._cache.get(key)
        if value is not None:
            self._cache.move_to_end(key)
        return value

    async def _set(
        self, key: str, value: bytes, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        await self._delete(key)
        size = size_of(key, value)
        if size > self.max_bytes:
            return False
        # By deleting and not by popping, so that an evicted entry's timer goes with it.
        while self._cache and (len(self._cache) >= self.max_entries or self._cache.bytes_held + size > self.max_bytes):
            await self._delete(next(iter(self._cache)))
        return bool(await super()._set(key, value, ttl=ttl))

    async def _close(self, *args: Any, _conn: Any = None, **kwargs: Any) -> None:
        for handle in self._handlers.values():
            handle.cancel()
        self._handlers.clear()
        self._cache.clear()
        self._cache.bytes_held = 0
