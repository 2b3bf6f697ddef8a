"""What every answer of a worker shares: the date line and request ids."""

from __future__ import annotations

import itertools
import os
from email.utils import formatdate


class Clock:
    """``date_line`` is a whole header line, renewed each second by the worker's sweep."""

    __slots__ = ("_count", "_prefix", "date_line")

    def __init__(self) -> None:
        # 64 random bits a process, then a count: unique over restarts and machines, and cheaper than drawing each time.
        self._prefix = f"req_{os.urandom(8).hex()}"
        self._count = itertools.count(1)
        self.date_line = b""
        self.tick()

    def tick(self) -> None:
        """Renew the date (RFC 9110 §6.6.1)."""
        self.date_line = b"date: " + formatdate(usegmt=True).encode() + b"\r\n"

    def request_id(self) -> str:
        """A new id."""
        return "%s%010x" % (self._prefix, next(self._count))  # noqa: UP031 - compiled, the others take four times as long
