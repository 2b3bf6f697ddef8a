"""New entries: each once, in order, also where a transaction that began earlier commits later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.domain.ledger.ingest import parse
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.live import tail as module
from gateway.domain.live.tail import Tail
from gateway.store.engine import Store
from tests.support.postgres import PostgresServer, make_tables
from tests.unit.domain.ledger.support import PerToken, add, batch_of, enter, event


def everyone(_organization: str) -> bool:
    return True


async def seen(tail: Tail[LedgerEntry], wanted: Callable[[str], bool] = everyone) -> list[str]:
    """The ids of all that is new."""
    found: list[str] = []
    more = True
    while more:
        entries, more = await tail.next(wanted)
        found += [entry.id for entry in entries]
    return found


async def write(store: Store, *numbers: int) -> None:
    """Entries, in a transaction of their own."""
    async with store.writing() as session:
        await add(session, parse(batch_of([event(number) for number in numbers]), PerToken(), 1)[0])


async def test_what_is_entered_after_the_beginning_is_told_once_and_in_order(store: Store) -> None:
    await enter(store, event(1), event(2))
    tail = Tail(store, LedgerEntry)
    await tail.begin()
    assert await seen(tail) == []
    await write(store, 3, 4)
    await write(store, 5)
    assert await seen(tail) == ["req_3", "req_4", "req_5"]
    assert await seen(tail) == []


async def test_only_what_is_wanted_is_read_whole(store: Store) -> None:
    tail = Tail(store, LedgerEntry)
    await tail.begin()
    async with store.writing() as session:
        events = [event(n, organization="acme" if n % 2 else "other") for n in range(1, 7)]
        await add(session, parse(batch_of(events), PerToken(), 1)[0])
    assert await seen(tail, "acme".__eq__) == ["req_1", "req_3", "req_5"]
    assert await seen(tail) == []


async def test_many_come_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    monkeypatch.setattr(module, "_IDS", 2)
    tail = Tail(store, LedgerEntry)
    await tail.begin()
    await write(store, *range(10))
    entries, more = await tail.next(everyone)
    assert ([entry.id for entry in entries], more) == (["req_0", "req_1", "req_2"], True)
    assert await seen(tail) == [f"req_{n}" for n in range(3, 10)]


async def test_a_failure_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = Tail(store, LedgerEntry)
    await tail.begin()
    await write(store, 1)

    async def fail(*_: object) -> None:
        raise OSError("away")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_rows", fail)
        with pytest.raises(Exception, match="away"):
            await tail.next(everyone)
    assert await seen(tail) == ["req_1"]


async def test_a_database_that_was_put_back_is_read_on_from_its_end(store: Store) -> None:
    await write(store, 1, 2, 3)
    tail = Tail(store, LedgerEntry)
    await tail.begin()
    async with store.writing() as session:
        await session.execute(text("DELETE FROM ledger_entries WHERE number > 1"))
        if not store.is_sqlite:
            await session.execute(text("SELECT setval('ledger_entries_number_seq', 1)"))
    assert await seen(tail) == []
    await write(store, 4)
    assert await seen(tail) == ["req_4"]


@pytest.fixture
async def shared(postgres: PostgresServer, tmp_path: Path) -> Store:
    url = postgres.url(await postgres.create())
    await make_tables(url)
    return Store.open(url, str(tmp_path))


async def test_an_earlier_transaction_that_commits_later_is_told_too(shared: Store) -> None:
    early, late = asyncio.Event(), asyncio.Event()

    async def slow(first: int, ready: asyncio.Event, go: asyncio.Event) -> None:
        async with shared.writing() as session:
            await add(session, parse(batch_of([event(first), event(first + 1)]), PerToken(), 1)[0])
            ready.set()
            await go.wait()

    tail = Tail(shared, LedgerEntry)
    started = asyncio.Event()
    before = asyncio.create_task(slow(1, started, early))  # takes numbers before anyone listens
    await started.wait()
    await write(shared, 3)
    await tail.begin()
    between = asyncio.Event()
    after = asyncio.create_task(slow(4, between, late))
    await between.wait()
    await write(shared, 6)
    assert await seen(tail) == ["req_6"]
    late.set()
    await after
    assert await seen(tail) == ["req_4", "req_5"]
    early.set()
    await before
    assert await seen(tail) == ["req_1", "req_2"]
    assert await seen(tail) == []
    await shared.close()


async def test_numbers_that_nobody_will_have_are_forgotten(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.0)
    monkeypatch.setattr(module, "MOST_MISSING", 50)
    tail = Tail(shared, LedgerEntry)
    await tail.begin()
    async with shared.sessions() as session:
        await add(session, parse(batch_of([event(1), event(2)]), PerToken(), 1)[0])
        await session.rollback()
    await write(shared, 3)
    assert await seen(tail) == ["req_3"]
    assert len(tail._missing) == 2
    await seen(tail)
    assert not tail._missing
    async with shared.writing() as session:
        await session.execute(text("SELECT setval('ledger_entries_number_seq', 1000000000)"))
    await write(shared, 4)
    assert await seen(tail) == ["req_4"]
    assert len(tail._missing) <= 50
    await shared.close()
