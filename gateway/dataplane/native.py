"""Streams that are relayed in another protocol than OpenAI's, as they come: watched for usage and for the end."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import orjson

from gateway.dataplane.counting.wire import Produced
from gateway.dataplane.streaming import EventStream
from gateway.dataplane.usage import read_answer
from gateway.dataplane.vendors import Vendor
from gateway.plugin.sse import data_of, split_events

_STOP: Final = re.compile(rb"(?:^|[\r\n])event: ?message_stop[ \t]*[\r\n]")
_ERROR: Final = re.compile(rb"(?:^|[\r\n])event: ?error[ \t]*[\r\n]")
_TEXT: Final = re.compile(
    rb'"(text|thinking|partial_json)"\s*:\s*"([^"\\]+(?:\\.[^"\\]*)*|(?:\\.[^"\\]*)+)"'  # as JSON spells strings
)
_OVER: Final = re.compile(rb"(?:^|[\r\n])event: ?(?:response\.(?:completed|incomplete|failed)|error)[ \t]*[\r\n]")
_PIECE: Final = b"event: response.output_text.delta\n"
_FAILED: Final = re.compile(rb"(?:^|[\r\n])event: ?(?:response\.failed|error)[ \t]*[\r\n]")
_DELTA: Final = re.compile(rb'"(delta)"\s*:\s*"([^"\\]+(?:\\.[^"\\]*)*|(?:\\.[^"\\]*)+)"')
_END: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class MessageEvents(EventStream):
    """Anthropic's events. The usage comes in two parts, of which the later completes the earlier one."""

    __slots__ = ("_usage",)

    def __init__(self, vendor: Vendor, endpoint: str) -> None:
        super().__init__(False, vendor, endpoint)
        self._usage: dict[str, Any] = {}
        self._pattern = _TEXT
        self.end_mark = _END

    def feed(self, data: bytes) -> bytes:
        """As :meth:`EventStream.feed`."""
        if self._held or not data.endswith((b"\n\n", b"\r\n\r\n")):
            data = self._cut(data)
            if not data:
                return data
        self.events += data.count(b"data:")
        if b'"usage"' in data:
            for event in split_events(data):
                if b'"usage"' not in event or not self._read_native(event):
                    self._keep(event)
        else:
            self._keep(data)
        if b"message_stop" in data and _STOP.search(data) is not None:
            self.done = True
        if b"event: error" in data and _ERROR.search(data) is not None:
            self.failed = True
        return data

    def _read_native(self, event: bytes) -> bool:
        """Whether the event told usage."""
        try:
            document = orjson.loads(data_of(event) or b"null")
        except orjson.JSONDecodeError:
            return False
        kind = document.get("type") if isinstance(document, dict) else None
        if kind == "message_start" and isinstance(document.get("message"), dict):
            usage = document["message"].get("usage")
        elif kind == "message_delta":
            usage = document.get("usage")
        else:
            return False
        if not isinstance(usage, dict):
            return False
        self._usage |= {name: value for name, value in usage.items() if value is not None}
        try:
            self.tokens = read_answer(orjson.dumps({"usage": self._usage}), self._vendor, self._endpoint)[0]
        except msgspec.DecodeError:
            return False
        self.summed = kind == "message_delta"
        self._forget()
        return True

    def unread(self) -> Produced | None:
        """As :meth:`EventStream.unread`; only the text is told, which is read here."""
        self._condense()
        if not self._text and not self._thoughts:
            return None
        return Produced(b"", False, bytes(self._text), bytes(self._thoughts), self._lost)


class ResponseEvents(EventStream):
    """OpenAI's events of the Responses API. The usage is in the last one."""

    __slots__ = ()

    def __init__(self, vendor: Vendor, endpoint: str) -> None:
        super().__init__(False, vendor, endpoint)
        self._pattern = _DELTA
        self.end_mark = b""

    def feed(self, data: bytes) -> bytes:
        """As :meth:`EventStream.feed`."""
        if self._held or not data.endswith((b"\n\n", b"\r\n\r\n")):
            data = self._cut(data)
            if not data:
                return data
        self.events += data.count(b"data:")
        if (data.startswith(_PIECE) and data.count(b"event:") == 1) or _OVER.search(data) is None:
            self._keep(data)
            return data
        for event in split_events(data):
            if _OVER.search(event) is None:
                self._keep(event)
            else:
                self.done = True
                self.failed = self.failed or _FAILED.search(event) is not None
                self._read_end(event)
        return data

    def _read_end(self, event: bytes) -> None:
        try:
            document = orjson.loads(data_of(event) or b"null")
        except orjson.JSONDecodeError:
            return
        response = document.get("response") if isinstance(document, dict) else None
        usage = response.get("usage") if isinstance(response, dict) else None
        if isinstance(usage, dict):
            try:
                self.tokens = read_answer(orjson.dumps({"usage": usage}), self._vendor, self._endpoint)[0]
            except msgspec.DecodeError:
                return
            self.summed = True
            self._forget()

    def unread(self) -> Produced | None:
        """As :meth:`EventStream.unread`; only the text is told, which is read here."""
        self._condense()
        return Produced(b"", False, bytes(self._text), b"", self._lost) if self._text else None
