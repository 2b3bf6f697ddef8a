"""Server-sent events from an upstream: cut into whole events, watched for usage and for the end.

Events end with a blank line: ``\\n\\n``, ``\\r\\n\\r\\n`` or ``\\r\\r`` (WHATWG HTML §9.2.6). Bytes are passed on as
they are; only an event of usage the client didn't ask for is taken out.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gateway.contract.usage import Tokens
from gateway.dataplane.soundness import before_error
from gateway.dataplane.usage import read_answer
from gateway.plugin.sse import data_of, split_events

MAX_EVENT_BYTES = 16_777_216
"""An event larger than this is a fault of the upstream: it would be held in memory whole."""

_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)|\n\r\n")
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_DONE: Final = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\][ \t]*(?:[\r\n]|$)")
_ERROR: Final = re.compile(rb'(?:^|[\r\n])data: ?\{\s*"error"\s*:\s*[{"]')


class OversizedEvent(Exception):
    """An event grew past ``MAX_EVENT_BYTES``."""


class EventStream:
    """The state of one relayed stream.

    ``tokens`` is the last usage seen, ``summed`` whether it came in an event of its own, as at a stream's end,
    ``events`` the number of whole events, ``done`` whether ``[DONE]`` came, ``failed`` whether the upstream reported an
    error inside the stream.
    """

    __slots__ = ("_held", "_hide_usage", "done", "events", "failed", "summed", "tokens")

    def __init__(self, hide_usage: bool) -> None:
        self._hide_usage = hide_usage
        self._held = bytearray()
        self.tokens: Tokens | None = None
        self.summed = False
        self.events = 0
        self.done = False
        self.failed = False

    @property
    def partial(self) -> bytes:
        """An event that has begun and not ended."""
        return bytes(self._held)

    @property
    def unterminated_done(self) -> bool:
        """Whether ``[DONE]`` has come without the blank line that ends an event."""
        return len(self._held) < 64 and _DONE.search(self._held) is not None

    def feed(self, data: bytes) -> bytes:
        """Whole events to pass on, out of the next bytes. Raises :class:`OversizedEvent`."""
        # Nearly always an upstream writes whole events, and then nothing needs cutting.
        if self._held or not data.endswith((b"\n\n", b"\r\n\r\n")):
            data = self._cut(data)
            if not data:
                return data
        self.events += data.count(b"data:")
        if b'"usage"' in data and (b'"usage":{' in data or _USAGE.search(data) is not None):
            data = self._read_usage(data)
        if b'"error"' in data and (_ERROR.search(data) is not None or before_error(data)[1]):
            self.failed = True
        if b"[DONE]" in data and _DONE.search(data) is not None:
            self.done = True
        return data

    def _cut(self, data: bytes) -> bytes:
        # Only the new bytes are searched, with the few before them that may hold half a terminator: a large event
        # that comes in many pieces costs its length, not its square.
        held = self._held
        tail = bytes(held[-3:])
        end = 0
        for match in _BLANK_LINE.finditer(tail + data):
            end = match.end()
        end -= len(tail)
        if end <= 0:
            self._hold(data)
            return b""
        whole = bytes(held) + data[:end]
        held.clear()
        if end < len(data):
            self._hold(data[end:])
        return whole

    def _hold(self, data: bytes) -> None:
        if len(self._held) + len(data) > MAX_EVENT_BYTES:
            raise OversizedEvent
        self._held += data

    def _read_usage(self, data: bytes) -> bytes:
        return b"".join([event for event in split_events(data) if b'"usage"' not in event or self._keep(event)])

    def _keep(self, event: bytes) -> bool:
        if _USAGE.search(event) is None:
            return True
        payload = data_of(event)
        try:
            tokens, has_choices = read_answer(payload or b"")
        except msgspec.DecodeError:
            return True
        if tokens is None:
            return True
        self.tokens = tokens
        self.summed = not has_choices
        return has_choices or not self._hide_usage
