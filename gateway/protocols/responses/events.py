"""The typed events of a streamed Response, as server-sent events.

Each has ``type`` and ``sequence_number``, which counts from 0 without a gap. Source: OpenAI API reference,
"Streaming events".
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from gateway.protocols.base import Json

encode: Final = msgspec.json.Encoder().encode

_PAD: Final = 16  # a padded delta's length is a multiple of this, so that it doesn't tell the delta's own


class Events:
    """Events that wait to be taken, and the number of the next one. ``obfuscate``: deltas are padded."""

    __slots__ = ("_made", "_obfuscate", "next")

    def __init__(self, obfuscate: bool = False) -> None:
        self._made: list[bytes] = []
        self._obfuscate = obfuscate
        self.next = 0

    def add(self, kind: str, fields: Json) -> None:
        """An event of the type ``kind``."""
        body = encode({"type": kind, "sequence_number": self.next, **fields})
        self._made.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), body))
        self.next += 1

    def delta(self, head: bytes, text: str, rest: bytes = b"") -> None:
        """The next piece of a text. ``head`` is from :func:`delta_head`, ``rest`` further members, each with its comma
        before it. Raises :class:`TypeError` for a text that is none.
        """
        if type(text) is not str:
            raise TypeError(f"a text was expected, not {type(text).__name__}")
        if self._obfuscate:
            padding = secrets.token_urlsafe(_PAD)[: _PAD - len(text) % _PAD]
            rest = b'%b,"obfuscation":"%b"' % (rest, padding.encode())
        self._made.append(b'%b%b%b,"sequence_number":%d}\n\n' % (head, encode(text), rest, self.next))
        self.next += 1

    def take(self) -> bytes:
        """What was made since the last time."""
        made = self._made
        if len(made) == 1:
            return made.pop()
        taken = b"".join(made)
        made.clear()
        return taken


def delta_head(kind: str, place: Json) -> bytes:
    """The bytes of a delta event up to its text: they are the same for all deltas of one text."""
    fields = encode({"type": kind, **place})[:-1]
    return b'event: %b\ndata: %b,"delta":' % (kind.encode(), fields)
