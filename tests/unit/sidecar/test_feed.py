"""The feed: nothing is missed, nothing is told twice, and nobody who lags holds up the others or the memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.policy import Change
from gateway.sidecar import feed as feeds
from gateway.sidecar.feed import Feed, TooManySubscribers
from tests.support.changes import MemoryLog

Told = AsyncGenerator[int | Change | None, None]


async def take(told: Told, count: int) -> list[int]:
    """The numbers of the next ``count`` changes; 0 is everything."""
    found: list[int] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            item = await anext(told)
            if isinstance(item, Change):
                found.append(item.seq if item.kind != "everything" else 0)
    return found


async def test_a_subscriber_hears_what_is_committed_from_then_on() -> None:
    log = MemoryLog()
    log.add()
    async with Feed(log) as feed, aclosing(feed.subscribe(None)) as told:
        assert await anext(told) == 1
        log.add()
        feed.poke()
        assert await take(told, 1) == [2]


async def test_what_another_process_commits_is_seen_without_a_poke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOOK", 0.01)
    log = MemoryLog()
    async with Feed(log) as feed, aclosing(feed.subscribe(None)) as told:
        await anext(told)
        log.add()
        assert await take(told, 1) == [1]


async def test_what_was_missed_comes_first() -> None:
    log = MemoryLog()
    for _ in range(5):
        log.add()
    async with Feed(log) as feed, aclosing(feed.subscribe(2)) as told:
        assert await anext(told) == 5
        log.add()
        feed.poke()
        assert await take(told, 4) == [3, 4, 5, 6]


@pytest.mark.parametrize("after", [1, 9])
async def test_a_gap_means_everything(after: int) -> None:
    log = MemoryLog()
    for _ in range(5):
        log.add()
    async with Feed(log) as feed:
        del log.rows[:3]  # 4 and 5 are kept: who has heard 3 misses nothing, who has heard 1 does
        async with aclosing(feed.subscribe(after)) as told:
            assert await anext(told) == 5
            assert await take(told, 1) == [0]
        async with aclosing(feed.subscribe(3)) as told:
            await anext(told)
            assert await take(told, 2) == [4, 5]


async def test_a_database_that_was_put_back_means_everything() -> None:
    log = MemoryLog()
    for _ in range(5):
        log.add()
    async with Feed(log) as feed, aclosing(feed.subscribe(5)) as told:
        await anext(told)
        del log.rows[2:]
        feed.poke()
        assert await take(told, 1) == [0]
        assert feed.seq == 2
        log.add()
        feed.poke()
        assert await take(told, 1) == [3]


async def test_one_that_lags_is_told_everything_and_its_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "QUEUE", 10)
    log = MemoryLog()
    async with Feed(log) as feed, aclosing(feed.subscribe(None)) as slow, aclosing(feed.subscribe(None)) as quick:
        await anext(slow)
        await anext(quick)
        for seq in range(1, 51):
            log.add()
            feed.poke()
            assert await take(quick, 1) == [seq]
        assert all(len(item.queue) <= 10 for item in feed._subscribers)
        assert await take(slow, 1) == [0]
        log.add()
        feed.poke()
        assert await take(slow, 1) == [51]


async def test_a_quiet_feed_is_told_to_be_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "HEARTBEAT", 0.01)
    async with Feed(MemoryLog()) as feed, aclosing(feed.subscribe(None)) as told:
        assert await anext(told) == 0
        assert await anext(told) is None
        assert await anext(told) is None


async def test_it_outlives_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feeds, "LOOK", 0.01)
    monkeypatch.setattr(feeds, "HEARTBEAT", 0.01)
    log = MemoryLog()
    async with Feed(log) as feed, aclosing(feed.subscribe(None)) as told:
        await anext(told)
        log.broken = True
        async with asyncio.timeout(30):
            while not caplog.records:
                assert await anext(told) is None
        log.add()
        log.broken = False
        assert await take(told, 1) == [1]
    assert [record.message for record in caplog.records] == ["the change log cannot be read"]


async def test_closing_ends_every_stream() -> None:
    async with Feed(MemoryLog()) as feed:
        told = feed.subscribe(None)
        await anext(told)
        rest = asyncio.create_task(_rest(told))
        await asyncio.sleep(0)
        feed.close()
        async with asyncio.timeout(30):
            assert [item for item in await rest if item is not None] == []
        assert feed.subscribers == 0


async def _rest(told: Told) -> list[int | Change | None]:
    return [item async for item in told]


async def test_there_are_only_so_many_subscribers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "SUBSCRIBERS", 1)
    async with (
        Feed(MemoryLog()) as feed,
        aclosing(feed.subscribe(None)) as first,
        aclosing(feed.subscribe(None)) as two,
    ):
        await anext(first)
        with pytest.raises(TooManySubscribers):
            await anext(two)


async def test_old_changes_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "KEPT", 3)
    monkeypatch.setattr(feeds, "PRUNE_EVERY", 4)
    log = MemoryLog()
    for _ in range(9):
        log.add()
    async with Feed(log) as feed, aclosing(feed.subscribe(None)) as told:
        assert [row.seq for row in log.rows] == [7, 8, 9]
        await anext(told)
        for seq in range(10, 14):
            log.add()
            feed.poke()
            assert await take(told, 1) == [seq]
        async with feed.grown:
            await asyncio.wait_for(feed.grown.wait_for(lambda: len(log.rows) == 3), 30)


@given(
    steps=st.lists(st.sampled_from(["change", "look", "read", "leave", "forget"]), max_size=60),
    bound=st.integers(1, 4),
)
def test_whoever_stays_or_comes_back_knows_all(steps: list[str], bound: int) -> None:
    """A listener that keeps the number of the last change it heard never misses one, however it comes and goes."""

    async def run() -> None:
        log, heard = MemoryLog(), 0
        async with Feed(log) as feed:
            told: Told | None = None

            async def read() -> None:
                nonlocal told, heard
                if told is None:
                    told = feed.subscribe(heard)
                    await anext(told)
                item = await anext(told)
                if isinstance(item, Change):
                    # The next one, or one that says that some may be missing.
                    assert item.seq == heard + 1 or item.kind == "everything"
                    heard = item.seq

            for step in steps:
                if step == "change":
                    log.add()
                elif step == "look":
                    await feed._look()
                elif step == "read":
                    await read()
                elif step == "leave" and told is not None:
                    await told.aclose()
                    told = None
                elif step == "forget":
                    await log.prune(bound)
            await feed._look()
            async with asyncio.timeout(30):
                while heard != feed.seq:
                    await read()
            assert heard == await log.last()
            if told is not None:
                await told.aclose()

    before = (feeds.QUEUE, feeds.HEARTBEAT, feeds.LOOK)
    feeds.QUEUE, feeds.HEARTBEAT, feeds.LOOK = bound, 0.0, 60.0
    try:
        asyncio.run(run())
    finally:
        feeds.QUEUE, feeds.HEARTBEAT, feeds.LOOK = before
