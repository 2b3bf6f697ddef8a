"""Counters that survive a restart and a ``kill -9``: ``limits.db`` and the usage log behind it.

Twice a second what has changed is written to a small SQLite file, together with how far the usage log had come. After
a restart the events behind that mark are counted on top, so that a counter stands where its settled requests left it.
A request that was under way when the process was killed was answered to nobody and is not counted.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from gateway.contract.policy import LimitPolicy
from gateway.contract.usage import UsageEvent
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission import replay
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.admission.succession import Succession
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.sqlite import write_ahead

logger = logging.getLogger("gateway.limits")

INTERVAL = 0.5  # seconds
_LOOK = 0.005  # seconds
_KEPT_NS = 400 * 86_400 * 10**9  # a count that nobody has touched for so long goes, unless its window is still open
_MOST = 2**63 - 1  # what SQLite can hold
_BATCH = 500  # SQLite takes 999 parameters in its oldest builds
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (
    key TEXT PRIMARY KEY, window_start INTEGER NOT NULL, used INTEGER NOT NULL, previous INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_MARK = "usage-"  # and the number of the log that it is a place in
_OLD_MARK = "usage"  # of the log with our own number
_KEEP = """
INSERT INTO counters VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
window_start = excluded.window_start, used = excluded.used, previous = excluded.previous,
updated_ns = excluded.updated_ns
"""
_MAKE_ROOM = "INSERT OR IGNORE INTO counters VALUES (?, ?, ?, ?, ?)"
_Row = tuple[str, int, int, int, int]


class UsageLog(Protocol):
    """What the books need of the usage log."""

    def mark(self) -> str:
        """Where the log ends now, what is still to be written included."""

    def since(self, mark: str, *, worker: int | None = None) -> Iterator[UsageEvent]:
        """The events behind a mark, oldest first; ``worker`` is whose log, absent for our own."""


class Books:
    """See the module. One process writes; any may read. Raises :class:`OSError` where the file can't be used.

    ``slot`` is the number of our usage log, ``run`` names the run of the gateway. A worker that takes the place of
    another shares its file for a while: see :mod:`gateway.dataplane.admission.succession`.
    """

    def __init__(self, path: Path, log: UsageLog, *, slot: int = 0, run: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self.registry: Registry | None = None
        """The counters in use."""
        self._dirty: list[Counter] = []
        self._lock = threading.Lock()
        self._failed = False
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
        self._folder = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
        self._succession = Succession(self._database, slot, run)
        self._mark_name = f"{_MARK}{slot}"
        try:
            path.chmod(0o600)
            self._open()
        except sqlite3.Error as error:
            self._database.close()
            self._folder.close()
            raise OSError(f"the counts of limits in {path} can't be used: {error}") from error

    def _open(self) -> None:
        # A commit must not wait for the disk: what a power cut takes is counted again from the usage log. The write-
        # ahead log is folded in by `flush` alone, off the event loop.
        write_ahead(self._database)
        for pragma in ("synchronous=NORMAL", "wal_autocheckpoint=0"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)
        self._succession.enter()
        self._database.execute("UPDATE OR IGNORE marks SET name = ? WHERE name = ?", (self._mark_name, _OLD_MARK))
        old = self._database.execute(
            "SELECT key, window_start FROM counters WHERE updated_ns < ?", (time.time_ns() - _KEPT_NS,)
        ).fetchall()
        over = [(key,) for key, start in old if _is_over(key, start, time.time())]
        with self._transaction():
            self._database.executemany("DELETE FROM counters WHERE key = ?", over)
        self._catch_up()

    # gateway.dataplane.admission.registry.Kept

    def load(self, counters: Sequence[Counter]) -> None:
        """Restore counters that are new in this process, and make room for those never seen: an event of theirs can
        be counted after a crash only where there is a row. Raises :class:`GatewayError` where they can't be read.
        """
        now = time.time()
        held = [counter for counter in counters if counter.window is not None]
        with self._lock:
            try:
                known = self._rows([counter.key for counter in held])
            except sqlite3.Error as error:
                raise _unreadable(error) from error
            for counter in held:
                if now >= counter.resets_at:
                    counter.roll(now)
                row = known.get(counter.key)
                if row is not None:
                    counter.restore(row[1], row[2], row[3])
            self._succession.hold(counters)
            new = [counter for counter in held if counter.key not in known]
            if new:
                self._make_room(new)

    def _make_room(self, new: list[Counter]) -> None:
        try:
            with self._transaction():
                self._database.executemany(_MAKE_ROOM, [_row(counter) for counter in new])
        except sqlite3.Error as error:
            # Nothing is counted wrong by that now: the next flush makes their rows.
            self._again(new, error)

    def touched(self, counter: Counter) -> None:
        """Write this counter down with the next flush."""
        counter.count.dirty = True
        self._dirty.append(counter)

    # writing

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.flush()
            for slot in self._succession.over():
                await self._absorb(slot)

    async def flush(self) -> None:
        """Write what has changed."""
        changed = self._dirty
        if changed and not self._succession.released:
            rows, mark = self._changed()
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._write, rows, mark)
            except sqlite3.Error as error:
                self._again(changed, error)
            except asyncio.CancelledError:
                self._again(changed)
                raise

    def close(self) -> None:
        """Write what is left."""
        try:
            if not self._succession.released:
                self._write(*self._changed())
            self._succession.leave()
        except sqlite3.Error as error:
            logger.error("limits not written", extra={"reason": str(error)})
        self._database.close()
        self._folder.close()

    def _changed(self) -> tuple[list[_Row], str]:
        dirty, self._dirty = self._dirty, []
        for counter in dirty:
            counter.count.dirty = False
        # In the same turn as the rows: an event is either in both or in neither.
        return [_row(counter) for counter in dirty if counter.window is not None], self._log.mark()

    def _write(self, rows: list[_Row], mark: str) -> None:
        with self._lock, self._transaction():
            self._database.executemany(_KEEP, rows)
            self._database.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (self._mark_name, mark))
        self._fold()
        self._failed = False

    def _fold(self) -> None:
        # It waits for the disk: on a connection of its own, so that nobody who looks a count up waits for it too.
        self._folder.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _again(self, changed: list[Counter], error: sqlite3.Error | None = None) -> None:
        # The old mark stands with the old rows; a later mark must not pass these by.
        for counter in changed:
            if not counter.count.dirty:
                self.touched(counter)
        if error is None:
            return
        if not self._failed:
            logger.error("limits not written yet", extra={"reason": str(error), "counters": len(changed)})
        self._failed = True

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database)

    # reading

    def _rows(self, keys: list[str]) -> dict[str, _Row]:
        found: dict[str, _Row] = {}
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            query = f"SELECT * FROM counters WHERE key IN ({','.join('?' * len(some))})"  # noqa: S608 - only marks
            found.update((row[0], row) for row in self._database.execute(query, some))
        return found

    def _catch_up(self) -> None:
        """Count the events behind each mark, but those of a worker that still writes its own."""
        marks: list[tuple[str, str]] = self._database.execute("SELECT name, value FROM marks").fetchall()
        ours = self._log.mark()
        for name, mark in marks:
            slot = _slot_of(name)
            if slot is None or slot in self._succession.before:
                continue
            events = list(self._log.since(mark) if name == self._mark_name else self._log.since(mark, worker=slot))
            with self._transaction():
                self._count(events)
                self._database.execute("DELETE FROM marks WHERE name = ?", (name,))
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (self._mark_name, ours))

    def _count(self, events: list[UsageEvent]) -> None:
        behind: dict[str, list[UsageEvent]] = defaultdict(list)
        for event in events:
            for scope, scope_id in replay.scopes_of(event):
                # A prefix ends in "|", which sorts before "}".
                behind[LimitPolicy.prefix(scope, scope_id)].append(event)
        for prefix, its in behind.items():
            rows = self._database.execute(
                "SELECT * FROM counters WHERE key >= ? AND key < ?", (prefix, prefix[:-1] + "}")
            ).fetchall()
            self._database.executemany(_KEEP, [_counted(row, its) for row in rows])

    # another worker takes this one's place, or this one another's

    def release(self) -> None:
        """Write everything, what running requests hold too, and nothing afterwards: the next worker counts on."""
        rows, mark = self._changed()
        try:
            self._write(rows, mark)
            with self._lock, self._transaction():
                self._succession.release(self._living())
        except sqlite3.Error as error:
            logger.error("limits not handed over; they are when this worker ends", extra={"reason": str(error)})

    async def succeed(self, slot: int, until: Callable[[], bool]) -> None:
        """Wait until the worker with that log has released its counts or is no more, or ``until``; take them up."""
        while not until():
            with self._lock:
                state = self._succession.state_of(slot)
            if state != "counts":
                break
            await asyncio.sleep(_LOOK)
        if self._succession.is_over(slot):
            await self._absorb(slot)
        self.load(self._living())

    async def _absorb(self, slot: int) -> None:
        """Count what a worker that is no more was still asked for after it had handed over."""
        name = f"{_MARK}{slot}"
        try:
            with self._lock:
                found = self._database.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
            behind = [] if found is None else await asyncio.to_thread(self._behind, slot, found[0])
            with self._lock, self._transaction():
                self._count(behind)
                self._database.execute("DELETE FROM marks WHERE name = ?", (name,))
                self._succession.forget(slot)
        except (sqlite3.Error, OSError) as error:
            logger.error("counts not taken over yet", extra={"reason": str(error)})
            return
        self._begin_windows()
        for counter in self._succession.absorb(slot, self._living(), behind):
            if not counter.count.dirty:
                self.touched(counter)

    def _living(self) -> Sequence[Counter]:
        return () if self.registry is None else self.registry.living()

    def _begin_windows(self) -> None:
        """Begin the windows that are due, as the next request would: events may be of those."""
        now = time.time()
        for counter in self._living():
            if now >= counter.resets_at > 0 and self.registry is not None:
                self.registry.era.value += 1
                counter.roll(now)

    def _behind(self, slot: int, mark: str) -> list[UsageEvent]:
        return list(self._log.since(mark, worker=slot))


class _Transaction:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")  # a commit before failed, on a full disk
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")


def _row(counter: Counter) -> _Row:
    used, previous = min(counter.count.used, _MOST), min(counter.previous, _MOST)
    return counter.key, int(counter.starts_at), used, previous, time.time_ns()


def _slot_of(mark: str) -> int | None:
    number = mark.removeprefix(_MARK)
    return int(number) if number.isdigit() else None


def _is_over(key: str, start: int, now: float) -> bool:
    """Whether nothing that was counted from ``start`` on matters any more, nor the key is one of a limit."""
    try:
        policy = LimitPolicy.of_key(key)
        ends = window_bounds(policy.window or "total", start)[1]
        return now >= (window_bounds(policy.window or "total", ends)[1] if policy.sliding else ends)
    except ValueError:
        return True


def _unreadable(error: sqlite3.Error) -> GatewayError:
    logger.error("limits not read", extra={"reason": str(error)})
    message = "What is used of your limits can't be read just now. Try again in a moment."
    return GatewayError(Kind.UNAVAILABLE, "limits_unavailable", message, retry_after=1.0)


def _counted(row: _Row, events: list[UsageEvent]) -> _Row:
    key, start, used, previous, _ = row
    policy = LimitPolicy.of_key(key)
    assert policy.window is not None
    for event in events:
        if not replay.counts(policy, event):
            continue
        begins, _ = window_bounds(policy.window, event.started_ns / 1e9)
        if begins > start:
            adjacent = policy.sliding and window_bounds(policy.window, start)[1] == begins
            start, used, previous = int(begins), 0, used if adjacent else 0
        if begins == start:
            used += replay.amount_of(policy.metric, event)
    return key, start, min(used, _MOST), previous, time.time_ns()
