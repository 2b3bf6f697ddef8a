"""The SQLite file of files, batches and the answers of those that run. Every method may wait for the disk.

A file's content lies beside it, under the file's id. Every question of a client names its organisation: what one has
can't be read, changed or found by another. What a file will take is reserved before it is written, so that no number of
uploads goes beyond the bytes allowed.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.dataplane.batching.records import PURPOSE, UNFINISHED, Batch, File
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.sqlite import open_private
from gateway.settings.model import Batches

FILE: Final = "batches.sqlite"
MOST_KEPT: Final = 10_000
"""Batches of an organisation that can be read; the oldest ones go earlier than after the retention."""
_VERSION: Final = 1
_TABLES: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    organization TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    ready INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS files_of_organizations ON files (organization, number);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    organization TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    input_file TEXT NOT NULL,
    created INTEGER NOT NULL,
    status TEXT NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    document BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_of_organizations ON batches (organization, number);
CREATE INDEX IF NOT EXISTS batches_by_status ON batches (status);
CREATE TABLE IF NOT EXISTS answers (
    batch TEXT NOT NULL,
    line INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (batch, line)
);
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_FILE: Final = "id, filename, purpose, bytes, created, expires"
_BATCH: Final = "document, done, failed, stored"
_UNFINISHED: Final = f"status IN ({', '.join(repr(each) for each in UNFINISHED)})"
_AT_ONCE: Final = 200  # rows that one statement removes
_ABANDONED: Final = 7_200  # seconds after which an upload that did not end is taken for lost


class Database:
    """The open file in ``folder``. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._connection = open_private(folder / FILE, _TABLES, _VERSION)  # prompts are in it
        self._run = self._connection.execute

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            self._run("ROLLBACK")
            raise

    # files

    def reserve(self, organization: str, file: File, limits: Batches) -> None:
        """Take room for a file that is about to arrive. Raises :class:`GatewayError` where there is none."""
        with self._all_or_nothing():
            (count,) = self._run(
                "SELECT count(*) FROM files WHERE organization = ? AND purpose = ?", (organization, PURPOSE)
            ).fetchone()
            if count >= limits.organization_files:
                raise _full(f"Your organisation has {count} files, and may have {limits.organization_files}.")
            if self.used(organization) + file.bytes > limits.organization_bytes:
                raise _full(f"The files of your organisation may take {limits.organization_bytes} bytes.")
            if self.used() + file.bytes > limits.max_bytes:
                message = "This gateway has no room for more files now."
                raise GatewayError(Kind.UNAVAILABLE, "storage_full", message, retry_after=60)
            self._add(organization, file, ready=False)

    def _add(self, organization: str, file: File, *, ready: bool) -> None:
        values = (file.id, file.filename, file.purpose, file.bytes, file.created, file.expires)
        statement = f"INSERT INTO files (organization, ready, {_FILE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        self._run(statement, (organization, ready, *values))

    def arrived(self, file: File) -> None:
        """A file is on disk as a whole."""
        statement = "UPDATE files SET ready = 1, bytes = ?, filename = ?, expires = ? WHERE id = ?"
        if not self._run(statement, (file.bytes, file.filename, file.expires, file.id)).rowcount:
            raise OSError("the upload took so long that its room was given away")

    def drop(self, file_id: str) -> None:
        """Remove a file that did not arrive as a whole."""
        self._run("DELETE FROM files WHERE id = ?", (file_id,))
        (self.folder / file_id).unlink(missing_ok=True)

    def used(self, organization: str | None = None) -> int:
        """Bytes that files, and answers not yet in files, take: of one organisation, or of all."""
        where, values = ("", ()) if organization is None else (" WHERE organization = ?", (organization,))
        (files,) = self._run(f"SELECT coalesce(sum(bytes), 0) FROM files{where}", values).fetchone()  # noqa: S608
        (answers,) = self._run(f"SELECT coalesce(sum(stored), 0) FROM batches{where}", values).fetchone()  # noqa: S608
        return int(files) + int(answers)

    def file(self, organization: str, file_id: str, now: float) -> File | None:
        """One file."""
        row = self._run(
            f"SELECT {_FILE} FROM files WHERE organization = ? AND id = ? AND ready AND expires > ?",  # noqa: S608
            (organization, file_id, now),
        ).fetchone()
        return None if row is None else File(*row)

    def files(
        self, organization: str, now: float, purpose: str | None, after: str | None, limit: int, *, ascending: bool
    ) -> list[File]:
        """A page of an organisation's files, in the order they were made; ``after`` is the last one before it."""
        beyond, order = (">", "ASC") if ascending else ("<", "DESC")
        values: list[Any] = [organization, now]
        where = "organization = ? AND ready AND expires > ?"
        if purpose is not None:
            where += " AND purpose = ?"
            values.append(purpose)
        if after is not None:
            where += f" AND number {beyond} (SELECT number FROM files WHERE organization = ? AND id = ?)"  # noqa: S608
            values += [organization, after]
        rows = self._run(
            f"SELECT {_FILE} FROM files WHERE {where} ORDER BY number {order} LIMIT ?",  # noqa: S608
            (*values, limit),
        )
        return [File(*row) for row in rows]

    def remove(self, organization: str, file_id: str) -> None:
        """Remove a file that a client wants no longer. Raises :class:`GatewayError` while a batch needs it."""
        with self._all_or_nothing():
            needed = self._run(
                f"SELECT id FROM batches WHERE organization = ? AND input_file = ? AND {_UNFINISHED}",  # noqa: S608
                (organization, file_id),
            ).fetchone()
            if needed is not None:
                message = f"The batch '{needed[0]}' still needs this file: cancel it first."
                raise GatewayError(Kind.CONFLICT, "file_in_use", message, "file_id")
            self._run("DELETE FROM files WHERE organization = ? AND id = ?", (organization, file_id))
        (self.folder / file_id).unlink(missing_ok=True)

    # batches

    def create(self, batch: Batch, limits: Batches, now: float) -> None:
        """A new batch. Raises :class:`GatewayError` where the file is gone or too many are waiting."""
        with self._all_or_nothing():
            if self.file(batch.organization, batch.input_file, now) is None:
                raise no_file(batch.input_file, "input_file_id")
            (count,) = self._run(
                f"SELECT count(*) FROM batches WHERE organization = ? AND {_UNFINISHED}",  # noqa: S608
                (batch.organization,),
            ).fetchone()
            if count >= limits.organization_batches:
                message = f"Your organisation has {count} batches that are not done, as many as it may have."
                raise GatewayError(Kind.RATE_LIMITED, "too_many_batches", message, retry_after=60)
            self._run(
                f"DELETE FROM batches WHERE organization = ? AND NOT {_UNFINISHED} AND number <= (SELECT number"  # noqa: S608
                " FROM batches WHERE organization = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (batch.organization, batch.organization, MOST_KEPT),
            )
            self._run(
                "INSERT INTO batches (organization, id, input_file, created, status, done, failed, stored, document)"
                " VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?)",
                (
                    batch.organization,
                    batch.id,
                    batch.input_file,
                    batch.created,
                    batch.status,
                    msgspec.json.encode(batch),
                ),
            )

    def batch(self, organization: str, batch_id: str) -> Batch | None:
        """One batch."""
        found = self._batches("organization = ? AND id = ?", (organization, batch_id))
        return found[0] if found else None

    def batches(self, organization: str, after: str | None, limit: int) -> list[Batch]:
        """A page of an organisation's batches, the newest first; ``after`` is the last one before it."""
        if after is None:
            return self._batches("organization = ? ORDER BY number DESC LIMIT ?", (organization, limit))
        before = "number < (SELECT number FROM batches WHERE organization = ? AND id = ?)"
        return self._batches(
            f"organization = ? AND {before} ORDER BY number DESC LIMIT ?", (organization, organization, after, limit)
        )

    def next_up(self, each: int, most: int) -> list[Batch]:
        """The oldest batches that are not over: at most ``each`` of an organisation, first the first of every one."""
        turns = (
            "SELECT number AS at, row_number() OVER (PARTITION BY organization ORDER BY number) AS turn"  # noqa: S608
            f" FROM batches WHERE {_UNFINISHED}"
        )
        rows = self._run(
            f"SELECT {_BATCH} FROM batches JOIN ({turns}) ON number = at"  # noqa: S608
            " WHERE turn <= ? ORDER BY turn, number LIMIT ?",
            (each, most),
        )
        return [_batch(row) for row in rows]

    def named(self, ids: list[str]) -> list[Batch]:
        """Those of the batches that are there."""
        return self._batches(f"id IN ({', '.join('?' * len(ids))})", tuple(ids))

    def _batches(self, where: str, values: tuple[Any, ...]) -> list[Batch]:
        rows = self._run(f"SELECT {_BATCH} FROM batches WHERE {where}", values)  # noqa: S608 - parts of this module
        return [_batch(row) for row in rows]

    def change(self, batch_id: str, act: Callable[[Batch], None]) -> Batch | None:
        """Change a batch as it is now, whoever else does; None where it is gone."""
        with self._all_or_nothing():
            found = self._batches("id = ?", (batch_id,))
            if not found:
                return None
            act(found[0])
            self._keep(found[0])
        return found[0]

    def _keep(self, batch: Batch) -> None:
        document = msgspec.json.encode(batch)
        self._run(
            "UPDATE batches SET status = ?, stored = ?, document = ? WHERE id = ?",
            (batch.status, batch.stored, document, batch.id),
        )

    # answers

    def answered(self, batch_id: str) -> array[int]:
        """The lines of a batch that have an answer, in their order."""
        rows = self._run("SELECT line FROM answers WHERE batch = ? ORDER BY line", (batch_id,))
        return array("L", (line for (line,) in rows))

    def record(self, batch_id: str, line: int, answer: bytes, *, failed: bool) -> bool:
        """Keep the answer of a line; one that has an answer keeps that."""
        with self._all_or_nothing():
            added = self._run("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", (batch_id, line, failed, answer))
            if not added.rowcount:
                return False
            self._run(
                "UPDATE batches SET done = done + ?, failed = failed + ?, stored = stored + ? WHERE id = ?",
                (not failed, failed, len(answer), batch_id),
            )
        return True

    def answers(self, batch_id: str) -> Iterator[tuple[int, bool, bytes]]:
        """The answers of a batch in the order of its lines: line, whether it failed, what is written to the file."""
        rows = self._run("SELECT line, failed, answer FROM answers WHERE batch = ? ORDER BY line", (batch_id,))
        return ((line, bool(failed), answer) for line, failed, answer in rows)

    def finish(self, batch_id: str, files: list[File], act: Callable[[Batch], None]) -> None:
        """A batch is over: its files, which are on disk, and its last status become true together."""
        with self._all_or_nothing():
            found = self._batches("id = ?", (batch_id,))
            if not found or not found[0].is_unfinished:
                return
            for file in files:
                self._add(found[0].organization, file, ready=True)
            found[0].stored = 0
            act(found[0])
            self._keep(found[0])

    # what is over

    def sweep(self, now: float, retention: float) -> int:
        """Remove a piece of what is too old or belongs to nothing any more. Gives how much went; 0 when all is done."""
        wanted = f"SELECT id FROM batches WHERE {_UNFINISHED}"  # noqa: S608
        removed = self._run(
            f"DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers WHERE batch NOT IN ({wanted}) LIMIT ?)",  # noqa: S608
            (_AT_ONCE,),
        ).rowcount
        removed += self._run(
            f"DELETE FROM batches WHERE created <= ? AND NOT {_UNFINISHED}",  # noqa: S608
            (now - retention,),
        ).rowcount
        needed = f"SELECT input_file FROM batches WHERE {_UNFINISHED}"  # noqa: S608
        rows = self._run(
            "SELECT id FROM files WHERE (expires <= ? OR (NOT ready AND created <= ?))"  # noqa: S608
            f" AND id NOT IN ({needed}) LIMIT ?",
            (now, now - _ABANDONED, _AT_ONCE),
        ).fetchall()
        for (file_id,) in rows:
            self.drop(file_id)
        return removed + len(rows)

    def sweep_folder(self, now: float) -> None:
        """Remove what a process that died has left in the folder: files that nothing knows."""
        for path in self.folder.glob("file-*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < now - _ABANDONED and not self._knows(path.name):
                    path.unlink()

    def _knows(self, file_id: str) -> bool:
        return self._run("SELECT 1 FROM files WHERE id = ?", (file_id,)).fetchone() is not None


def _batch(row: tuple[Any, ...]) -> Batch:
    document, done, failed, stored = row
    batch = msgspec.json.decode(document, type=Batch)
    batch.done, batch.failed, batch.stored = done, failed, stored
    return batch


def _full(message: str) -> GatewayError:
    return GatewayError(Kind.FORBIDDEN, "storage_quota_exceeded", f"{message} Remove files, or wait until they expire.")


def no_file(file_id: str, field: str) -> GatewayError:
    """What is told of a file that is not there, or is another's."""
    message = f"File with id '{file_id[:100]}' not found."
    return GatewayError(Kind.NOT_FOUND, "file_not_found", message, field)
