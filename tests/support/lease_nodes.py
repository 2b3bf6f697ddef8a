"""Stores of leases of several processes over a real Redis, with a clock of our own."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from gateway.bus.leases import RedisLeases, counter_key
from gateway.contract.leases import Call, Claim, Got, Want, Window
from gateway.contract.policy import LimitPolicy

NOW = 1_700_000_040
KEY = LimitPolicy("key", "k1", "requests", 100, "minute").key
MINUTE = Window(KEY, NOW - NOW % 60, NOW - NOW % 60 + 60)
TOTAL = Window(LimitPolicy("organization", "acme", "cost", 1, "total", source="credit").key)
SLOTS = Window(LimitPolicy("key", "k1", "concurrency", 1).key, kind="c")
SLIDES = LimitPolicy("key", "k1", "tokens", 100, "minute", sliding=True)


class Nodes:
    """Stores of several processes, and the clock they share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now_ms = NOW * 1000
        self.redis: Redis = Redis.from_url(url, decode_responses=True)
        self._stores: list[RedisLeases] = []

    def node(self, name: str, **options: Any) -> RedisLeases:
        """A process of its own."""
        store = RedisLeases(self.url, name, clock=lambda: self.now_ms, **{"deadline": 10.0, **options})
        self._stores.append(store)
        return store

    async def row(self, window: Window) -> dict[str, str]:
        """What is kept of a counter."""
        row: Any = await self.redis.hgetall(counter_key(window.id))
        return dict(row)

    async def close(self) -> None:
        """Close every connection."""
        for store in self._stores:
            await store.close()
        await self.redis.aclose()


def claim(window: Window, granted: int = 0, spent: int = 0, held: int = 0, **flags: Any) -> Claim:
    resets = window.resets_at * 1000
    length = resets - window.start * 1000 if resets else 0
    return Claim(window.id, window.kind, resets, length, window.previous_id, granted, spent, held, **flags)


async def ask(store: RedisLeases, window: Window, amount: int, ceiling: int, mine: int = 0, spent: int = 0) -> Got:
    """Want ``amount`` of one counter, exactly."""
    reply = await store.exchange(Call([claim(window, mine, spent)], [[Want(1, ceiling, amount, amount)]]))
    return reply.verdicts[0].wants[0]
