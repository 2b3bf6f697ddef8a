"""Server-sent events out of the bytes of a stream (HTML Living Standard, section 9.2.6)."""

from __future__ import annotations

import re
from typing import Final

MAX_EVENT_BYTES: Final = 16_777_216
"""An event larger than this is a fault of the upstream: it would be held in memory whole."""

_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)|\n\r\n")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_TAIL: Final = 3  # bytes before the new ones that may hold half a terminator


class SseFrames:
    """Cuts server-sent events, each with its terminator. See :class:`gateway.providers.base.Frames`."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """See :class:`gateway.providers.base.Frames`."""
        held = self._held
        if not held and b"\r" not in data and data.endswith(b"\n\n"):
            return [part + b"\n\n" for part in data.split(b"\n\n")[:-1]]
        begin = max(0, len(held) - _TAIL)
        held += data
        events = []
        start = 0
        for match in _END.finditer(held, begin):
            events.append(bytes(held[start : match.end()]))
            start = match.end()
        del held[:start]
        if len(held) > MAX_EVENT_BYTES:
            raise ValueError("an event is too large")
        return events

    def end(self) -> list[bytes]:
        """See :class:`gateway.providers.base.Frames`."""
        left = bytes(self._held)
        self._held.clear()
        return [left + b"\n\n"] if left.strip() else []


def data_of(event: bytes) -> bytes:
    """The data of an event, its lines joined by LF; empty for a comment or an event without data."""
    if b"\r" not in event:
        start = 0 if event.startswith(b"data:") else event.find(b"\ndata:") + 1
        if start or event.startswith(b"data:"):
            end = event.find(b"\n", start)
            line = event[start + 5 : end if end >= 0 else len(event)]
            if event.find(b"\ndata:", start + 1) < 0:
                return line.removeprefix(b" ")
    lines = [line[5:].removeprefix(b" ") for line in _LINE.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines)
