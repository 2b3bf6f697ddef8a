"""A stream of ConverseStream. Source: "ConverseStream" in the Amazon Bedrock API reference."""

from __future__ import annotations

from typing import Any, Final

from gateway.providers.base import Json
from gateway.providers.bedrock.eventstream import parse
from gateway.providers.bedrock.media import VENDOR
from gateway.providers.bedrock.response import finish, note, thought, usage_from
from gateway.providers.telling import Answer, broken, cited, document

_STATUSES: Final = {
    "internalServerException": 500,
    "modelStreamErrorException": 502,
    "validationException": 400,
    "throttlingException": 429,
    "serviceUnavailableException": 503,
    "modelTimeoutException": 504,
}


class _Block:
    """What is known of a content block that has begun. ``tool`` is its number among the tool calls."""

    __slots__ = ("pieces", "signature", "start", "tool")

    def __init__(self, start: int) -> None:
        self.start = start
        self.tool = -1
        self.pieces: list[str] = []
        self.signature = ""


class Stream:
    """See :class:`gateway.providers.base.StreamTranslator`. The usage comes behind the reason to end."""

    __slots__ = ("_answer", "_blocks", "_calls", "_length", "_stopped", "done")

    def __init__(self, memo: Answer) -> None:
        self.done = False
        self._answer = memo
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._length = 0
        self._stopped = False

    def feed(self, event: bytes) -> list[Json]:
        """The chunks of one message of the stream."""
        headers, payload = parse(event)
        kind = headers.get(":message-type", "event")
        if kind != "event":
            return [_failure(headers, payload)]
        told = document(payload)
        try:
            return self._event(headers.get(":event-type", ""), told)
        except (AttributeError, KeyError, TypeError):
            raise ValueError("the event is none of ConverseStream") from None

    def end(self) -> list[Json]:
        """The stream ended: complete also where the usage did not come."""
        self.done = self.done or self._stopped
        return []

    def _event(self, kind: str, told: Json) -> list[Json]:
        if kind == "contentBlockDelta":
            delta = self._delta(told["delta"], self._block(told))
            return [self._answer.chunk(delta)] if delta else []
        if kind == "messageStart":
            return [self._answer.chunk({"role": "assistant", "content": ""})]
        if kind == "contentBlockStart":
            return self._start(told["start"], self._block(told))
        if kind == "contentBlockStop":
            delta = self._stop(self._blocks.pop(told["contentBlockIndex"], None))
            return [self._answer.chunk(delta)] if delta else []
        if kind == "messageStop":
            self._stopped = True
            chunk = self._answer.chunk({})
            chunk["choices"][0].update(finish(told.get("stopReason")))
            return [chunk]
        if kind == "metadata":
            self.done = self._stopped
            return [self._answer.usage_chunk(usage_from(told["usage"]))] if told.get("usage") else []
        return []

    def _block(self, told: Json) -> _Block:
        index = told["contentBlockIndex"]
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block(self._length)
        return block

    def _start(self, start: Json, block: _Block) -> list[Json]:
        use = start.get("toolUse")
        if use is None:
            return []
        block.tool = self._calls
        self._calls += 1
        call = {"id": use["toolUseId"], "type": "function", "function": {"name": use["name"], "arguments": ""}}
        return [self._answer.chunk({"tool_calls": [{"index": block.tool, **call}]})]

    def _delta(self, delta: Json, block: _Block) -> Json:
        text = delta.get("text")
        if text is not None:
            self._length += len(text)
            return {"content": text} if text else {}
        if "toolUse" in delta:
            piece = delta["toolUse"].get("input", "")
            if piece and block.tool >= 0:
                block.pieces.append("")
                return {"tool_calls": [{"index": block.tool, "function": {"arguments": piece}}]}
            return {}
        if "reasoningContent" in delta:
            return _think(delta["reasoningContent"], block)
        if "citation" in delta:
            return cited([note(delta["citation"], block.start, self._length)])
        return {"provider_blocks": {"vendor": VENDOR, "blocks": [delta]}}

    def _stop(self, block: _Block | None) -> Json:
        if block is None:
            return {}
        if block.tool >= 0 and not block.pieces:
            return {"tool_calls": [{"index": block.tool, "function": {"arguments": "{}"}}]}
        if block.signature:
            return {"thinking_blocks": [thought("".join(block.pieces), block.signature)]}
        return {}


def _think(content: Json, block: _Block) -> Json:
    if content.get("redactedContent"):
        return {"thinking_blocks": [{"type": "redacted_thinking", "data": content["redactedContent"]}]}
    if content.get("signature"):
        block.signature += content["signature"]
    text: Any = content.get("text")
    if not text:
        return {}
    block.pieces.append(text)
    return {"reasoning_content": text}


def _failure(headers: dict[str, str], payload: bytes) -> Json:
    word = headers.get(":exception-type") or headers.get(":error-code", "")
    told: Json = {}
    if headers.get(":message-type") == "exception":
        told = document(payload)
    text = told.get("message") or told.get("originalMessage") or headers.get(":error-message") or word
    return broken(_STATUSES.get(word[:1].lower() + word[1:], 500), str(text))
