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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from gateway.contract.policy import LimitPolicy
from gateway.contract.usage import UsageEvent
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission import replay
from gateway.dataplane.admission.counters import Counter
from gateway.kernel.errors import GatewayError, Kind

logger = logging.getLogger("gateway.limits")

INTERVAL = 0.5  # seconds
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
_KEEP = """
INSERT INTO counters VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
window_start = excluded.window_start, used = excluded.used, previous = excluded.previous,
updated_ns = excluded.updated_ns
"""
_Row = tuple[str, int, int, int, int]


class UsageLog(Protocol):
    """What the books need of the usage log."""

    def mark(self) -> str:
        """Where the log ends now, what is still to be written included."""

    def since(self, mark: str) -> Iterator[UsageEvent]:
        """The events behind a mark, oldest first."""


class Books:
    """See the module. One process writes; any may read. Raises :class:`OSError` where the file can't be used."""

    def __init__(self, path: Path, log: UsageLog) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._dirty: list[Counter] = []
        self._lock = threading.Lock()
        self._failed = False
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
        self._folder = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
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
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)
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
            new = [counter for counter in held if counter.key not in known]
            if new:
                self._make_room(new)

    def _make_room(self, new: list[Counter]) -> None:
        try:
            with self._transaction():
                self._database.executemany(_KEEP, [_row(counter) for counter in new])
        except sqlite3.Error as error:
            # Nothing is counted wrong by that now: the next flush makes their rows.
            self._again(new, error)

    def touched(self, counter: Counter) -> None:
        """Write this counter down with the next flush."""
        counter.dirty = True
        self._dirty.append(counter)

    # writing

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.flush()

    async def flush(self) -> None:
        """Write what has changed."""
        changed = self._dirty
        if changed:
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
        rows, mark = self._changed()
        try:
            self._write(rows, mark)
        except sqlite3.Error as error:
            logger.error("limits not written", extra={"reason": str(error)})
        self._database.close()
        self._folder.close()

    def _changed(self) -> tuple[list[_Row], str]:
        dirty, self._dirty = self._dirty, []
        for counter in dirty:
            counter.dirty = False
        # In the same turn as the rows: an event is either in both or in neither.
        return [_row(counter) for counter in dirty if counter.window is not None], self._log.mark()

    def _write(self, rows: list[_Row], mark: str) -> None:
        with self._lock, self._transaction():
            self._database.executemany(_KEEP, rows)
            self._database.execute("INSERT OR REPLACE INTO marks VALUES ('usage', ?)", (mark,))
        self._fold()
        self._failed = False

    def _fold(self) -> None:
        # It waits for the disk: on a connection of its own, so that nobody who looks a count up waits for it too.
        self._folder.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _again(self, changed: list[Counter], error: sqlite3.Error | None = None) -> None:
        # The old mark stands with the old rows; a later mark must not pass these by.
        for counter in changed:
            if not counter.dirty:
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
        """Count the events behind the mark."""
        kept = self._database.execute("SELECT value FROM marks WHERE name = 'usage'").fetchone()
        mark = self._log.mark()
        behind: dict[str, list[UsageEvent]] = defaultdict(list)
        for event in self._log.since(kept[0]) if kept is not None else ():
            for scope, scope_id in replay.scopes_of(event):
                # A prefix ends in "|", which sorts before "}".
                behind[LimitPolicy.prefix(scope, scope_id)].append(event)
        with self._transaction():
            for prefix, events in behind.items():
                rows = self._database.execute(
                    "SELECT * FROM counters WHERE key >= ? AND key < ?", (prefix, prefix[:-1] + "}")
                ).fetchall()
                self._database.executemany(_KEEP, [_counted(row, events) for row in rows])
            self._database.execute("INSERT OR REPLACE INTO marks VALUES ('usage', ?)", (mark,))


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
    used, previous = min(counter.used, _MOST), min(counter.previous, _MOST)
    return counter.key, int(counter.starts_at), used, previous, time.time_ns()


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
