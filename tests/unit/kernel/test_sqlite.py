"""Files of SQLite that several processes open at once."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from gateway.kernel.sqlite import open_private, write_ahead

CROWD = 8


@pytest.mark.parametrize("attempt", range(10))
def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path, attempt: int) -> None:
    together = threading.Barrier(CROWD)
    failed: list[Exception] = []

    def opened() -> None:
        try:
            with closing(sqlite3.connect(tmp_path / "shared.db", isolation_level=None)) as database:
                together.wait()
                write_ahead(database)
                database.execute("CREATE TABLE IF NOT EXISTS lines (line TEXT)")
                database.execute("INSERT INTO lines VALUES ('one')")
        except Exception as error:
            failed.append(error)

    crowd = [threading.Thread(target=opened) for _ in range(CROWD)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert failed == []
    with closing(sqlite3.connect(tmp_path / "shared.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT count(*) FROM lines").fetchone() == (CROWD,)


def test_one_that_stays_locked_is_told(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "shared.db", isolation_level=None)) as holder,
        closing(sqlite3.connect(tmp_path / "shared.db", isolation_level=None, timeout=0.01)) as database,
    ):
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError):
            write_ahead(database, 0.05)


def test_what_waiting_does_not_mend_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE lines (line TEXT)")
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        write_ahead(database, 3_600.0)


TABLES = "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS t (x); PRAGMA user_version = 1; COMMIT;"


def test_a_private_file_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "private.sqlite"
    for line in ("one", "two"):
        with closing(open_private(path, TABLES, 1)) as database:
            database.execute("INSERT INTO t VALUES (?)", (line,))
            assert path.stat().st_mode & 0o777 == 0o600
    with closing(open_private(path, TABLES, 1)) as database:
        assert database.execute("SELECT x FROM t").fetchall() == [("one",), ("two",)]


@pytest.mark.parametrize("content", ["no database", "another version"])
def test_a_file_that_cannot_be_used_is_not_kept_open(tmp_path: Path, content: str) -> None:
    path = tmp_path / "private.sqlite"
    if content == "no database":
        path.write_bytes(b"This is no database. " * 100)
    else:
        with closing(open_private(path, TABLES.replace("= 1", "= 99"), 99)):
            pass
    with pytest.raises((OSError, sqlite3.DatabaseError)):
        open_private(path, TABLES, 1)
    held = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert str(path) not in held
