"""Mock upstreams of the APIs that are translated, each below its kind's name, as cheap as :mod:`benchmarks.upstream`.

``python -m benchmarks.vendors`` serves until SIGTERM. A model whose name holds ``many`` streams :data:`MANY` pieces of
text, any other :data:`FEW`, each a write of its own. Shapes are those of the vendors' API references: Anthropic
"Streaming messages", Google "Generate content", Amazon Bedrock "ConverseStream" (frames: "Amazon event stream
encoding"), Cohere "Chat with streaming".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any
from zlib import crc32

import uvloop

from benchmarks import answers
from benchmarks.upstream import NOT_FOUND, STREAM, Upstream, framed, serve, whole

FEW, MANY = 35, 135
KINDS = ("openai", "anthropic", "gemini", "bedrock", "cohere")
_READ, _MADE = answers.USAGE["prompt_tokens"], answers.USAGE["completion_tokens"]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
_CLAUDE_USAGE = {"input_tokens": _READ, "output_tokens": _MADE}
_GEMINI_USAGE = {"promptTokenCount": _READ, "candidatesTokenCount": _MADE, "totalTokenCount": _READ + _MADE}
_BEDROCK_USAGE = {"inputTokens": _READ, "outputTokens": _MADE, "totalTokens": _READ + _MADE}
_COHERE_USAGE = {"billed_units": {"input_tokens": _READ, "output_tokens": _MADE}, "tokens": _CLAUDE_USAGE}


def pieces(count: int) -> Iterator[str]:
    """``count`` words."""
    return islice(cycle(f"{word} " for word in answers.TEXT.split(" ")), count)


def openai(count: int) -> tuple[bytes, list[bytes]]:
    """The whole answer, and the events of a stream."""
    chunks = [answers.chunk({"content": piece}) for piece in pieces(count)]
    told = [answers.chunk({"role": "assistant", "content": ""}), *chunks, answers.chunk({}, "stop")]
    return answers.completion(), [*map(answers.event, told), answers.usage_event(), answers.DONE]


def anthropic(count: int) -> tuple[bytes, list[bytes]]:
    """As :func:`openai`."""
    message: dict[str, Any] = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": answers.MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_CLAUDE_USAGE, "output_tokens": 1},
    }
    text: dict[str, Any] = {"type": "text", "text": ""}
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": text},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces(count)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": _MADE},
        },
        {"type": "message_stop"},
    ]
    content = [{**text, "text": answers.TEXT}]
    full = {**message, "content": content, "stop_reason": "end_turn", "usage": _CLAUDE_USAGE}
    return answers.encode(full), [b"event: %b\n" % each["type"].encode() + answers.event(each) for each in told]


def gemini(count: int) -> tuple[bytes, list[bytes]]:
    """As :func:`openai`."""

    def told(text: str, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}
        return {
            "candidates": [candidate],
            "usageMetadata": _GEMINI_USAGE,
            "modelVersion": answers.MODEL,
            "responseId": "bench",
        }

    events = [*(told(piece) for piece in pieces(count)), told("", finishReason="STOP")]
    full = answers.encode(told(answers.TEXT, finishReason="STOP"))
    return full, [b"data: " + answers.encode(each) + b"\r\n\r\n" for each in events]


def bedrock(count: int) -> tuple[bytes, list[bytes]]:
    """As :func:`openai`, in frames."""
    told: list[tuple[str, dict[str, Any]]] = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}) for piece in pieces(count)),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": _BEDROCK_USAGE, "metrics": {"latencyMs": 1}}),
    ]
    message = {"role": "assistant", "content": [{"text": answers.TEXT}]}
    full = {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": _BEDROCK_USAGE,
        "metrics": {"latencyMs": 1},
    }
    return answers.encode(full), [_frame(name, answers.encode(each)) for name, each in told]


def cohere(count: int) -> tuple[bytes, list[bytes]]:
    """As :func:`openai`."""
    end = {"finish_reason": "COMPLETE", "usage": _COHERE_USAGE}
    told: list[dict[str, Any]] = [
        {"type": "message-start", "id": "bench", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        *(
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}}
            for piece in pieces(count)
        ),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "id": "bench", "delta": end},
    ]
    message = {"role": "assistant", "content": [{"type": "text", "text": answers.TEXT}]}
    full = answers.encode({"id": "bench", "message": message, **end})
    return full, [b"event: %b\n" % each["type"].encode() + answers.event(each) for each in told]


def _frame(name: str, payload: bytes) -> bytes:
    named = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes((len(key),)) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in named.items()
    )
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    data = head + struct.pack(">I", crc32(head)) + headers + payload
    return data + struct.pack(">I", crc32(data))


_MAKE = dict(zip(KINDS, (openai, anthropic, gemini, bedrock, cohere), strict=True))
_END = b"0\r\n\r\n"
_WHOLE = {kind.encode(): whole(make(FEW)[0]) for kind, make in _MAKE.items()}
_EVENTS = {
    (kind.encode(), count): (*map(framed, make(count)[1]), _END)
    for kind, make in _MAKE.items()
    for count in (FEW, MANY)
}
_TYPES = {b"bedrock": b"application/vnd.amazon.eventstream"}


class Vendors(Upstream):
    """One connection, to any of them."""

    __slots__ = ()

    def on_message_complete(self) -> None:
        """A whole request was read."""
        kind = self._url.split(b"/", 2)[1]
        if kind not in _WHOLE:
            self._transport.write(NOT_FOUND)
            return
        self._stats.requests += 1
        if b"tream" not in self._url and STREAM.search(self._body) is None:
            self._transport.write(_WHOLE[kind])
            return
        self._stats.streams += 1
        self._stats.open += 1
        self._transport.write(_HEAD % _TYPES.get(kind, b"text/event-stream"))
        self._stream = _EVENTS[kind, MANY if b"many" in self._url or b"many" in self._body else FEW]
        self._loop.call_soon(self._next, 0)


if __name__ == "__main__":
    uvloop.run(serve(0, Vendors))
