"""SQLite files that several processes share."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

_AGAIN: Final = 0.01  # seconds


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
        except sqlite3.OperationalError:
            if time.monotonic() >= until:
                raise
            time.sleep(_AGAIN)
