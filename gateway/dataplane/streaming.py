"""Server-sent events from an upstream: cut into whole events, watched for usage and for the end.

Events end with a blank line: ``\\n\\n``, ``\\r\\n\\r\\n`` or ``\\r\\r`` (WHATWG HTML §9.2.6). Bytes are passed on as
they are; only an event of usage the client didn't ask for is taken out.
"""

from __future__ import annotations

import re

import msgspec

from gateway.contract.usage import Tokens
from gateway.dataplane.usage import read_answer
from gateway.plugin.sse import data_of, split_events

MAX_EVENT_BYTES = 16_777_216
"""An event larger than this is a fault of the upstream: it would be held in memory whole."""

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)")
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DONE = re.compile(rb"^data: ?\[DONE\]\s*$", re.MULTILINE)


class OversizedEvent(Exception):
    """An event grew past ``MAX_EVENT_BYTES``."""


class EventStream:
    """The state of one relayed stream.

    ``tokens`` is the last usage seen, ``events`` the number of whole events, ``done`` whether ``[DONE]`` came,
    ``failed`` whether the upstream reported an error inside the stream.
    """

    __slots__ = ("_held", "_hide_usage", "_parts", "done", "events", "failed", "tokens")

    def __init__(self, hide_usage: bool) -> None:
        self._hide_usage = hide_usage
        self._parts: list[bytes] = []
        self._held = 0
        self.tokens: Tokens | None = None
        self.events = 0
        self.done = False
        self.failed = False

    @property
    def partial(self) -> bytes:
        """An event that has begun and not ended."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> bytes:
        """Whole events to pass on, out of the next bytes. Raises :class:`OversizedEvent`."""
        # Nearly always an upstream writes whole events, and then nothing needs cutting.
        if self._parts or not data.endswith((b"\n\n", b"\r\n\r\n")):
            data = self._cut(data)
            if not data:
                return data
        self.events += data.count(b"data:")
        if b'"usage"' in data and _USAGE.search(data) is not None:
            data = self._read_usage(data)
        if data.startswith(b'data: {"error"') or b'\ndata: {"error"' in data:
            self.failed = True
        if b"[DONE]" in data and _DONE.search(data) is not None:
            self.done = True
        return data

    def _cut(self, data: bytes) -> bytes:
        # Only the new bytes are searched, with the few before them that may hold half a terminator: a large event
        # that comes in many pieces costs its length, not its square.
        tail = self._parts[-1][-3:] if self._parts else b""
        end = 0
        for match in _BLANK_LINE.finditer(tail + data):
            end = match.end()
        end -= len(tail)
        if end <= 0:
            self._hold(data)
            return b""
        whole = b"".join((*self._parts, data[:end]))
        self._parts.clear()
        self._held = 0
        if end < len(data):
            self._hold(data[end:])
        return whole

    def _hold(self, data: bytes) -> None:
        self._held += len(data)
        if self._held > MAX_EVENT_BYTES:
            raise OversizedEvent
        if len(data) < 4 and self._parts:
            data = self._parts.pop() + data  # so that the last part always reaches back far enough
        self._parts.append(data)

    def _read_usage(self, data: bytes) -> bytes:
        kept = []
        for event in split_events(data):
            if _USAGE.search(event) is not None and not self._keep(event):
                continue
            kept.append(event)
        return b"".join(kept)

    def _keep(self, event: bytes) -> bool:
        payload = data_of(event)
        try:
            tokens, has_choices = read_answer(payload or b"")
        except msgspec.DecodeError:
            return True
        if tokens is None:
            return True
        self.tokens = tokens
        return has_choices or not self._hide_usage
