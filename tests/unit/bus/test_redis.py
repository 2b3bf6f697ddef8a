"""Changes through a real Redis: published by any number of sidecars, heard by any number of workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.bus import connection
from gateway.bus import redis as bus
from gateway.bus.connect import policy_source
from gateway.bus.embedded import EmbeddedPolicy
from gateway.bus.redis import RedisPolicy
from gateway.contract.policy import Change
from gateway.contract.stream import STREAM
from gateway.sidecar import publish
from gateway.sidecar.feed import Feed
from gateway.sidecar.publish import Publisher
from tests.support.changes import MemoryLog
from tests.support.redis_server import RedisServer, running_redis
from tests.support.sidecar import MASTER
from tests.unit.bus.test_embedded import next_change, until


@pytest.fixture
async def redis(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """An empty Redis; everybody looks often."""
    monkeypatch.setattr(bus, "BLOCK_MS", 20)
    monkeypatch.setattr(publish, "LOOK", 0.02)
    async with Redis.from_url(server.url) as client:
        await client.flushall()
    return server


@asynccontextmanager
async def hearing(redis: RedisServer) -> AsyncIterator[tuple[RedisPolicy, AsyncIterator[Change | None]]]:
    source = RedisPolicy(redis.url, EmbeddedPolicy("unix:/nowhere", MASTER))
    async with aclosing(source.changes()) as changes:
        yield source, changes
    await source.close()


@asynccontextmanager
async def publishing(redis: RedisServer, log: MemoryLog) -> AsyncIterator[Feed]:
    async with Feed(log) as feed, Publisher(redis.url, feed):
        yield feed


async def seqs(redis: RedisServer) -> list[bytes]:
    async with Redis.from_url(redis.url) as client:
        found: Any = await client.xrange(STREAM)
    return [entry for entry, _ in found]


async def test_what_is_committed_is_heard(redis: RedisServer) -> None:
    log = MemoryLog()
    async with publishing(redis, log) as feed, hearing(redis) as (source, changes):
        assert (await next_change(changes)).kind == "everything"
        await until_published(redis, b"0-1")
        for _ in range(3):
            made = log.add("key_1", "ab" * 32)
            feed.poke()
            assert await next_change(changes) == made
        assert source.connected
    assert not source.connected


async def until_published(redis: RedisServer, entry: bytes) -> None:
    async with asyncio.timeout(30), Redis.from_url(redis.url) as client:
        found: Any = []
        while not found:
            # Waits in Redis until there is something from this entry on.
            before = f"{int(entry.split(b'-')[0])}-0" if entry.endswith(b"-1") else f"{int(entry.split(b'-')[0]) - 1}-9"
            found = await client.xread({STREAM: before}, block=1000)


async def test_several_sidecars_publish_each_change_once(redis: RedisServer) -> None:
    log = MemoryLog()
    async with publishing(redis, log) as one, publishing(redis, log) as two, hearing(redis) as (_, changes):
        assert (await next_change(changes)).kind == "everything"
        await until_published(redis, b"0-1")
        made = []
        for _ in range(200):
            made.append(log.add())
            one.poke()
            two.poke()
            await asyncio.sleep(0)
        heard: list[Change] = []
        while len(heard) < 200:
            change = await next_change(changes)
            # Both may find the stream empty at first.
            heard += [change] if change.kind != "everything" else []
        assert heard == made
        assert await seqs(redis) == [b"0-1", *(b"%d-0" % seq for seq in range(1, 201))]


async def test_what_was_not_published_before_a_crash_is_published_after_it(redis: RedisServer) -> None:
    log = MemoryLog()
    async with publishing(redis, log):
        await until_published(redis, b"0-1")
    async with hearing(redis) as (_, changes):
        await next_change(changes)
        made = [log.add(), log.add()]
        async with publishing(redis, log):
            assert [await next_change(changes), await next_change(changes)] == made


async def test_a_redis_that_lost_its_memory_loses_no_change(redis: RedisServer) -> None:
    log = MemoryLog()
    async with publishing(redis, log) as feed, hearing(redis) as (_, changes):
        await next_change(changes)
        await until_published(redis, b"0-1")
        log.add()
        feed.poke()
        while (await next_change(changes)).seq < 1:
            pass
        # Published, not read, and gone: what was in it can't be told, so everything is.
        log.add()
        feed.poke()
        await until_published(redis, b"2-0")
        async with Redis.from_url(redis.url) as client:
            await client.flushall()
        again = await next_change(changes)
        while again.seq < 2:
            again = await next_change(changes)
        assert again.kind == "everything"
        made = log.add()
        feed.poke()
        while again != made:
            again = await next_change(changes)


async def test_a_database_that_was_put_back_means_everything(redis: RedisServer) -> None:
    log = MemoryLog()
    for _ in range(5):
        log.add()
    async with publishing(redis, log) as feed, hearing(redis) as (_, changes):
        await until_published(redis, b"5-0")
        while (await next_change(changes)).seq < 5:
            pass
        del log.rows[2:]
        feed.poke()
        back = await next_change(changes)
        assert back.kind == "everything"
        while back.seq != 2:
            back = await next_change(changes)
        made = log.add()
        feed.poke()
        while back != made:
            back = await next_change(changes)


async def test_entries_that_were_cut_off_mean_everything(redis: RedisServer) -> None:
    log = MemoryLog()
    async with publishing(redis, log) as feed:
        await until_published(redis, b"0-1")
        async with hearing(redis) as (_, changes):
            await next_change(changes)
        source = RedisPolicy(redis.url, EmbeddedPolicy("unix:/nowhere", MASTER))
        source.seq = 0
        for _ in range(4):
            log.add()
        feed.poke()
        await until_published(redis, b"4-0")
        async with Redis.from_url(redis.url) as client:
            await client.xtrim(STREAM, maxlen=2, approximate=False)
        async with aclosing(source.changes()) as changes:
            first = await next_change(changes)
            assert (first.kind, first.seq) == ("everything", 3)
            assert await next_change(changes) == log.rows[3]
        await source.close()


async def test_it_outlives_a_redis_that_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "BLOCK_MS", 20)
    monkeypatch.setattr(publish, "LOOK", 0.02)
    log, told = MemoryLog(), asyncio.Queue[bool]()
    with running_redis() as redis:
        source = policy_source("unix:/nowhere", MASTER, redis.url, told.put_nowait)
        async with publishing(redis, log) as feed, aclosing(source.changes()) as changes, asyncio.timeout(30):
            await next_change(changes)
            assert await told.get() is True
            redis.stop()
            heard = asyncio.create_task(next_change(changes))
            assert await told.get() is False
            made = log.add()
            feed.poke()
            redis.start()
            change = await heard
            assert await told.get() is True
            while change != made and not (change.kind == "everything" and change.seq == made.seq):
                change = await next_change(changes)
            made = log.add()
            feed.poke()
            while change != made:
                change = await next_change(changes)
        await source.close()


async def test_without_redis_at_the_start_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "START_SECONDS", 0.0)
    with running_redis() as redis:
        redis.stop()
        log = MemoryLog()
        async with publishing(redis, log), hearing(redis) as (source, changes), asyncio.timeout(30):
            first = asyncio.create_task(next_change(changes))
            await until(lambda: source.hearing._told)
            assert not source.connected
            redis.start()
            assert (await first).kind == "everything"
            assert source.connected
