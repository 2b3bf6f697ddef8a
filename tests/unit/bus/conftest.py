"""Stores of leases, and the Redis they share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.lease_nodes import Nodes
from tests.support.redis_server import RedisServer, running_redis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
async def nodes(server: RedisServer) -> AsyncIterator[Nodes]:
    found = Nodes(server.url)
    await found.redis.flushall()
    yield found
    await found.close()
