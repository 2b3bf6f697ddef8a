"""What is used of limits that are shared through Redis, for those who lease nothing.

Import this module only where ``redis_url`` is set: it needs the ``redis`` extra and loads its library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.bus.leases import counter_key, reason_of
from gateway.contract.leases import StoreUnavailable, Window
from gateway.contract.windows import slid


class RedisUsage:
    """Reads what is used of limits. ``deadline`` is seconds for a reading."""

    def __init__(self, redis_url: str, *, deadline: float = 1.0) -> None:
        self._deadline = deadline
        self._redis: Redis = Redis.from_url(
            redis_url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=deadline, socket_connect_timeout=deadline
        )

    async def used(self, keys: Sequence[str], now: float) -> dict[str, int]:
        """What is settled of each limit (by :attr:`~gateway.contract.policy.LimitPolicy.key`) in the window that holds
        ``now``, or held of slots; 0 where nothing is known. A running process tells within a second.

        Raises :class:`StoreUnavailable`, and :class:`ValueError` for what is no key.
        """
        windows = [Window.at(key, now) for key in keys]
        try:
            async with asyncio.timeout(self._deadline), self._redis.pipeline(transaction=False) as pipe:
                for window in windows:
                    pipe.hget(counter_key(window.id), "held" if window.kind == "c" else "used")
                    pipe.hget(counter_key(window.previous_id or window.id), "used")
                answers = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(reason_of(error)) from error
        found = {}
        for place, window in enumerate(windows):
            used, before = (int(answer or 0) for answer in answers[2 * place : 2 * place + 2])
            if window.kind == "s":
                used = slid(used, before, (window.start, window.resets_at), now)
            found[window.key] = used
        return found

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
