"""Credentials that were learnt, kept in ``known.db`` for a start while the sidecar is away.

All workers of a machine share the file. Of a secret it holds the SHA-256, which is no use to anyone who would call, and
the policy behind it. Each row is sealed with a key made of the master key and the sidecar's address: nobody who can
write the file, but does not know the master key, can add a credential or give one more.

What it holds is true as of its ``seq``, the last change that any worker of the machine heard of: a change takes what it
is about out of the file, unless that was learnt since, and an answer older than the last change does not go in.
``heard`` is when changes were last heard; from then on the grace is counted, over a restart too. A file that can't be
written is removed.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gateway.contract.policy import Change, CredentialPolicy
from gateway.kernel.sqlite import write_ahead

logger = logging.getLogger("gateway.credentials")

FLUSH = 0.2  # seconds
HEARD = 5.0  # seconds between two notes of when changes were last heard
_MOST_WAITING = 100_000  # rows and changes; a disk that stands still so long is none to trust
_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, policy BLOB NOT NULL, seal BLOB NOT NULL,
    credential TEXT NOT NULL, organization TEXT NOT NULL, user TEXT, plan TEXT, app TEXT,
    seq INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS known_credential ON known (credential);
CREATE INDEX IF NOT EXISTS known_organization ON known (organization);
CREATE INDEX IF NOT EXISTS known_user ON known (user);
CREATE INDEX IF NOT EXISTS known_plan ON known (plan);
CREATE INDEX IF NOT EXISTS known_app ON known (app);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
_FORGET = {
    kind: f"DELETE FROM known WHERE {kind} = ? AND seq < ?"  # noqa: S608 - the names of columns
    for kind in ("credential", "organization", "user", "plan", "app")
}
_KEEP = (
    "INSERT OR REPLACE INTO known (digest, policy, seal, credential, organization, user, plan, app, seq)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CredentialPolicy).decode
_Learnt = tuple[bytes, CredentialPolicy, int]


class Known:
    """The file. ``most`` bounds its rows. Nothing here fails: a file that can't be used is one that knows nobody."""

    def __init__(self, path: Path, master_key: str, sidecar: str, most: int) -> None:
        self._path = path
        self._key = hmac.digest(master_key.encode(), b"known\n" + sidecar.encode(), "sha256")
        self._most = most
        self._waiting: list[_Learnt | Change] = []
        self._heard_ns = 0
        self._noted = 0.0
        self._seq = 0
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=2.0)
            path.chmod(0o600)
            self._open(self._database)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _open(self, database: sqlite3.Connection) -> None:
        write_ahead(database)
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        if not _tells_seq(database):
            # A file from before; a worker of before may still write to it. Any change takes such a row out.
            database.execute("BEGIN IMMEDIATE")
            if not _tells_seq(database):  # another worker may have been first
                database.execute("ALTER TABLE known ADD COLUMN seq INTEGER NOT NULL DEFAULT 0")
            database.execute("COMMIT")
        seal = hmac.digest(self._key, b"file", "sha256")
        found = database.execute("SELECT value FROM state WHERE name = 'seal'").fetchone()
        if found is None or not hmac.compare_digest(found[0], seal):
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM known")
            database.execute("DELETE FROM state")
            database.execute("INSERT INTO state VALUES ('seal', ?)", (seal,))
            database.execute("COMMIT")
        self._seq, self._heard_ns = self._state("seq"), self._state("heard_ns")

    def _state(self, name: str) -> int:
        assert self._database is not None
        found = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return 0 if found is None else int(found[0])

    @property
    def seq(self) -> int | None:
        """The number of the last change that the file has taken up; None where it is not known."""
        return self._seq or None

    def age(self) -> float:
        """Seconds since changes were last heard, by any worker; infinite where they never were."""
        try:
            heard_ns = self._state("heard_ns") if self._database is not None else 0
        except sqlite3.Error:
            heard_ns = 0
        if not heard_ns:
            return float("inf")
        return abs(time.time_ns() - heard_ns) / 1e9  # a clock that was set back must not make it young

    # what is learnt

    def learnt(self, digest: bytes, policy: CredentialPolicy, seq: int) -> None:
        """Keep a credential, as of change ``seq``."""
        self._wait_for((digest, policy, seq))

    def changed(self, change: Change) -> None:
        """Keep nothing that a change is about."""
        self._wait_for(change)

    def heard(self) -> None:
        """Changes are heard now."""
        self._heard_ns = time.time_ns()

    def _wait_for(self, what: _Learnt | Change) -> None:
        if self._database is not None:
            if len(self._waiting) >= _MOST_WAITING:
                self._give_up(OSError("the disk is too slow"))
                return
            self._waiting.append(what)

    def find(self, digest: bytes) -> CredentialPolicy | None:
        """The policy of a credential, where it is known. Takes a read of the disk: not for the event loop."""
        self.flush()  # a change that was heard just now must not be overlooked
        with self._lock:
            if self._database is None:
                return None
            try:
                found = self._database.execute("SELECT policy, seal FROM known WHERE digest = ?", (digest,)).fetchone()
                if found is None or not hmac.compare_digest(found[1], self._seal(digest, found[0])):
                    return None
                return _decode(found[0])
            except (sqlite3.Error, msgspec.MsgspecError) as error:
                self._give_up(error)
                return None

    # the upkeep

    async def run(self) -> None:
        """Write what has changed until cancelled."""
        while True:
            await asyncio.sleep(FLUSH)
            due = self._heard_ns and time.monotonic() - self._noted >= HEARD
            if self._waiting or due:
                await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """Write what has changed."""
        with self._lock:
            if self._database is not None:
                self._flush(self._database)

    def _flush(self, database: sqlite3.Connection) -> None:
        waiting, self._waiting = self._waiting, []
        self._noted = time.monotonic()
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                self._write(database, waiting)
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)

    def _write(self, database: sqlite3.Connection, waiting: Iterable[_Learnt | Change]) -> None:
        seq = self._state("seq")
        for one in waiting:
            if isinstance(one, Change):
                seq = self._forget(database, one, seq)
            elif one[2] >= seq:
                database.execute(_KEEP, self._row(*one))
        self._seq = seq
        heard_ns = max(self._heard_ns, self._state("heard_ns"))
        database.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", (("seq", seq), ("heard_ns", heard_ns)))
        database.execute(
            "DELETE FROM known WHERE number <= (SELECT max(number) FROM known) - ?", (self._most,)
        )  # every row that is kept anew gets the next number

    @staticmethod
    def _forget(database: sqlite3.Connection, change: Change, seq: int) -> int:
        if change.kind == "everything":
            database.execute("DELETE FROM known")
            return change.seq  # the sidecar may have begun to count anew
        if change.kind in _FORGET:
            database.execute(_FORGET[change.kind], (change.id, change.seq))
        if change.digest is not None:
            digest = bytes.fromhex(change.digest)
            database.execute("DELETE FROM known WHERE digest = ? AND seq < ?", (digest, change.seq))
        return max(seq, change.seq)

    def _row(self, digest: bytes, policy: CredentialPolicy, seq: int) -> tuple[Any, ...]:
        data = _encode(policy)
        names = (policy.id, policy.organization, policy.user, policy.plan, policy.app)
        return (digest, data, self._seal(digest, data), *names, seq)

    def _seal(self, digest: bytes, data: bytes) -> bytes:
        return hmac.digest(self._key, digest + data, "sha256")

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _give_up(self, error: Exception) -> None:
        """Keep nothing from now on: what can't be taken out of the file must not be found in it later."""
        logger.error("known credentials are not kept for a restart", extra={"reason": str(error)})
        database, self._database = self._database, None
        self._waiting = []
        if database is not None:
            database.close()
        for suffix in ("", "-wal", "-shm"):
            try:
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            except OSError as left:
                logger.error("known credentials can't be removed", extra={"reason": str(left)})


def _tells_seq(database: sqlite3.Connection) -> bool:
    return any(column[1] == "seq" for column in database.execute("PRAGMA table_info(known)"))
