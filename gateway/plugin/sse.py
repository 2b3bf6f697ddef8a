"""Server-sent events as plugins handle them: whole events as bytes, terminators included.

Framing is that of the HTML Living Standard, section 9.2.6: lines end in CR LF, LF or CR, and a blank line ends an
event.
"""

from __future__ import annotations

import re
from typing import Final

DONE: Final = b"[DONE]"

_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")
_LINE: Final = re.compile(rb"\r\n|\n|\r")


def split_events(block: bytes) -> list[bytes]:
    """The events of a block one by one; bytes after the last terminator come as a last item."""
    if b"\r" not in block:  # nearly always, and many times faster than looking for every kind of line end
        events = [part + b"\n\n" for part in block.split(b"\n\n")]
        last = events.pop()[:-2]
        return [*events, last] if last else events
    events = []
    start = 0
    for end in _END.finditer(block):
        events.append(block[start : end.end()])
        start = end.end()
    if start < len(block):
        events.append(block[start:])
    return events


def data_of(event: bytes) -> bytes | None:
    """The data of an event, its lines joined by LF; None for a comment or an event without data."""
    if event.startswith(b"data:"):
        end = event.find(b"\n")
        line = event[5:end].removesuffix(b"\r")
        if event[end:] in (b"\n\n", b"\n\r\n"):
            return line.removeprefix(b" ")
    elif b"\r" not in event and event.endswith(b"\n\n"):
        begin = event.find(b"\n") + 1
        if event.startswith(b"event: ") and event.startswith(b"data: ", begin):
            line = event[begin + 6 : -2]
            if b"\n" not in line:
                return line
    lines = [line[5:].removeprefix(b" ") for line in _LINE.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data (one line), its ``event``, ``id`` and other fields kept."""
    others = [line for line in _LINE.split(event) if line and not line.startswith((b"data:", b":"))]
    return b"\n".join([*others, b"data: " + data]) + b"\n\n"
