"""Entries are there from the moment they are put, however long the backend takes."""

from __future__ import annotations

import asyncio

from plugins.response_cache.store import Entry, Store

TTL = 60.0


class Slow:
    """A backend that writes once it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.kept: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        await self.may.wait()
        if key == "refused":
            raise ConnectionError
        self.kept[key] = value


async def test_what_is_being_written_is_found() -> None:
    backend = Slow()
    store = Store(backend, TTL)
    first, second = Entry(1.0, 200, "application/json", b"1"), Entry(2.0, 200, "application/json", b"2")
    store.put("a", first)
    assert await store.get("a") is first
    store.put("a", second)
    store.put("refused", first)
    assert (await store.get("a"), await store.get("refused"), await store.get("b")) == (second, first, None)
    assert backend.kept == {}
    backend.may.set()
    await store.settled()
    assert list(backend.kept) == ["a"]
    store._down_until = 0.0
    assert (await store.get("a"), await store.get("refused")) == (second, None)
    assert store.failures == 1
