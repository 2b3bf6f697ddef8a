"""What every answer of a worker shares: the date line and request ids."""

from __future__ import annotations

import os
from email.utils import formatdate
from typing import Final

_LAST_DIGITS: Final = tuple(f"{number:02x}" for number in range(256))


class Clock:
    """``date_line`` is a whole header line, renewed each second by the worker's sweep."""

    __slots__ = ("_block", "_last", "_prefix", "_start", "date_line")

    def __init__(self) -> None:
        # 64 random bits a process, then a count: unique over restarts and machines, and cheaper than drawing each time.
        self._prefix = f"req_{os.urandom(8).hex()}"
        self._block = -1
        self._last = 255
        self._start = ""
        self.date_line = b""
        self.tick()

    def tick(self) -> None:
        """Renew the date (RFC 9110 §6.6.1)."""
        self.date_line = b"date: " + formatdate(usegmt=True).encode() + b"\r\n"

    def request_id(self) -> str:
        """A new id."""
        last = self._last = (self._last + 1) % 256
        if not last:
            # All but the last digits is formatted once for 256: joining two texts is much quicker than formatting.
            self._block += 1
            self._start = f"{self._prefix}{self._block:08x}"
        return self._start + _LAST_DIGITS[last]
