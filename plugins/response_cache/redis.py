"""The aiocache backend in Redis, by URL and with short deadlines. Needs the ``redis`` extra."""

from __future__ import annotations

from typing import Any

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError


class UrlRedisCache(RedisCache):  # type: ignore[misc]
    """The Redis at a URL. Every wait, also that for a free connection, ends after ``deadline`` seconds.

    An operation of several waits ends after four times that at the latest: the client must come to its own deadline
    first, because a cancelled one leaves its socket open.
    """

    def __init__(self, url: str, *, namespace: str, deadline: float, connections: int) -> None:
        super().__init__(serializer=NullSerializer(encoding=None), namespace=namespace, timeout=4 * deadline)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=deadline,
            socket_timeout=deadline,
            socket_connect_timeout=deadline,
            # Once: the server may have closed an idle connection. A server that is slow is not asked again.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        )
        # aiocache builds its client from a host and a port only; ours also knows users, sockets and TLS.
        self.client = Redis.from_pool(pool)

    async def _close(self, *args: Any, _conn: Any = None, **kwargs: Any) -> None:
        await self.client.aclose()
