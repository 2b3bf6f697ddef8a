"""A stream of chunks as Anthropic's events (API reference, "Streaming Messages").

``message_start``, then for each block ``content_block_start``, its deltas and ``content_block_stop``, then
``message_delta`` with the reason and the usage, and ``message_stop``. Blocks never overlap: what comes while
a tool call is not whole waits until it is.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from gateway.protocols.base import Json
from gateway.protocols.calls import made_id
from gateway.protocols.messages.calls import Calls
from gateway.protocols.messages.errors import error_of
from gateway.protocols.messages.response import id_of, sealed, stop_reason, usage_of
from gateway.protocols.sealed import signatures_of

_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
_STOP: Final = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_START: Final = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_END: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class BegunMessage(NamedTuple):
    """What a client has of a Message: whether its ``message_start``, and the index of its ``last`` block, -1 for none.
    ``kind`` is that block's type while it is open, else empty.
    """

    started: bool
    last: int
    kind: str


class MessageEncoder:
    """See :class:`gateway.protocols.base.StreamEncoder`."""

    __slots__ = ("_calls", "_choice", "_held", "_id", "_index", "_kind", "_over", "_started", "_usage")

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._id: Any = None  # as the provider told it
        self._kind = ""  # of the open block: text, thinking or tool; empty for none
        self._index = -1  # of the last block that was opened
        self._calls = Calls()
        self._held: list[Json] = []  # deltas that wait for the call whose block is open
        self._choice: Json = {}
        self._usage: Json = {}

    def go_on(self, begun: BegunMessage) -> None:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        self._started = begun.started
        self._index = begun.last
        self._kind = begun.kind

    def feed(self, chunk: Json) -> bytes:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        if self._over:
            return b""
        out = b"" if self._started else self._message_start(chunk)
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        if not choices or choices[0].get("index"):
            return out
        choice = choices[0]
        delta = choice.get("delta")
        if delta:
            text = delta.get("content")
            # Nearly every chunk is a piece of text alone.
            plain = text and len(delta) == 1 and self._kind != "tool"
            out += self._text(text) if plain else self._delta(delta)
        if choice.get("finish_reason") is not None:
            self._choice = choice
        return out

    def end(self) -> bytes:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        if self._over:
            return b""
        out = b"" if self._started else self._message_start({})
        out += self._close() + self._unheld() + self._next_calls(at_end=True) + self._close()
        delta = {
            "stop_reason": stop_reason(self._choice, bool(self._calls.known)),
            "stop_sequence": self._choice.get("stop_sequence"),
        }
        out += _event("message_delta", {"delta": delta, "usage": usage_of(self._usage)})
        return out + _END

    def error(self, status: int, envelope: Json, request_id: str) -> bytes:
        """See :class:`gateway.protocols.base.StreamEncoder`."""
        self._over = True
        return b"event: error\ndata: " + orjson.dumps(error_of(status, envelope, request_id)) + b"\n\n"

    def _message_start(self, chunk: Json) -> bytes:
        self._started = True
        self._id = chunk.get("id")
        message: Json = {
            "id": id_of(self._id),
            "type": "message",
            "role": "assistant",
            "model": chunk.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of({}),
        }
        return _event("message_start", {"message": message})

    def _delta(self, delta: Json) -> bytes:
        calls = delta.get("tool_calls") or ()
        signed = signatures_of(calls)
        rest = {name: value for name, value in delta.items() if value and name not in ("tool_calls", "role")}
        if signed:
            rest["signed"] = signed
        out = b""
        if rest and self._calls.may_go_on:
            self._held.append(rest)
        elif rest:
            out += self._said(rest)
        for call in calls:
            out += self._call(call)
        return out + self._unheld() if self._held else out

    def _unheld(self) -> bytes:
        """What waited for a call, once that is whole."""
        if self._calls.may_go_on:
            return b""
        held, self._held = self._held, []
        return b"".join([self._said(delta) for delta in held])

    def _said(self, delta: Json) -> bytes:
        """All that a delta says beside calls."""
        out = b""
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought and isinstance(thought, str):
            out += self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            out += self._piece({"type": "thinking_delta", "thinking": thought})
        for block in delta.get("thinking_blocks") or ():
            out += self._thought(block)
        text = delta.get("content") or delta.get("refusal")
        if text:
            out += self._text(text)
        for cited in delta.get("citations") or ():
            citation = cited.get("citation") or {}
            if self._kind == "text" and str(citation.get("type")).endswith("_location"):  # another vendor's are none
                out += self._piece({"type": "citations_delta", "citation": citation})
        if "signed" in delta:
            out += self._whole(sealed(delta["signed"]))
        own = delta.get("provider_blocks")
        if isinstance(own, dict) and own.get("vendor") == "anthropic":
            for block in own.get("blocks") or ():
                out += self._whole(block)
        return out

    def _text(self, text: str) -> bytes:
        out = b"" if self._kind == "text" else self._open("text", {"type": "text", "text": ""})
        return out + _DELTA % (self._index, orjson.dumps({"type": "text_delta", "text": text}))

    def _thought(self, block: Json) -> bytes:
        """A thought that is complete: its text has come before, its signature has not."""
        if block.get("type") != "thinking":
            return self._whole({name: value for name, value in block.items() if name != "index"})
        out = b""
        if self._kind != "thinking":
            out += self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            if block.get("thinking"):
                out += self._piece({"type": "thinking_delta", "thinking": block["thinking"]})
        if block.get("signature"):
            out += self._piece({"type": "signature_delta", "signature": block["signature"]})
        return out + self._close()

    def _call(self, call: Json) -> bytes:
        piece = self._calls.take(call)
        if piece is not None:  # of the call whose block is open
            out = _DELTA % (self._index, _input(piece)) if piece else b""
            return out + self._next_calls()
        return self._next_calls()

    def _next_calls(self, *, at_end: bool = False) -> bytes:
        """Begin the block of a call that waits, where none is open that may go on."""
        out = b""
        while (call := self._calls.next(at_end=at_end)) is not None:
            id = call.id or made_id("toolu_", self._id, call.number)
            out += self._close()
            out += self._open("tool", {"type": "tool_use", "id": id, "name": call.name, "input": {}})
            self._calls.open = call
            if call.arguments:
                out += _DELTA % (self._index, _input("".join(call.arguments)))
        return out

    def _whole(self, block: Json) -> bytes:
        """A block that is complete; the input of a tool comes as a delta even so."""
        given = block.get("input")
        out = self._close()
        out += self._open("whole", {**block, "input": {}} if given else block)
        if given:
            out += _DELTA % (self._index, _input(orjson.dumps(given).decode()))
        return out + self._close()

    def _open(self, kind: str, block: Json) -> bytes:
        if self._kind == kind:
            return b""
        out = self._close()
        self._kind = kind
        self._index += 1
        return out + _START % (self._index, orjson.dumps(block))

    def _piece(self, delta: Json) -> bytes:
        return _DELTA % (self._index, orjson.dumps(delta))

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        self._kind = ""
        self._calls.close()
        return _STOP % self._index


def _input(piece: str) -> bytes:
    return orjson.dumps({"type": "input_json_delta", "partial_json": piece})


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **fields}))
