"""Redis is turned on and off; what is in the files by then reaches the ledger once, whoever finds it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import select

from gateway.bus.usage import STREAM
from gateway.bus.usage_drain import Drain
from gateway.bus.usage_drainer import Stop, locked
from gateway.bus.usage_files import Positions, keep_positions, positions_of
from gateway.domain.ledger.model import LedgerEntry, OutboxMark
from gateway.domain.ledger.rating import NoPrices
from gateway.sidecar import leftovers
from gateway.sidecar import stream as stream_module
from gateway.sidecar.ingest import Ingester
from gateway.sidecar.leftovers import Leftovers
from gateway.sidecar.stream import Consumer
from gateway.store.engine import Store
from tests.support.redis_server import RedisServer, running_redis
from tests.unit.bus.usage_pieces import FILE, append, enter, in_stream, line


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
async def redis(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    monkeypatch.setattr(stream_module, "BLOCK_MS", 10)
    monkeypatch.setattr(leftovers, "PAUSE", 0.005)
    with Redis.from_url(server.url, protocol=2) as client:
        client.flushall()
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "usage"


async def no_prices() -> NoPrices:
    return NoPrices()


async def ids(store: Store) -> list[str]:
    async with store.reading() as session:
        return list(await session.scalars(select(LedgerEntry.id).order_by(LedgerEntry.id)))


async def until(there: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while True:
            if there():
                return
            await asyncio.sleep(0.005)


async def read_files(store: Store, folder: Path) -> Ingester:
    """Enter what the files hold, without Redis."""
    async with Ingester(store, folder, no_prices) as ingester:
        await until(lambda: ingester.state.entries + ingester.state.known and not ingester.state.lag_bytes)
    return ingester


async def forget_ids(store: Store) -> None:
    """What is entered again counts again, as long after its detail was deleted."""
    async with store.writing() as session:
        await (await session.connection()).exec_driver_sql("DELETE FROM ledger_entries")


async def test_redis_is_turned_on(store: Store, server: RedisServer, redis: Redis, folder: Path) -> None:
    append(folder, FILE, line(1), line(2))
    await read_files(store, folder)
    await forget_ids(store)
    assert positions_of(folder) == Positions("files", {FILE: (folder / FILE).stat().st_size})
    append(folder, FILE, line(3))
    async with Consumer(store, server.url, no_prices) as consumer:
        drain = Drain(folder, redis)
        await until(lambda: drain.round() or drain.is_over)
    drain.settle()
    assert await ids(store) == ["req_3"]
    assert consumer.state.known == 0
    assert positions_of(folder).by == "stream"


async def test_redis_is_turned_off(store: Store, redis: Redis, folder: Path) -> None:
    append(folder, FILE, line(1))
    drain = Drain(folder, redis)
    drain.round()
    enter(redis, [])  # into the ledger, which has deleted its detail since
    append(folder, FILE, line(2))
    drain.round()
    drain.settle()
    append(folder, FILE, line(3))
    ingester = await read_files(store, folder)
    assert await ids(store) == ["req_2", "req_3"]
    assert positions_of(folder) == Positions("files", {FILE: (folder / FILE).stat().st_size})
    async with store.reading() as session:
        marks = {mark.source: mark.position for mark in await session.scalars(select(OutboxMark))}
    assert marks == {f"{ingester._node}/{FILE}": (folder / FILE).stat().st_size}


async def test_it_is_turned_off_and_on_again(store: Store, server: RedisServer, redis: Redis, folder: Path) -> None:
    append(folder, FILE, line(1))
    drain = Drain(folder, redis)
    drain.round()
    drain.settle()
    append(folder, FILE, line(2))
    await read_files(store, folder)
    append(folder, FILE, line(3))
    again = Drain(folder, redis)
    async with Consumer(store, server.url, no_prices) as consumer:
        await until(lambda: again.round() or (again.is_over and not redis.xlen(STREAM)))
    assert await ids(store) == ["req_1", "req_2", "req_3"]
    assert consumer.state.known == 1  # what was on its way when it was turned off


async def test_positions_of_files_that_are_no_more_are_not_taken_over(store: Store, folder: Path) -> None:
    append(folder, FILE, line(1))
    keep_positions(folder, "stream", {FILE: 10_000, "usage-0-00000000.jsonl": 5})
    await read_files(store, folder)
    assert await ids(store) == ["req_1"]


async def test_what_was_left_is_sent_by_a_sidecar_that_runs_alone(
    store: Store, server: RedisServer, redis: Redis, folder: Path
) -> None:
    append(folder, FILE, line(1), line(2))
    async with Consumer(store, server.url, no_prices), Leftovers(folder, server.url):
        await until(lambda: positions_of(folder).files == {FILE: (folder / FILE).stat().st_size})
    assert await ids(store) == ["req_1", "req_2"]


async def test_nothing_is_sent_where_someone_drains(server: RedisServer, redis: Redis, folder: Path) -> None:
    append(folder, FILE, line(1))
    stop = Stop()
    async with Leftovers(folder, server.url) as given:
        with locked(folder, stop):
            for _ in range(leftovers.FREE + 2):
                assert given._are_left() is False
                given._send()
            assert in_stream(redis) == []
        await until(lambda: in_stream(redis))
    stop.close()


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


async def test_it_waits_for_redis(redis: Redis, folder: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    append(folder, FILE, line(1))
    async with Leftovers(folder, f"unix://{tmp_path}/nobody"):
        await until(lambda: len(warned(caplog)) > 2)
    assert set(warned(caplog)) == {"usage that was left is not sent now"}
