"""A streamed Message as chunks (API reference, "Streaming Messages")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from gateway.providers.anthropic.errors import error_chunk
from gateway.providers.anthropic.response import citations_of, finish_of, told_of
from gateway.providers.anthropic.usage import usage_of
from gateway.providers.base import Json
from gateway.providers.frames import data_of


class MessageStream:
    """See :class:`gateway.providers.base.StreamTranslator`."""

    __slots__ = ("_answer_tool", "_blocks", "_calls", "_finished", "_head", "_length", "_pieces", "_usage", "done")

    def __init__(self, memo: Any) -> None:
        self.done = False
        self._answer_tool: str | None = memo.answer_tool
        self._head: Json = {"id": None, "object": "chat.completion.chunk", "created": memo.created, "model": None}
        self._usage: Json = {}
        self._blocks: dict[int, Json] = {}  # those that are open, by their index
        self._pieces: dict[int, list[str]] = {}  # of a thought, or of a block's input
        self._calls: dict[int, int] = {}  # a tool call's number, by its block's index
        self._finished = False
        self._length = 0  # characters of text so far

    def feed(self, event: bytes) -> list[Json]:
        """See :class:`gateway.providers.base.StreamTranslator`."""
        payload = data_of(event)
        if not payload:
            return []
        document = orjson.loads(payload)
        try:
            handler = _HANDLERS.get(document["type"])
            return [] if handler is None else handler(self, document)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the upstream sent an event that is none of its API: {error}") from None

    def end(self) -> list[Json]:
        """The usage, where the answer has ended and only the last event is missing."""
        return self._message_stop({}) if self._finished and not self.done else []

    def _chunk(self, delta: Json) -> list[Json]:
        return [{**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}]

    def _message_start(self, document: Json) -> list[Json]:
        message = document["message"]
        self._head["id"], self._head["model"] = message.get("id"), message.get("model")
        self._usage = dict(message.get("usage") or {})
        return self._chunk({"role": "assistant", "content": ""})

    def _block_start(self, document: Json) -> list[Json]:
        index, block = document["index"], document["content_block"]
        self._blocks[index] = block
        kind = block["type"]
        if kind == "text":
            return self._say(block["text"]) if block.get("text") else []
        self._pieces[index] = []
        if kind == "thinking" and block.get("thinking"):
            self._pieces[index].append(block["thinking"])
            return self._chunk({"reasoning_content": block["thinking"]})
        if kind != "tool_use" or block["name"] == self._answer_tool:
            return []
        number = self._calls[index] = len(self._calls)
        function = {"name": block["name"], "arguments": ""}
        call = {"index": number, "id": block["id"], "type": "function", "function": function}
        return self._chunk({"tool_calls": [call]})

    def _block_delta(self, document: Json) -> list[Json]:
        delta = document["delta"]
        kind = delta["type"]
        if kind == "text_delta":
            return self._say(delta["text"])
        index = document["index"]
        if kind == "input_json_delta":
            return self._input(index, self._blocks[index], delta["partial_json"])
        if kind == "thinking_delta":
            self._pieces[index].append(delta["thinking"])
            return self._chunk({"reasoning_content": delta["thinking"]})
        if kind == "signature_delta":
            self._blocks[index]["signature"] = delta["signature"]
        elif kind == "citations_delta":
            return self._chunk(told_of(citations_of([delta["citation"]], self._length, self._length)))
        return []

    def _say(self, text: str) -> list[Json]:
        self._length += len(text)
        return self._chunk({"content": text})

    def _input(self, index: int, block: Json, piece: str) -> list[Json]:
        if not piece:
            return []
        self._pieces[index].append(piece)
        return self._argue(index, block, piece)

    def _argue(self, index: int, block: Json, piece: str) -> list[Json]:
        if index in self._calls:
            call = {"index": self._calls[index], "function": {"arguments": piece}}
            return self._chunk({"tool_calls": [call]})
        return self._say(piece) if block.get("name") == self._answer_tool else []

    def _block_stop(self, document: Json) -> list[Json]:
        index = document["index"]
        block = self._blocks.pop(index)
        pieces = self._pieces.pop(index, [])
        kind = block["type"]
        if kind == "text":
            return []
        if kind == "thinking":
            block["thinking"] = "".join(pieces)
            return self._chunk({"thinking_blocks": [block]})
        if kind == "redacted_thinking":
            return self._chunk({"thinking_blocks": [block]})
        if kind == "tool_use":
            # Without arguments nothing may have come; some servers send all of them at the start.
            return [] if pieces else self._argue(index, block, orjson.dumps(block.get("input") or {}).decode())
        if pieces:
            block["input"] = orjson.loads("".join(pieces))
        return self._chunk({"provider_blocks": {"vendor": "anthropic", "blocks": [block]}})

    def _message_delta(self, document: Json) -> list[Json]:
        for name, value in (document.get("usage") or {}).items():
            if value is not None:
                self._usage[name] = value
        delta = document["delta"]
        reason = delta.get("stop_reason")
        if reason is None:
            return []
        self._finished = True
        if self._answer_tool is not None and reason == "tool_use":
            reason = "end_turn"
        refusal = (delta.get("stop_details") or {}).get("explanation")
        said: Json = {} if refusal is None else {"refusal": refusal}
        finish = finish_of(reason, delta.get("stop_sequence"))
        return [{**self._head, "choices": [{"index": 0, "delta": said, **finish}]}]

    def _message_stop(self, document: Json) -> list[Json]:
        self.done = True
        return [{**self._head, "choices": [], "usage": usage_of(self._usage)}]

    def _error(self, document: Json) -> list[Json]:
        return [error_chunk(document.get("error"))]


_HANDLERS: Final[dict[str, Callable[[MessageStream, Json], list[Json]]]] = {
    "message_start": MessageStream._message_start,
    "content_block_start": MessageStream._block_start,
    "content_block_delta": MessageStream._block_delta,
    "content_block_stop": MessageStream._block_stop,
    "message_delta": MessageStream._message_delta,
    "message_stop": MessageStream._message_stop,
    "error": MessageStream._error,
}
"""What says something to a client; ``ping`` and what is not known yet say nothing."""
