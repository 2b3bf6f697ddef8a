"""Changes to Redis, where data planes on several machines read them.

Nothing is remembered here: each time, what the log has beyond the end of the stream is added. So several sidecars may
publish side by side, and a Redis that lost its memory is filled again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.bus.backoff import Backoff
from gateway.contract.policy import Change
from gateway.contract.stream import FIELD, KEPT, STREAM, entry_id, entry_seq
from gateway.kernel.tasks import end
from gateway.sidecar.feed import Feed
from gateway.sidecar.log import everything, whole

LOOK = 1.0  # seconds
PAGE = 500  # entries sent at once
ANSWER_SECONDS = 3.0
_TAKEN = "equal or smaller"  # in Redis' answer to an entry that is not the newest

_log = logging.getLogger("gateway.sidecar.publish")
_encode = msgspec.json.Encoder().encode


class Publisher:
    """Keeps the stream up to date with a feed. Use it as ``async with``."""

    def __init__(self, redis_url: str, feed: Feed) -> None:
        self.feed = feed
        self._redis: Redis = Redis.from_url(
            redis_url, protocol=2, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
        )
        self._published = -1

    async def __aenter__(self) -> Publisher:
        self._publishing = asyncio.create_task(self._run(), name="publisher")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._publishing)
        await self._redis.aclose()

    async def _run(self) -> None:
        backoff = Backoff()
        failing = False
        while True:
            try:
                await self.publish()
            except Exception as error:
                # Neither a Redis nor a database that is away may end the publishing for good.
                if not failing:
                    _log.warning("changes are not published", extra={"reason": f"{type(error).__name__}: {error}"})
                failing = True
                await asyncio.sleep(backoff.next())
                continue
            failing = False
            backoff.reset()
            await self._news()

    async def _news(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK), self.feed.grown:
                await self.feed.grown.wait_for(lambda: self.feed.seq != self._published)

    async def publish(self) -> None:
        """Add what is missing at the end of the stream. Raises RedisError or what the database raises."""
        end: Any = await self._redis.xrevrange(STREAM, count=1)
        # In this order: what is in the stream was committed before.
        last = await self.feed.log.last()
        done = entry_seq(end[0][0]) if end else last + 1
        if done > last:
            # Redis has lost its memory, or the database was put back.
            await self._begin_anew(last)
            done = last
        while page := await self.feed.log.since(done, PAGE):
            await self._add(whole(done, page))
            done = page[-1].seq
        self._published = done

    async def _begin_anew(self, seq: int) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(STREAM)
            pipe.xadd(STREAM, {FIELD: _encode(everything(seq))}, id=entry_id(seq))
            await pipe.execute()

    async def _add(self, changes: Sequence[Change]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for change in changes:
                pipe.xadd(STREAM, {FIELD: _encode(change)}, id=entry_id(change.seq), maxlen=KEPT, approximate=True)
            for answer in await pipe.execute(raise_on_error=False):
                # Another sidecar was faster with the same change.
                if isinstance(answer, RedisError) and not (isinstance(answer, ResponseError) and _TAKEN in str(answer)):
                    raise answer
