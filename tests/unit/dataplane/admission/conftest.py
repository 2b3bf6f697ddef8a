"""Processes that share limits, and the Redis they share them over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.redis_server import RedisServer, running_redis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
async def cluster(server: RedisServer) -> AsyncIterator[Cluster]:
    found = Cluster(server.url)
    await found.redis.flushall()
    yield found
    for process in found.processes:
        await process.kill()
    await found.redis.aclose()
