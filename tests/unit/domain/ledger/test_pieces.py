"""Batches in any order and more than once, from several writers at once: each event is entered once, with its sums."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import pieces as module
from gateway.domain.ledger.ingest import Batch, Ingested, Line, add_new, marks, parse
from gateway.domain.ledger.model import LedgerEntry, PoisonEntry
from gateway.domain.ledger.pieces import advance, enter
from gateway.store.engine import Store
from tests.unit.domain.ledger.support import SOURCE, PerToken, batch_of, entries, event, sums_of


@pytest.fixture
async def other(database: str, store: Store) -> AsyncIterator[Store]:
    """The same database, as another sidecar has it."""
    opened = Store.open(database, "")
    yield opened
    await opened.close()


def rows_of(*numbers: int) -> list[dict[str, Any]]:
    return parse(batch_of([event(n) for n in numbers]), PerToken(), time.time_ns())[0]


async def until_someone_waits(store: Store) -> None:
    """Until a transaction of PostgreSQL waits for another; SQLite lets one in at a time anyway."""
    if store.is_sqlite:
        return
    async with asyncio.timeout(40):
        while True:
            async with store.reading() as session:
                if await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                    return


async def poisoned(store: Store) -> list[PoisonEntry]:
    async with store.reading() as session:
        return list(await session.scalars(select(PoisonEntry).order_by(PoisonEntry.position)))


async def test_order_and_number_of_times_do_not_matter(store: Store) -> None:
    first = batch_of([event(n) for n in range(4)])
    second = batch_of([event(n) for n in range(4, 8)], begin=first.end)
    assert await enter(store, [second], PerToken()) == Ingested(entries=4)
    assert await enter(store, [first, second], PerToken()) == Ingested(entries=4, known=4)
    assert await enter(store, [first], PerToken()) == Ingested(known=4)
    assert len(await entries(store)) == 8
    for table in ("usage_hours", "usage_days"):
        sums = await sums_of(store, table)
        assert (sums["requests"], sums["cost_nanos"]) == (8, 8 * 158)


async def test_a_line_that_is_set_aside_is_so_once(store: Store) -> None:
    batch = batch_of([event(1), b"{", event(2, status=2**70), event(3)])
    assert await enter(store, [batch, batch_of([event(4)], source="other/x")], PerToken()) == Ingested(3, 0, 2)
    assert (await enter(store, [batch], PerToken())).entries == 0
    first, second = await poisoned(store)
    assert (first.source, first.position) == (SOURCE, batch.lines[1].position)
    assert '"req_2"' in second.line
    assert "the database refuses it" in second.reason
    assert [entry.id for entry in await entries(store)] == ["req_1", "req_3", "req_4"]


async def test_an_event_that_another_enters_meanwhile_is_known(store: Store, other: Store) -> None:
    async with other.writing() as session:
        await add_new(session, rows_of(1, 2))
        entering = asyncio.create_task(enter(store, [batch_of([event(n) for n in (3, 2, 1)])], PerToken()))
        await until_someone_waits(other)
    assert await entering == Ingested(entries=1, known=2)
    assert (await sums_of(store, "usage_hours"))["requests"] == 3
    assert (await sums_of(store, "usage_days"))["requests"] == 3


async def patient(session: AsyncSession, seconds: int) -> None:
    """Have a transaction of PostgreSQL look only after so long whether it waits for one that waits for it."""
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(f"SET LOCAL deadlock_timeout = '{seconds}s'")


async def test_of_two_that_wait_for_each_other_both_enter(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def counted(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> int:
        nonlocal tries
        tries += 1
        await patient(session, 3)
        return await add_new(session, rows)

    monkeypatch.setattr(module, "add_new", counted)
    async with other.writing() as session:
        await patient(session, 60)
        await add_new(session, rows_of(2))
        entering = asyncio.create_task(enter(store, [batch_of([event(2), event(1)])], PerToken()))
        await until_someone_waits(other)
        await add_new(session, rows_of(1))  # PostgreSQL ends the other one, which looks first
    assert await entering == Ingested(known=2)
    assert tries == 1 if store.is_sqlite else tries >= 2
    assert (await sums_of(store, "usage_hours"))["requests"] == 2


async def test_many_writers_at_once(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(4)
    batches = [
        batch_of([event(n) for n in chance.sample(range(60), 40)], source=f"node_{number}/x") for number in range(8)
    ]
    stores = (store, other)
    tried: list[Exception] = []
    whole = module._enter

    async def counted(*given: Any) -> Ingested:
        try:
            return await whole(*given)
        except Exception as error:
            tried.append(error)
            raise

    monkeypatch.setattr(module, "_enter", counted)
    done = await asyncio.gather(
        *(enter(stores[at % 2], [batch], PerToken()) for at, batch in enumerate([*batches, *batches]))
    )
    every = {line.text for batch in batches for line in batch.lines}
    assert sum(each.entries for each in done) == len(every)
    assert sum(each.poison for each in done) == 0
    assert sum(each.known for each in done) == 16 * 40 - len(every)
    sums = await sums_of(store, "usage_hours")
    assert (sums["requests"], sums["cost_nanos"]) == (len(every), len(every) * 158)
    assert await sums_of(store, "usage_days") == sums
    assert {type(error) for error in tried} <= {IntegrityError}  # none waited for one that waited for it


async def test_what_is_about_the_database_sets_nothing_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Exception):
        sqlstate = "53100"  # disk full

    async def fail(_session: AsyncSession, _rows: object) -> None:
        raise DBAPIError("INSERT", {}, Full("no space left"))

    monkeypatch.setattr(module, "add_new", fail)
    with pytest.raises(DBAPIError):
        await enter(store, [batch_of([event(1), event(2)])], PerToken())
    async with store.reading() as session:
        for table in (LedgerEntry, PoisonEntry):
            assert await session.scalar(select(func.count()).select_from(table)) == 0


async def test_a_fault_told_beforehand(store: Store) -> None:
    batch = Batch(SOURCE, 0, 9, [Line(0, b"x" * 8, "the file ends within the line")])
    assert await enter(store, [batch], PerToken()) == Ingested(poison=1)
    assert (await poisoned(store))[0].reason == "the file ends within the line"


async def test_marks_only_go_forward(store: Store) -> None:
    await advance(store, {"node/a": 10, "node/b": 20})
    await advance(store, {"node/a": 5, "node/b": 30})
    assert await marks(store, "node/") == {"node/a": 10, "node/b": 30}
