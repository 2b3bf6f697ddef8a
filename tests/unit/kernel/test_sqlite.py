"""Files of SQLite that several processes open at once."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from gateway.kernel.sqlite import write_ahead

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
