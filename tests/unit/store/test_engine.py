"""The store: sessions that write in turn, sessions that read, and where the database is."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiosqlite import core
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.changes.model import PolicyChange
from gateway.kernel.errors import GatewayError, Kind
from gateway.store import engine
from gateway.store.engine import FILE, Store, address_of
from tests.support.postgres import PostgresServer, running_postgres

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def change(id: str) -> PolicyChange:
    return PolicyChange(at=NOW, kind="user", id=id)


async def test_a_write_is_read_back_with_its_instant_to_the_microsecond(store: Store) -> None:
    async with store.writing() as session:
        session.add(change("a"))
    async with store.reading() as session:
        found = (await session.scalars(select(PolicyChange))).one()
    assert (found.seq, found.id, found.at, found.at.tzinfo) == (1, "a", NOW, UTC)


async def test_an_exception_rolls_back(store: Store) -> None:
    async def fail() -> None:
        async with store.writing() as session:
            session.add(change("a"))
            await session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with store.reading() as session:
        assert (await session.scalars(select(PolicyChange))).all() == []


async def test_a_failure_tells_nothing_of_what_was_written(store: Store) -> None:
    async def fail() -> None:
        async with store.writing() as session:
            await session.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": "a digest"})

    with pytest.raises(DBAPIError) as caught:
        await fail()
    assert "nowhere" in str(caught.value)
    assert "a digest" not in str(caught.value)


async def test_readers_see_one_moment_while_others_write(store: Store) -> None:
    async with store.reading() as reader:
        assert (await reader.scalars(select(PolicyChange))).all() == []
        async with store.writing() as session:
            session.add(change("a"))
        assert (await reader.scalars(select(PolicyChange))).all() == []


async def test_who_writes_to_a_file_is_one_connection_that_keeps_its_pages(tmp_path: Path) -> None:
    store = Store.open(None, str(tmp_path))
    await store.migrate()

    async def pages(session: AsyncSession) -> int:
        return int(await session.scalar(text("PRAGMA cache_size")) or 0)

    async with store.reading() as reader:
        few = await pages(reader)
        for _ in range(2):
            async with store.writing() as session:
                session.add(change("a"))
                many = await pages(session)
                own = await session.scalar(text("SELECT count(*) FROM sqlite_temp_schema"))
                await session.execute(text("CREATE TEMP TABLE IF NOT EXISTS mine (n INTEGER)"))
    assert own == 1  # of a connection: the second transaction finds what the first has made
    assert many < few < 0  # in KiB, which are told as negative
    await store.close()


async def test_a_snapshot_reads_what_is_committed(store: Store) -> None:
    def names(connection: Connection) -> list[str]:
        return list(connection.execute(select(PolicyChange.id).order_by(PolicyChange.seq)).scalars())

    def fail(connection: Connection) -> None:
        connection.execute(text("SELECT * FROM nowhere"))

    assert await store.snapshot(names) == []
    async with store.writing() as session:
        session.add(change("a"))
        await session.flush()
        assert await store.snapshot(names) == []
    assert await store.snapshot(names) == ["a"]
    with pytest.raises(DBAPIError):
        await store.snapshot(fail)
    assert await store.snapshot(names) == ["a"]


async def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    store = Store.open(None, str(tmp_path))
    await store.migrate()
    loop = asyncio.get_running_loop()

    async def add() -> None:
        async with store.writing() as session:
            session.add(change("a"))

    def count(connection: Connection) -> int:
        return len(connection.execute(select(PolicyChange.id)).all())

    def twice(connection: Connection) -> tuple[int, int]:
        before = count(connection)
        asyncio.run_coroutine_threadsafe(add(), loop).result(10)
        return before, count(connection)

    assert await store.snapshot(twice) == (0, 0)
    assert await store.snapshot(count) == 1
    await store.close()


async def test_fifty_writers_at_once_all_succeed(store: Store) -> None:
    async def write(number: int) -> None:
        async with store.writing() as session:
            session.add(change(str(number)))

    await asyncio.gather(*(write(number) for number in range(50)))
    async with store.reading() as session:
        assert len((await session.scalars(select(PolicyChange))).all()) == 50


async def test_postgresql_readers_cannot_write(store: Store) -> None:
    if store.is_sqlite:
        async with store.reading() as session:
            assert (await session.execute(text("PRAGMA foreign_keys"))).scalar_one() == 1
            assert (await session.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
        return
    async with store.reading() as session:
        session.add(change("a"))
        with pytest.raises(DBAPIError, match="read-only"):
            await session.flush()


async def test_a_new_file_may_be_opened_while_another_process_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            try:
                return super().execute(*arguments)
            except sqlite3.OperationalError:
                refused.set()
                raise

    refused = threading.Event()
    store = Store.open(None, str(tmp_path))
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
        opening = asyncio.ensure_future(store.migrate())
        opening.add_done_callback(lambda _: refused.set())
        assert await asyncio.to_thread(refused.wait, 30)
        other.execute("COMMIT")
    await opening
    await store.close()


def test_a_file_that_is_no_database_leaves_no_thread_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to look like one" * 40)
    late, failed = threading.Event(), threading.Event()

    def slowly(message: str, what: object) -> None:
        if "executing" in message and "close_and_stop" in repr(what):
            late.wait(0.2)

    async def read() -> None:
        store = Store.open(None, str(tmp_path))
        try:
            async with store.reading() as session:
                await session.execute(text("SELECT 1"))
        finally:
            await store.close()

    monkeypatch.setattr(core.LOG, "debug", slowly)
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.set())
    for _ in range(2):
        with pytest.raises(GatewayError, match="file is not a database"):
            asyncio.run(read())
    assert not failed.wait(0.5)


async def test_a_naive_time_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="expected an aware datetime"):
        async with store.writing() as session:
            session.add(PolicyChange(at=datetime(2026, 1, 1), kind="user", id="a"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "sqlite+aiosqlite:////data/gateway.db"),
        ("sqlite:////else/where.db", "sqlite+aiosqlite:////else/where.db"),
        ("postgresql://u@h:5/d", "postgresql+asyncpg://u@h:5/d"),
        ("postgresql+psycopg2://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
    ],
)
def test_the_url_names_the_driver(url: str | None, expected: str) -> None:
    assert address_of(url, "/data").render_as_string(hide_password=False) == expected


async def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    store = Store.open(None, str(folder))
    async with store.writing() as session:
        await session.execute(text("CREATE TABLE t (a INTEGER)"))
    assert {file.stat().st_mode & 0o077 for file in folder.glob("gateway.db*")} == {0}
    await store.close()
    assert folder.stat().st_mode & 0o077 == 0


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GatewayError, match="cannot make the database in its directory") as raised:
        Store.open(None, str(tmp_path / "file" / "data"))
    assert raised.value.code == "database_unavailable"


async def test_a_server_that_is_gone_is_told_and_found_again() -> None:
    with running_postgres() as server:
        store = Store.open(server.url(), "")
        await store.migrate()
        async with store.writing() as session:
            session.add(change("before"))
        server.stop(cleanly=True)
        for opened in (store.writing, store.reading, store.writing):
            with pytest.raises(GatewayError) as raised:
                await use(opened)
            assert (raised.value.kind, raised.value.code) == (Kind.UNAVAILABLE, "database_unavailable")
        server.start()
        async with store.writing() as session:
            session.add(change("after"))
        async with store.reading() as session:
            assert len((await session.scalars(select(PolicyChange))).all()) == 2
        await store.close()


async def use(opened: Callable[[], AbstractAsyncContextManager[AsyncSession]]) -> None:
    async with opened() as session:
        await session.execute(text("SELECT 1"))


async def test_a_file_that_another_process_keeps_locked_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_TIMEOUT", 50)
    store, other = Store.open(None, str(tmp_path)), Store.open(None, str(tmp_path))
    async with other.writing() as session:
        await session.execute(text("CREATE TABLE t (a INTEGER)"))
        with pytest.raises(GatewayError) as raised:
            await use(store.writing)
        assert raised.value.code == "database_unavailable"
    await use(store.writing)
    await store.close()
    await other.close()


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "\0"])
async def test_a_lookup_by_what_is_never_stored_finds_nothing(store: Store, value: str) -> None:
    async with store.reading() as session:
        assert (await session.scalars(select(PolicyChange).where(PolicyChange.id == value))).all() == []


async def test_a_database_that_does_not_exist_is_told(postgres: PostgresServer) -> None:
    store = Store.open(postgres.url("nothing_here"), "")
    with pytest.raises(GatewayError, match='database "nothing_here" does not exist') as raised:
        await store.migrate()
    assert raised.value.code == "database_unavailable"
    await store.close()


async def test_a_file_opened_for_somebody_who_left_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, left, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow(sqlite3.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            begun.set()
            assert left.wait(30)
            super().__init__(*arguments, **options)

        def close(self) -> None:
            super().close()
            closed.set()

    store = Store.open(None, str(tmp_path))
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Slow))
    waiting = asyncio.ensure_future(store.sessions().connection())
    assert await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    left.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert closed.is_set()
    await store.close()


async def test_closing_a_connection_ends_though_it_is_stopped_and_cancelled_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, left = threading.Event(), threading.Event()

    class Slow(sqlite3.Connection):
        def close(self) -> None:
            begun.set()
            assert left.wait(30)
            super().close()

    store = Store.open(None, str(tmp_path))
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Slow))
    async with store.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        closing = asyncio.ensure_future(driver.close())
        assert await asyncio.to_thread(begun.wait, 30)
        stopped = driver.stop()
        closing.cancel()
        left.set()
        await asyncio.wait([closing], timeout=30)
        assert closing.done()
        await stopped
    await store.close()
