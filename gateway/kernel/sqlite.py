"""SQLite files that several processes share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

_AGAIN: Final = 0.01  # seconds


def open_private(path: Path, tables: str, version: int) -> sqlite3.Connection:
    """A file that nobody else may read, with what ``tables`` makes where it is new; it must set ``user_version``.

    The connection may be used by one thread at a time, whichever. What is deleted is overwritten (SQLite, "PRAGMA
    secure_delete"). Raises :class:`OSError` where another version of the gateway wrote the file, and
    :class:`sqlite3.Error` where it is none.
    """
    with contextlib.suppress(FileExistsError):  # to open and close one in use would give up its locks
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == 0:
            connection.executescript(tables)
        elif found != version:
            raise OSError(f"{path} was written by another version of the gateway ({found})")
    except BaseException:
        connection.close()
        raise
    return connection


def write_ahead(connection: sqlite3.Connection, seconds: float = 10.0) -> None:
    """Have a file log ahead what is written, so that readers need not wait (SQLite, "Write-Ahead Logging").

    Of several processes that turn it on for a new file at once all but one are told that it is locked, at once and
    whatever the connection's timeout is. Raises :class:`sqlite3.OperationalError` where it stays so for ``seconds``.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_AGAIN)
