"""Server-sent events from an upstream: cut into whole events, watched for usage and for the end.

Events end with a blank line: ``\\n\\n``, ``\\r\\n\\r\\n`` or ``\\r\\r`` (WHATWG HTML §9.2.6). Bytes are passed on as
they are; only an event of usage the client didn't ask for is taken out.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gateway.contract.usage import Tokens
from gateway.dataplane.counting.wire import Produced
from gateway.dataplane.soundness import before_error
from gateway.dataplane.usage import read_answer
from gateway.dataplane.vendors import LOCAL, UNKNOWN, Vendor
from gateway.plugin.sse import data_of, split_events

MAX_EVENT_BYTES = 16_777_216
"""An event larger than this is a fault of the upstream: it would be held in memory whole."""

KEPT: Final = 32_768
"""Bytes of events that are kept as they came, of those no usage tells of."""
MOST_TEXT: Final = 262_144
"""Bytes of their text that are kept; of what is more, only how much it is."""

END_MARK: Final = b"data: [DONE]\n\n"
"""How a stream of OpenAI's API ends."""

_SHORTEST: Final = 64  # bytes of an event with text; [DONE] has less
_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)|\n\r\n")
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_STRING: Final = rb'\s*:\s*"([^"\\]+(?:\\.[^"\\]*)*|(?:\\.[^"\\]*)+)"'
_WHOLE_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BACKSLASH: Final = ord("\\")
_CHAT_TEXT: Final = re.compile(rb'"(content|refusal|arguments|reasoning_content|reasoning)"' + _STRING)
_TEXT: Final = re.compile(rb'"(text)"' + _STRING)
_DONE: Final = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\][ \t]*(?:[\r\n]|$)")
_ERROR: Final = re.compile(rb'(?:^|[\r\n])data: ?\{\s*"error"\s*:\s*[{"]')


class OversizedEvent(Exception):
    """An event grew past ``MAX_EVENT_BYTES``."""


class EventStream:
    """The state of one relayed stream.

    ``tokens`` is the last usage seen, ``summed`` whether it came in an event of its own, as at a stream's end,
    ``events`` the number of whole events, ``done`` whether ``[DONE]`` came, ``failed`` whether the upstream reported an
    error inside the stream, ``end_mark`` how such a stream ends. What came since the last usage is kept:
    :meth:`unread`.
    """

    __slots__ = (
        "_endpoint",
        "_held",
        "_hide_usage",
        "_kept",
        "_kept_bytes",
        "_lost",
        "_pattern",
        "_text",
        "_thoughts",
        "_vendor",
        "done",
        "end_mark",
        "events",
        "failed",
        "summed",
        "tokens",
    )

    def __init__(self, hide_usage: bool, vendor: Vendor = UNKNOWN, endpoint: str = "") -> None:
        self._hide_usage = hide_usage
        self._vendor = vendor
        self._endpoint = endpoint
        self._held = bytearray()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._text = bytearray()
        self._thoughts = bytearray()
        self._lost = 0
        self._pattern = _TEXT if endpoint == "completions" else _CHAT_TEXT
        self.tokens: Tokens | None = None
        self.summed = False
        self.events = 0
        self.done = False
        self.failed = False
        self.end_mark = END_MARK

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
        if b'"usage"' in data and _tells_usage(data):
            data = self._read_usage(data)
        else:
            self._keep(data)
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
        passed = []
        for event in split_events(data):
            if _USAGE.search(event) is None:
                self._keep(event)
                passed.append(event)
            elif self._is_shown(event):
                passed.append(event)
        return b"".join(passed)

    def _is_shown(self, event: bytes) -> bool:
        """Read an event that seems to tell usage; gives whether the client is to see it."""
        of_ours = self._vendor is LOCAL and event.startswith(b":")  # see gateway.local.http.Exchange.event
        payload = event[1:] if of_ours else data_of(event)
        try:
            tokens, has_choices = read_answer(payload or b"", self._vendor, self._endpoint)
        except msgspec.DecodeError:
            tokens, has_choices = None, True
        if tokens is None:
            self._keep(event)
            return not of_ours
        self.tokens = tokens
        self.summed = not has_choices and not of_ours
        self._forget()
        return has_choices or not (self._hide_usage or of_ours)

    # what no usage tells of

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > KEPT:
            self._condense()

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
        if self._text or self._thoughts:
            self._text.clear()
            self._thoughts.clear()
            self._lost = 0

    def _condense(self) -> None:
        """Keep of whole events the text alone, a tenth of them."""
        events = b"".join(self._kept)
        self._kept.clear()
        self._kept_bytes = 0
        found = plain_content(events) if self._pattern is _CHAT_TEXT else None
        for name, text in self._pattern.findall(events) if found is None else ((b"", found),):
            if len(self._text) + len(self._thoughts) >= MOST_TEXT:
                self._lost += len(text)
            elif name.startswith((b"reasoning", b"thinking")):
                self._thoughts += text
            else:
                self._text += text

    def unread(self) -> Produced | None:
        """What has come since the last usage, None where that is no text."""
        if self._kept_bytes < _SHORTEST and not self._text and not self._thoughts:
            return None
        events = b"".join(self._kept)
        if not self._text and not self._thoughts and self._pattern.search(events) is None:
            return None
        return Produced(events, False, bytes(self._text), bytes(self._thoughts), self._lost)


def _tells_usage(data: bytes) -> bool:
    # Without a pattern where that can be: OpenAI's events all have a usage, which is null in all but the last.
    return b'"usage":{' in data or (
        data.count(b'"usage"') != data.count(b'"usage":null') and _USAGE.search(data) is not None
    )


def plain_content(events: bytes) -> bytes | None:
    """The text of events that have no other kind of text, else None: what the pattern finds, several times as fast."""
    if b'"reasoning' in events or b'"arguments"' in events or b'"refusal":"' in events:
        return None
    texts = []
    for piece in events.split(b'"content":')[1:]:
        if not piece.startswith(b'"'):
            if not piece.startswith(b"null"):
                return None
            continue
        end = piece.find(b'"', 1)
        if piece[end - 1] == _BACKSLASH:
            match = _WHOLE_STRING.match(piece)
            if match is None:
                return None
            end = match.end() - 1
        texts.append(piece[1:end])
    return b"".join(texts)
