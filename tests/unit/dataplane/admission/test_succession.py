"""Counts that go from one worker to the next while both live, also where one of them is killed on the way."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.contract.policy import LimitPolicy
from gateway.contract.usage import Tokens
from gateway.dataplane.admission.books import Books
from gateway.dataplane.admission.limiter import CounterSet, Grant, settle
from gateway.dataplane.admission.registry import Limiter, Registry, Shared
from gateway.dataplane.emit import FileSink
from tests.support.plugins import usage_event

POLICIES = (
    LimitPolicy("key", "k1", "requests", 100, "month"),
    LimitPolicy("key", "k1", "tokens", 100_000, "day", sliding=True),
    LimitPolicy("key", "k1", "cost", 10**9, "total", source="credit"),
    LimitPolicy("key", "k1", "concurrency", 5),
)
RUN = "1-a"
NOBODY = 2**22 + 1  # above the largest process id


class Worker:
    """What one process holds of a key, with the usage log of ``slot``."""

    def __init__(self, directory: Path, slot: int, *, keeps: bool = True) -> None:
        self.directory = directory
        self.slot = slot
        self.sink = FileSink(directory / "usage", slot, asyncio.get_running_loop())
        self.books = Books(directory / "limits.db", self.sink, slot=slot, run=RUN)
        self.registry = Registry(self.books)
        self.books.registry = self.registry
        self.shared = Shared((), self.registry)
        if keeps:
            self.learn()

    def learn(self) -> None:
        """Be asked by the key for the first time."""
        self.limiter = Limiter(self.registry.counters(POLICIES))
        self.set: CounterSet = self.limiter.for_model("m", self.shared)

    def begin(self) -> Grant:
        return self.set.admit(500, 70_000, time.time())

    def end(self, grant: Grant) -> None:
        settle(grant, 42, 5_000)
        now = time.time_ns()
        tokens = Tokens(prompt=30, completion=12)
        self.sink.append(usage_event(credential="k1", tokens=tokens, cost_nanos=5_000, started_ns=now), lambda: None)

    def serve(self) -> None:
        self.end(self.begin())

    @property
    def used(self) -> list[int]:
        return [counter.count.used for counter in self.limiter.counters]

    @property
    def reserved(self) -> list[int]:
        return [counter.count.reserved for counter in self.limiter.counters]

    def stop(self) -> None:
        self.sink.close()
        self.books.close()

    def kill(self) -> None:
        """Leave what a process leaves that gets no chance to tidy up."""
        self.sink.close()
        self.books._database.close()
        self.books._folder.close()
        with closing(sqlite3.connect(self.directory / "limits.db")) as database, database:
            database.execute("UPDATE owners SET pid = ? WHERE slot = ?", (NOBODY, self.slot))


def never() -> bool:
    return False


async def until_over(worker: Worker) -> None:
    """As its upkeep does it."""
    for slot in worker.books._succession.over():
        await worker.books._absorb(slot)


@pytest.mark.parametrize("killed", [False, True], ids=["ends", "killed"])
@pytest.mark.parametrize("late", [False, True], ids=["known", "learnt later"])
async def test_what_runs_is_held_and_then_counted(tmp_path: Path, killed: bool, late: bool) -> None:
    old = Worker(tmp_path, 0)
    for _ in range(3):
        old.serve()
    running = old.begin()
    new = Worker(tmp_path, 2, keeps=not late)
    taking = asyncio.create_task(new.books.succeed(0, never))
    await asyncio.sleep(0)
    assert not taking.done(), "the old one still counts"
    old.books.release()
    async with asyncio.timeout(30):
        await taking
    if late:
        new.learn()
    assert new.used == [3, 126, 15_000, 0]
    assert new.reserved == [1, 500, 70_000, 1]
    new.serve()
    old.end(running)
    old.serve()  # it came over a connection that was open
    await until_over(new)
    assert new.used == [4, 168, 20_000, 0], "the old one lives"
    old.kill() if killed else old.stop()
    await until_over(new)
    assert new.used == [6, 252, 30_000, 0]
    assert new.reserved == [0, 0, 0, 0]
    new.stop()
    third = Worker(tmp_path, 0)
    assert third.used == [6, 252, 30_000, 0]
    third.stop()


async def test_one_that_is_killed_before_it_hands_over(tmp_path: Path) -> None:
    old = Worker(tmp_path, 0)
    old.serve()
    await old.books.flush()
    old.serve()
    new = Worker(tmp_path, 1)
    old.kill()
    async with asyncio.timeout(30):
        await new.books.succeed(0, never)
    assert new.used == [2, 84, 10_000, 0]
    new.stop()


async def test_the_new_one_is_killed_while_the_old_one_ends(tmp_path: Path) -> None:
    old = Worker(tmp_path, 0)
    running = old.begin()
    new = Worker(tmp_path, 1)
    old.books.release()
    async with asyncio.timeout(30):
        await new.books.succeed(0, never)
    new.serve()
    await new.books.flush()
    new.serve()
    new.kill()
    again = Worker(tmp_path, 1)
    async with asyncio.timeout(30):
        await again.books.succeed(0, never)
    assert again.used == [2, 84, 10_000, 0]
    assert again.reserved == [1, 500, 70_000, 1]
    old.end(running)
    old.stop()
    await until_over(again)
    assert again.used == [3, 126, 15_000, 0]
    assert again.reserved == [0, 0, 0, 0]
    again.stop()


async def test_a_new_one_that_was_given_up_leaves_nothing(tmp_path: Path) -> None:
    old = Worker(tmp_path, 0)
    old.serve()
    Worker(tmp_path, 1).kill()
    old.serve()
    old.stop()
    after = Worker(tmp_path, 0)
    assert after.used == [2, 84, 10_000, 0]
    after.stop()


async def test_both_are_killed_and_others_come(tmp_path: Path) -> None:
    """The logs of all are counted, each from its own mark on."""
    old = Worker(tmp_path, 0)
    running = old.begin()
    new = Worker(tmp_path, 1)
    old.books.release()
    async with asyncio.timeout(30):
        await new.books.succeed(0, never)
    new.serve()
    old.end(running)
    old.kill()
    new.kill()
    with closing(sqlite3.connect(tmp_path / "limits.db")) as database, database:
        assert {name for (name,) in database.execute("SELECT name FROM marks")} == {"usage-0", "usage-1"}
    after = Worker(tmp_path, 0)
    assert after.used == [2, 84, 10_000, 0]
    assert after.reserved == [0, 0, 0, 0]
    after.stop()


async def test_a_file_of_before_is_read(tmp_path: Path) -> None:
    first = Worker(tmp_path, 0)
    first.serve()
    await first.books.flush()
    first.serve()
    first.kill()
    with closing(sqlite3.connect(tmp_path / "limits.db")) as database, database:
        database.execute("UPDATE marks SET name = 'usage'")
    second = Worker(tmp_path, 0)
    assert second.used == [2, 84, 10_000, 0]
    second.stop()
