"""What is used of limits, read where the data plane wrote it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.lease_usage import RedisUsage
from gateway.bus.leases import RedisLeases
from gateway.contract.leases import Window
from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission import books
from gateway.dataplane.admission.books import Books
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.emit import FileSink
from gateway.domain.usage.counters import FileCounters, _in_window, open_counters
from tests.support.redis_server import running_redis

NOW = 1_710_428_966.0  # 14 March 2024, 15:09:26 UTC
MINUTE = LimitPolicy("key", "k", "requests", 100, "minute")
SLIDING = LimitPolicy("key", "k", "requests", 100, "minute", sliding=True)
CREDIT = LimitPolicy("organization", "acme|co", "cost", 10**9, "total", source="credit")
SLOTS = LimitPolicy("key", "k", "concurrency", 5)


def write(folder: Path, *rows: tuple[LimitPolicy, float, int, int], name: str = "limits.db") -> None:
    """Write counters as the data plane lays them down."""
    with closing(sqlite3.connect(folder / name)) as database, database:
        database.executescript(books._SCHEMA)
        kept = [(policy.key, int(start), used, previous, 0) for policy, start, used, previous in rows]
        database.executemany(books._KEEP, kept)


async def used(folder: Path, policy: LimitPolicy, now: float = NOW) -> int:
    """What is used of one limit."""
    return (await FileCounters(folder).used([policy.key], now))[policy.key]


async def test_without_files_nothing_is_used(tmp_path: Path) -> None:
    assert await used(tmp_path, MINUTE) == 0
    assert await FileCounters(tmp_path / "missing").used([], NOW) == {}


async def test_a_count_holds_for_its_window_alone(tmp_path: Path) -> None:
    start, end = window_bounds("minute", NOW)
    write(tmp_path, (MINUTE, start, 42, 0), (CREDIT, 0, 7, 0))
    assert await used(tmp_path, MINUTE) == 42
    assert await used(tmp_path, MINUTE, end) == 0
    assert await used(tmp_path, MINUTE, start - 1) == 0
    assert await used(tmp_path, CREDIT, NOW + 10**9) == 7
    assert await used(tmp_path, SLOTS) == 0


async def test_a_sliding_count_fades(tmp_path: Path) -> None:
    start, end = window_bounds("minute", NOW)
    write(tmp_path, (SLIDING, start, 30, 60))
    assert await used(tmp_path, SLIDING, start) == 90
    assert await used(tmp_path, SLIDING, start + 30) == 60
    # Nobody has written since: what was this window is the one before.
    assert await used(tmp_path, SLIDING, end) == 30
    assert await used(tmp_path, SLIDING, end + 45) == 8
    assert await used(tmp_path, SLIDING, end + 60) == 0


async def test_workers_that_count_apart_are_summed(tmp_path: Path) -> None:
    start, _ = window_bounds("minute", NOW)
    write(tmp_path, (MINUTE, start, 42, 0))
    write(tmp_path, (MINUTE, start, 8, 0), name="limits-1.db")
    write(tmp_path, (MINUTE, start - 60, 1_000, 0), name="limits-2.db")
    assert await used(tmp_path, MINUTE) == 50


async def test_a_file_that_is_none_is_logged_and_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start, _ = window_bounds("minute", NOW)
    write(tmp_path, (MINUTE, start, 42, 0))
    (tmp_path / "limits-1.db").write_bytes(b"this is no database, whatever its name says")
    with caplog.at_level(logging.WARNING, "gateway.usage"):
        assert await used(tmp_path, MINUTE) == 42
    assert [record.message for record in caplog.records] == ["counters can't be read"]


async def test_many_keys_are_read_at_once(tmp_path: Path) -> None:
    start, _ = window_bounds("minute", NOW)
    policies = [LimitPolicy("key", f"k{number}", "requests", 9, "minute") for number in range(1_200)]
    write(tmp_path, *((policy, start, number, 0) for number, policy in enumerate(policies)))
    found = await FileCounters(tmp_path).used([policy.key for policy in policies], NOW)
    assert list(found.values()) == list(range(1_200))


async def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the key of a limit"):
        await FileCounters(tmp_path).used(["nonsense"], NOW)


async def test_it_reads_what_a_worker_writes(tmp_path: Path) -> None:
    log = FileSink(tmp_path / "usage", 0, asyncio.get_running_loop())
    written = Books(tmp_path / "limits.db", log)
    counters = [Counter(policy) for policy in (MINUTE, SLIDING, CREDIT)]
    for number, counter in enumerate(counters, 1):
        counter.roll(NOW)
        counter.count.used = 10 * number
        written.touched(counter)
    await written.flush()
    keys = [counter.key for counter in counters]
    # While it is open, its log not folded in, and after it was closed.
    assert list((await FileCounters(tmp_path).used(keys, NOW)).values()) == [10, 20, 30]
    written.close()
    log.close()
    assert list((await FileCounters(tmp_path).used(keys, NOW)).values()) == [10, 20, 30]


@given(
    window=st.sampled_from(["10s", "minute", "hour", "day", "week", "month"]),
    previous=st.integers(0, 10**6),
    count=st.integers(0, 10**6),
    share=st.floats(0, 0.999),
)
def test_it_tells_what_the_data_plane_goes_by(window: str, previous: int, count: int, share: float) -> None:
    policy = LimitPolicy("key", "k", "tokens", 10**7, window, sliding=True)
    start, end = window_bounds(window, NOW)
    counter = Counter(policy)
    counter.roll(start - 1)
    counter.count.used = previous
    counter.roll(start)
    counter.count.used = count
    now = start + (end - start) * share
    counter.slide(now)
    row = (policy.key, int(start), counter.count.used, counter.previous)
    from_file = _in_window(policy, row, now)
    assert counter.ceiling - counter.count.limit + counter.count.used == from_file


async def test_with_redis_it_is_read_there() -> None:
    with running_redis() as server:
        counters = open_counters(server.url, "/nowhere")
        assert isinstance(counters, RedisUsage)
        leases = RedisLeases(server.url, "node", deadline=5.0)
        try:
            await leases.charge(Window.at(CREDIT.key, NOW), 5, "charge_1")
            await leases.charge(Window.at(CREDIT.key, NOW), 5, "charge_1")
            assert await counters.used([CREDIT.key, MINUTE.key], NOW) == {CREDIT.key: 5, MINUTE.key: 0}
        finally:
            await leases.close()
            await counters.close()


def test_without_redis_it_is_read_from_files(tmp_path: Path) -> None:
    assert isinstance(open_counters(None, str(tmp_path)), FileCounters)
