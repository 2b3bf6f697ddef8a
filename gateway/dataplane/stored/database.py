"""The SQLite file of kept Responses. Every method runs in the store's thread, and may wait for the disk.

Every statement names the organisation: what one keeps can't be read, changed or found by another. A Response is gone
after the retention. Where all of them take more than the bytes they may, the organisation that takes the most gives its
oldest: none pushes out what another keeps while it keeps more itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.dataplane.stored.conversations import TABLES, Conversation, Write
from gateway.dataplane.stored.conversations import removing as removing_conversation
from gateway.dataplane.stored.records import RUNNING, Record
from gateway.kernel.sqlite import open_private

_VERSION: Final = 1
_TABLES: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS responses (
    organization TEXT NOT NULL,
    id TEXT NOT NULL,
    created INTEGER NOT NULL,
    status TEXT NOT NULL,
    alive_until REAL NOT NULL,
    ancestors TEXT NOT NULL,
    response BLOB NOT NULL,
    items BLOB NOT NULL,
    PRIMARY KEY (organization, id)
);
{TABLES}
PRAGMA user_version = {_VERSION};
COMMIT;
"""
# What each organisation takes is told by the index alone, without a look at the rows.
_SIZES: Final = """
CREATE INDEX IF NOT EXISTS sizes_of_responses ON responses (organization, length(response) + length(items))
"""
_EVENTS: Final = """
CREATE TABLE IF NOT EXISTS response_events (
    organization TEXT NOT NULL,
    response TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    events BLOB NOT NULL,
    PRIMARY KEY (organization, response, first)
)
"""
_ORPHANS: Final = """
DELETE FROM response_events WHERE NOT EXISTS (
    SELECT 1 FROM responses WHERE organization = response_events.organization AND id = response_events.response
)
"""
_TAKEN: Final = """
SELECT organization, SUM(size) AS taken FROM (
    SELECT organization, SUM(length(response) + length(items)) AS size FROM responses GROUP BY organization
    UNION ALL SELECT organization, SUM(length(item)) FROM conversation_items GROUP BY organization
    UNION ALL SELECT organization, SUM(length(metadata)) FROM conversations GROUP BY organization
    UNION ALL SELECT organization, SUM(length(events)) FROM response_events GROUP BY organization
) GROUP BY organization
"""
_COLUMNS: Final = "id, created, status, response, items, ancestors, alive_until"
_ALIVE: Final = f"status IN ('{RUNNING[0]}', '{RUNNING[1]}')"
_AT_ONCE: Final = 50  # rows that one statement removes
_FEW: Final = 10  # of one organisation, before another may take more
_FULL: Final = 0.95  # of the bytes allowed: until there is room again, so that not every write has to make some


class Database:
    """The open file. ``retention`` is in seconds, ``max_bytes`` what all Responses may take."""

    def __init__(self, path: Path, retention: float, max_bytes: int) -> None:
        self._retention = retention
        self._max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = open_private(path, _TABLES, _VERSION)  # prompts are in it; the executor decides on threads
        run = self._connection.execute
        run(_SIZES)
        run(_EVENTS)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def write(self, writes: Iterable[Write]) -> list[int]:
        """Change all of it or nothing. Gives the number of rows each changed."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            changed = [run(statement, values).rowcount for statement, values in writes]
            run("COMMIT")
        except BaseException:
            run("ROLLBACK")
            raise
        return changed

    def find(self, organization: str, ids: Sequence[str]) -> list[Record]:
        """Those of the ids that are there, in no order."""
        marks = ", ".join("?" * len(ids))
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM responses WHERE organization = ? AND created > ? AND id IN ({marks})",  # noqa: S608
            (organization, time.time() - self._retention, *ids),
        )
        return [_record(row) for row in rows]

    def conversation(self, organization: str, conversation_id: str) -> Conversation | None:
        """One conversation."""
        row = self._connection.execute(
            "SELECT id, created, changed, metadata FROM conversations"
            " WHERE organization = ? AND id = ? AND changed > ?",
            (organization, conversation_id, time.time() - self._retention),
        ).fetchone()
        return None if row is None else Conversation(*row)

    def items(self, organization: str, conversation_id: str) -> list[bytes]:
        """Its items, each as JSON, in their order."""
        rows = self._connection.execute(
            "SELECT item FROM conversation_items WHERE organization = ? AND conversation = ? ORDER BY rowid",
            (organization, conversation_id),
        )
        return [item for (item,) in rows]

    def events(self, organization: str, response_id: str, after: int) -> list[tuple[int, int, bytes]]:
        """The events of a stream with a number above ``after``, in their order: numbers of the first and the last of
        several, and these.
        """
        return self._connection.execute(
            "SELECT first, last, events FROM response_events WHERE organization = ? AND response = ? AND last > ?"
            " ORDER BY first LIMIT ?",
            (organization, response_id, after, _AT_ONCE),
        ).fetchall()

    def _forget_conversations(self, before: float, organization: str | None = None) -> int:
        """Remove some of those that have not changed since, of one organisation or of all."""
        rows = self._connection.execute(
            "SELECT organization, id FROM conversations WHERE changed <= ? AND organization = coalesce(?, organization)"
            " ORDER BY changed LIMIT ?",
            (before, organization, _AT_ONCE),
        ).fetchall()
        self.write([write for each in rows for write in removing_conversation(*each)])
        return len(rows)

    def sweep(self) -> int:
        """Remove what is too old, and the oldest of what is too much. Gives how many went."""
        run = self._connection.execute
        removed = 0
        too_old = time.time() - self._retention
        # Rows are numbered as they come, so the first are the oldest: no index by age has to be kept with each write.
        while (
            n := run(
                "DELETE FROM responses WHERE created <= ?"
                " AND rowid IN (SELECT rowid FROM responses ORDER BY rowid LIMIT ?)",
                (too_old, _AT_ONCE),
            ).rowcount
        ) > 0:
            removed += n
        while n := self._forget_conversations(too_old):
            removed += n
        if self._used() > self._max_bytes:
            removed += self._make_room(int(self._max_bytes * _FULL))
        if removed:
            run(_ORPHANS)
        return removed

    def _make_room(self, limit: int) -> int:
        """Remove the oldest of whoever takes the most, until all take less than ``limit``; conversations go after
        Responses. Gives how many went.
        """
        run = self._connection.execute
        taken: dict[str, int] = dict(run(_TAKEN).fetchall())
        removed = 0
        while taken and self._used() > limit:
            organization = max(taken, key=taken.__getitem__)
            gone = run(
                "DELETE FROM responses WHERE rowid IN"
                " (SELECT rowid FROM responses WHERE organization = ? ORDER BY rowid LIMIT ?)"
                " RETURNING length(response) + length(items)",
                (organization, _FEW),
            ).fetchall()
            taken[organization] -= sum(size for (size,) in gone)
            removed += len(gone)
            if gone:
                run(f"{_ORPHANS} AND organization = ?", (organization,))
                continue
            n = self._forget_conversations(float("inf"), organization)
            removed += n
            if n:
                taken = dict(run(_TAKEN).fetchall())
            else:
                del taken[organization]
        return removed

    def _used(self) -> int:
        def told(name: str) -> int:
            value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            return value

        return (told("page_count") - told("freelist_count")) * told("page_size")


def _record(row: Sequence[Any]) -> Record:
    response_id, created, status, response, items, ancestors, alive_until = row
    return Record(response_id, created, status, response, items, tuple(msgspec.json.decode(ancestors)), alive_until)


def putting(organization: str, record: Record) -> Write:
    """A new Response."""
    statement = f"INSERT INTO responses (organization, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    ancestors = msgspec.json.encode(record.ancestors).decode()
    return statement, (
        organization,
        record.id,
        record.created,
        record.status,
        record.response,
        record.items,
        ancestors,
        record.alive_until,
    )


def ending(organization: str, response_id: str, status: str, response: bytes) -> Write:
    """The end of one that ran in the background; nothing where it was cancelled or removed meanwhile."""
    return (
        f"UPDATE responses SET status = ?, response = ? WHERE organization = ? AND id = ? AND {_ALIVE}",  # noqa: S608
        (status, response, organization, response_id),
    )


def living(organization: str, response_id: str, until: float) -> Write:
    """One that runs in the background goes on doing so."""
    return (
        f"UPDATE responses SET alive_until = ? WHERE organization = ? AND id = ? AND {_ALIVE}",  # noqa: S608
        (until, organization, response_id),
    )


def removing(organization: str, response_id: str) -> Write:
    """A Response is removed by its client."""
    return "DELETE FROM responses WHERE organization = ? AND id = ?", (organization, response_id)


def telling(organization: str, response_id: str, first: int, last: int, events: bytes) -> Write:
    """Events of a stream; nothing where its Response is gone."""
    return (
        "INSERT OR IGNORE INTO response_events (organization, response, first, last, events) SELECT ?, ?, ?, ?, ?"
        " WHERE EXISTS (SELECT 1 FROM responses WHERE organization = ? AND id = ?)",
        (organization, response_id, first, last, events, organization, response_id),
    )


def forgetting(organization: str, response_id: str) -> Write:
    """The events of a stream are removed."""
    return "DELETE FROM response_events WHERE organization = ? AND response = ?", (organization, response_id)
