"""What a client has of a stream that came to it in its own protocol, so that another target can go on from there.

The events are those of Anthropic's Messages and of OpenAI's Responses (API references, "Streaming Messages" and
"Streaming events"). What is not known here is nothing that a prefill could hold.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.dataplane.transcript import LONGEST, Said
from gateway.plugin.sse import data_of
from gateway.protocols.messages.stream import BegunMessage
from gateway.protocols.responses.begun import BegunMessageItem, BegunResponse

_ITEMS: Final = 1_048_576
"""Bytes of a Response's items that are kept; one with more is not gone on with."""


class NativeSaid(Said):
    """What is told in another protocol than Chat's."""

    __slots__ = ()

    @property
    @abstractmethod
    def begun(self) -> BegunMessage | BegunResponse:
        """What the client's protocol must know to go on."""

    def as_chat(self) -> Said:
        """The same, to be added to by the chunks of whoever goes on."""
        made = Said()
        made._texts, made.length, made.pieces = [self.text], self.length, self.pieces
        made.role, made.finished = True, self.finished
        made.other, made.thought, made.several = self.other, self.thought, self.several
        made.id, made.model = self.id, self.model
        return made


class _Block(Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""


class _Delta(Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    stop_reason: str | None = None


class _Message(Struct):
    id: str | None = None
    model: str | None = None


class _MessageEvent(Struct):
    type: str
    index: int = -1
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None


_decode_message: Final = msgspec.json.Decoder(_MessageEvent).decode
_decode_texts: Final = msgspec.json.Decoder(list[str]).decode
_TEXTS: Final = re.compile(
    rb'event: content_block_delta\ndata: \{"type": ?"content_block_delta", ?"index": ?(\d+), ?"delta": ?'
    rb'\{"type": ?"text_delta", ?"text": ?"([^"\\\n]+(?:\\.[^"\\\n]*)*|(?:\\.[^"\\\n]*)+)"\} *\}\n\n'
)
"""Events that are a piece of a text and nothing more, in the form that Anthropic sends."""


def _texts(events: bytes, index: int) -> list[str] | None:
    """The texts of events that are pieces of the block at ``index`` and nothing else; None where others are among
    them.
    """
    found = _TEXTS.findall(events)
    if not found or events.count(b"\n\n") != len(found) or {at for at, _ in found} != {b"%d" % index}:
        return None
    try:
        return _decode_texts(b'["%b"]' % b'","'.join([text for _, text in found]))
    except msgspec.DecodeError:
        return None


class MessageSaid(NativeSaid):
    """A Message. Its text is that of all its text blocks; ``_kind`` is of the block that is open."""

    __slots__ = ("_index", "_kind")

    def __init__(self) -> None:
        super().__init__()
        self._index = -1
        self._kind = ""

    @property
    def begun(self) -> BegunMessage:
        """See :class:`NativeSaid`."""
        return BegunMessage(self.role, self._index, self._kind)

    def read_all(self, blocks: list[bytes]) -> None:
        """See :meth:`Said.read_all`."""
        # Nearly all of a long answer is pieces of one text, which one look at them all finds several times as fast.
        texts = _texts(b"".join(blocks), self._index) if self._kind == "text" else None
        if texts is None:
            super().read_all(blocks)
            return
        self.pieces += len(texts) - 1
        self.say("".join(texts))

    def read(self, event: bytes) -> None:
        """See :meth:`Said.read`."""
        payload = data_of(event)
        if not payload:
            return
        try:
            told = _decode_message(payload)
        except msgspec.DecodeError:
            self.other = True
            return
        kind = told.type
        if kind == "content_block_delta" and told.delta is not None and told.index == self._index:
            self._delta(told.delta)
        elif kind == "content_block_start" and told.content_block is not None and not self._kind:
            self._start(told.index, told.content_block)
        elif kind == "content_block_stop" and told.index == self._index:
            self._kind = ""
        elif kind == "message_start" and told.message is not None:
            self.role = True
            self.id, self.model = told.message.id, told.message.model
        elif kind == "message_delta" and told.delta is not None:
            self.finished = told.delta.stop_reason or self.finished
        elif kind not in ("ping", "message_stop", "error"):
            self.other = True

    def _start(self, index: int, block: _Block) -> None:
        self._index, self._kind = index, block.type
        if block.type == "text":
            self.say(block.text)
        elif block.type == "thinking":
            self._think(block.thinking)
        elif block.type == "redacted_thinking":
            self.thought = True
        else:
            self.other = True  # a tool's use or its result

    def _delta(self, delta: _Delta) -> None:
        if delta.type == "text_delta" and self._kind == "text":
            self.say(delta.text)
        elif delta.type == "thinking_delta" and self._kind == "thinking":
            self._think(delta.thinking)
        elif delta.type == "signature_delta":
            self.thought = True
        else:
            self.other = True  # a tool's input, a citation

    def _think(self, text: str) -> None:
        if text:
            self.thought = True
            self.pieces += 1


class _Response(Struct):
    id: str | None = None
    created_at: int | float | None = None
    model: str | None = None


class _ResponseEvent(Struct):
    type: str
    sequence_number: int = -1
    output_index: int = -1
    content_index: int = -1
    delta: str = ""
    text: str = ""
    logprobs: list[Any] | None = None
    item: dict[str, Any] | None = None
    part: dict[str, Any] | None = None
    response: _Response | None = None


_decode_response: Final = msgspec.json.Decoder(_ResponseEvent).decode
_SILENT: Final = ("response.queued", "response.output_text.done", "keepalive", "error", "response.failed")
_THOUGHTS: Final = "response.reasoning_"


class ResponseSaid(NativeSaid):
    """A Response. Its text is that of all its messages; the items that are complete are kept as they came."""

    __slots__ = ("_begin", "_created_at", "_items", "_next", "_open", "_parts", "_size")

    def __init__(self) -> None:
        super().__init__()
        self._created_at: int | float | None = None
        self._next = -1
        self._items: list[dict[str, Any]] = []
        self._size = 0
        self._open: dict[str, Any] | None = None  # the item that is under way
        self._parts: list[dict[str, Any]] = []  # of that item, which are complete
        self._begin = -1  # where the text of the part begins that is under way, in characters of the whole

    @property
    def begun(self) -> BegunResponse:
        """See :class:`NativeSaid`."""
        item = None
        if self._open is not None and self._open.get("type") == "message":
            text = None if self._begin < 0 else self.text[self._begin :]
            item = BegunMessageItem(str(self._open.get("id")), self._parts, text)
        return BegunResponse(self.id, self._created_at, self.model, self._next, self._items, item)

    def read(self, event: bytes) -> None:
        """See :meth:`Said.read`."""
        payload = data_of(event)
        if not payload:
            return
        try:
            told = _decode_response(payload)
        except msgspec.DecodeError:
            self.other = True
            return
        self._next = max(self._next, told.sequence_number + 1) if told.sequence_number >= 0 else self._next
        kind = told.type
        if kind == "response.output_text.delta":
            self._say(told)
        elif kind == "response.output_item.added" and told.item is not None:
            self._add(told.output_index, told.item)
        elif kind == "response.output_item.done" and told.item is not None:
            self._end(told.output_index, told.item, len(payload))
        elif kind == "response.content_part.added" and told.part is not None:
            self._begin_part(told)
        elif kind == "response.content_part.done" and told.part is not None:
            self._end_part(told.part)
        elif kind in ("response.created", "response.in_progress") and told.response is not None:
            self.role = True
            self.id, self.model = told.response.id, told.response.model
            self._created_at = told.response.created_at
        elif kind in ("response.completed", "response.incomplete"):
            self.finished = kind
        elif kind.startswith(_THOUGHTS):
            self._think(told)
        elif kind not in _SILENT:
            self.other = True  # a tool's call, a refusal, a citation

    def _say(self, told: _ResponseEvent) -> None:
        if self._begin < 0 or told.output_index != len(self._items) or told.logprobs:
            self.other = True
        self.say(told.delta)

    def _add(self, index: int, item: dict[str, Any]) -> None:
        if self._open is not None or index != len(self._items) or item.get("type") not in ("message", "reasoning"):
            self.other = True
        self.thought = self.thought or item.get("type") == "reasoning"
        self._open = item

    def _end(self, index: int, item: dict[str, Any], size: int) -> None:
        self._size += size
        if self._open is None or index != len(self._items) or self._size > _ITEMS:
            self.other = True
            return
        self._items.append(item)
        self._open = None
        self._parts = []

    def _begin_part(self, told: _ResponseEvent) -> None:
        assert told.part is not None
        kind = told.part.get("type")
        if kind == "reasoning_text":
            return
        if kind != "output_text" or told.content_index != len(self._parts) or self._begin >= 0:
            self.other = True  # a refusal
            return
        self._begin = min(self.length, LONGEST)

    def _end_part(self, part: dict[str, Any]) -> None:
        if part.get("type") == "output_text":
            self._parts.append(part)
            self._begin = -1

    def _think(self, told: _ResponseEvent) -> None:
        self.thought = True
        if told.delta:
            self.pieces += 1
