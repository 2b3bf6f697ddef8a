"""Counters over a restart, an orderly one and a kill."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.contract.policy import LimitPolicy
from gateway.contract.usage import Tokens, UsageEvent
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission.books import Books
from gateway.dataplane.admission.limiter import CounterSet, settle
from gateway.dataplane.admission.registry import Limiter, Registry, Shared
from gateway.dataplane.emit import FileSink
from gateway.kernel.errors import GatewayError, Kind

POLICIES = (
    LimitPolicy("key", "k1", "requests", 10, "month"),
    LimitPolicy("key", "k1", "tokens", 10_000, "day", sliding=True),
    LimitPolicy("organization", "acme|co", "cost", 10**9, "total", source="credit"),
    LimitPolicy("organization", "acme|co", "requests", 10, "year", model="other"),
    LimitPolicy("key", "k1", "concurrency", 5),
)


def event(started_ns: int | None = None, credential: str = "k1") -> UsageEvent:
    started_ns = started_ns or time.time_ns()
    return UsageEvent(
        "req_1",
        "chat.completions",
        started_ns,
        None,
        started_ns,
        credential,
        "acme|co",
        "m",
        "up",
        "x",
        [],
        Tokens(prompt=30, completion=12),
        False,
        False,
        "ok",
        200,
        5_000,
        {},
    )


class Gateway:
    """What one process of the gateway holds: the log, the books and the counters of one key."""

    def __init__(self, directory: Path) -> None:
        self.sink = FileSink(directory / "usage", 0, asyncio.get_running_loop())
        self.books = Books(directory / "limits.db", self.sink)
        self.registry = Registry(self.books)
        self.shared = Shared((), self.registry)
        self.limiter = Limiter(self.registry.counters(POLICIES))
        self.set: CounterSet = self.limiter.for_model("m", self.shared)

    def serve(self) -> None:
        """One whole request."""
        grant = self.set.admit(500, 70_000, time.time())
        settle(grant, 42, 5_000)
        self.sink.append(event(), lambda: None)

    @property
    def used(self) -> list[int]:
        return [counter.count.used for counter in self.limiter.counters]

    def kill(self) -> None:
        """What a process leaves that gets no chance to tidy up: its lines are with the kernel, its memory is gone."""
        self.sink.close()
        self.books._database.close()
        self.books._folder.close()

    def stop(self) -> None:
        self.sink.close()
        self.books.close()


@pytest.fixture
async def first(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


async def test_an_orderly_stop_keeps_every_count(first: Gateway, tmp_path: Path) -> None:
    for _ in range(3):
        first.serve()
    first.set.admit(500, 70_000, time.time())  # under way, and answered to nobody
    first.stop()
    second = Gateway(tmp_path)
    assert second.used == [3, 126, 15_000, 0, 0]
    second.stop()


@pytest.mark.parametrize("flush_after", [None, 0, 1, 2, 3])
async def test_a_kill_loses_nothing_and_doubles_nothing(
    first: Gateway, tmp_path: Path, flush_after: int | None
) -> None:
    for number in range(3):
        if number == flush_after:
            await first.books.flush()
        first.serve()
    if flush_after == 3:
        await first.books.flush()
    first.kill()
    for _ in range(2):  # the second kill comes before anything was written since
        second = Gateway(tmp_path)
        assert second.used == [3, 126, 15_000, 0, 0]
        second.kill()


async def test_a_flush_while_requests_are_under_way_counts_them_once(first: Gateway, tmp_path: Path) -> None:
    grant = first.set.admit(500, 70_000, time.time())
    first.serve()
    await first.books.flush()
    settle(grant, 42, 5_000)
    first.sink.append(event(), lambda: None)
    first.kill()
    second = Gateway(tmp_path)
    assert second.used == [2, 84, 10_000, 0, 0]
    second.stop()


async def test_a_key_that_was_forgotten_meanwhile_is_remembered(first: Gateway, tmp_path: Path) -> None:
    first.serve()
    await first.books.flush()
    del first.limiter, first.set
    assert first.registry.living() == []
    again = Limiter(first.registry.counters(POLICIES))
    assert [counter.count.used for counter in again.counters] == [1, 42, 5_000, 0, 0]
    first.stop()


async def test_a_window_that_is_over_starts_at_zero(first: Gateway, tmp_path: Path) -> None:
    first.serve()
    first.stop()
    yesterday = window_bounds("day", time.time() - 86_400)[0]
    with closing(sqlite3.connect(tmp_path / "limits.db")) as database, database:
        database.execute("UPDATE counters SET window_start = 0 WHERE key LIKE '%|month|%'")
        database.execute("UPDATE counters SET window_start = ? WHERE key LIKE '%|day|%'", (int(yesterday),))
    second = Gateway(tmp_path)
    assert second.used == [0, 0, 5_000, 0, 0]
    sliding = second.limiter.counters[1]
    assert sliding.previous == 42, "yesterday still counts in a window that slides"
    second.stop()


async def test_events_of_a_window_that_has_begun_since_open_it(first: Gateway, tmp_path: Path) -> None:
    await first.books.flush()
    first.serve()
    first.kill()
    with closing(sqlite3.connect(tmp_path / "limits.db")) as database, database:
        month = window_bounds("month", time.time())[0]
        before = window_bounds("month", month - 1)[0]
        database.execute(
            "UPDATE counters SET window_start = ?, used = 9 WHERE key LIKE '%requests|month|%'", (int(before),)
        )
    second = Gateway(tmp_path)
    assert second.used[0] == 1
    second.stop()


async def test_a_full_disk_costs_no_count(
    first: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = first.books._write

    def broken(rows: object, mark: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(first.books, "_write", broken)
    first.serve()
    await first.books.flush()
    assert "limits not written yet" in caplog.text
    monkeypatch.setattr(first.books, "_write", write)
    # Somebody else's change moves the mark on.
    (other,) = first.registry.counters([LimitPolicy("key", "k2", "requests", 5, "day")])
    first.books.touched(other)
    await first.books.flush()
    first.kill()
    second = Gateway(tmp_path)
    assert second.used == [1, 42, 5_000, 0, 0]
    second.stop()


async def test_money_that_was_spent_long_ago_stays_spent(first: Gateway, tmp_path: Path) -> None:
    (long,) = first.registry.counters([LimitPolicy("key", "k1", "requests", 10, "5year")])
    first.books.touched(long)
    long.count.used = 7
    first.serve()
    first.stop()
    long_ago = time.time_ns() - 500 * 86_400 * 10**9
    with closing(sqlite3.connect(tmp_path / "limits.db")) as database, database:
        database.execute("UPDATE counters SET updated_ns = ?", (long_ago,))
        database.execute("UPDATE counters SET window_start = ? WHERE key LIKE '%|month|%'", (long_ago // 10**9,))
    second = Gateway(tmp_path)
    assert second.used[2] == 5_000, "credits are counted over a window that never ends"
    (long,) = second.registry.counters([LimitPolicy("key", "k1", "requests", 10, "5year")])
    assert long.count.used == 7
    second.stop()
    with closing(sqlite3.connect(tmp_path / "limits.db")) as database, database:
        rows = database.execute("SELECT updated_ns FROM counters WHERE key LIKE '%|month|%'").fetchall()
    assert all(updated > long_ago for (updated,) in rows), "what is over is forgotten"


async def test_a_count_that_could_not_be_read_is_read_by_the_next_who_needs_it(
    first: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.serve()
    await first.books.flush()
    del first.limiter, first.set

    def broken(keys: list[str]) -> dict[str, object]:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(first.books, "_rows", broken)
        with pytest.raises(GatewayError) as refusal:
            first.registry.counters(POLICIES)
    assert refusal.value.kind is Kind.UNAVAILABLE
    assert refusal.value.code == "limits_unavailable"
    # The refusal is still held here, and with its frames the counters that were not read.
    again = first.registry.counters(POLICIES)
    assert [counter.count.used for counter in again] == [1, 42, 5_000, 0, 0]
    first.stop()


async def test_a_new_key_is_served_while_the_disk_is_full(first: Gateway, tmp_path: Path) -> None:
    policies = [LimitPolicy("key", "k2", "requests", 5, "year")]
    pages = first.books._database.execute("PRAGMA page_count").fetchone()[0]
    first.books._database.execute(f"PRAGMA max_page_count={pages}")
    many = [LimitPolicy("key", f"x{number}", "requests", 5, "year") for number in range(500)]
    held = first.registry.counters([*many, *policies])
    first.books._database.execute(f"PRAGMA max_page_count={pages + 10_000}")
    for counter in held:
        assert counter.count.dirty, "its place is made with the next flush"
    await first.books.flush()
    first.sink.append(event(credential="k2"), lambda: None)
    first.kill()
    second = Gateway(tmp_path)
    assert [counter.count.used for counter in second.registry.counters(policies)] == [1]
    second.stop()


async def test_a_flush_that_is_cancelled_keeps_what_it_did_not_write(first: Gateway, tmp_path: Path) -> None:
    first.serve()
    free = threading.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as busy:
        loop.set_default_executor(busy)
        busy.submit(free.wait)
        flush = asyncio.create_task(first.books.flush())
        await asyncio.sleep(0)
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        free.set()
    first.stop()
    second = Gateway(tmp_path)
    assert second.used == [1, 42, 5_000, 0, 0]
    second.stop()


async def test_a_new_key_does_not_wait_for_the_disk(first: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, free = threading.Event(), threading.Event()

    def fold() -> None:
        begun.set()
        free.wait(30)

    monkeypatch.setattr(first.books, "_fold", fold)
    first.serve()
    flush = asyncio.create_task(first.books.flush())
    await asyncio.to_thread(begun.wait, 10)
    try:
        assert not first.books._lock.locked(), "whoever looks a count up would wait on the event loop"
    finally:
        free.set()
    await flush
    first.stop()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
async def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "limits.db"
    path.write_bytes(content)
    sink = FileSink(tmp_path / "usage", 0, asyncio.get_running_loop())
    with pytest.raises(OSError, match=r"limits\.db"):
        Books(path, sink)
    sink.close()


async def test_a_commit_that_fails_does_not_block_the_next(
    first: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first.serve()
    first.books._database.execute("BEGIN IMMEDIATE")  # as a COMMIT on a full disk leaves it
    await first.books.flush()
    assert not caplog.records
    first.kill()
    second = Gateway(tmp_path)
    assert second.used == [1, 42, 5_000, 0, 0]
    second.stop()


async def test_a_count_beyond_what_a_database_holds_is_kept_as_the_most(first: Gateway, tmp_path: Path) -> None:
    first.serve()
    first.limiter.counters[2].count.used = 2**70
    await first.books.flush()
    first.stop()
    second = Gateway(tmp_path)
    assert second.used == [1, 42, 2**63 - 1, 0, 0]
    second.stop()
