"""Mistral's answers, whole and streamed: like OpenAI's, but that content may be a list of chunks.

Sources: "Chat Completion" in the Mistral API reference, "Reasoning" and "Citations" in its documentation.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers.base import Json
from gateway.providers.frames import data_of
from gateway.providers.mistral.request import VENDOR
from gateway.providers.telling import Answer, broken, document

_FINISH: Final = {"model_length": "length", "error": "stop"}


def response(body: bytes, memo: Answer) -> Json:
    """A ``chat.completion``. Raises :class:`ValueError`."""
    told = document(body)
    choices = [
        {**_finish(choice), "message": _message(choice["message"]), "index": choice.get("index", 0)}
        for choice in told["choices"]
    ]
    answer = Answer(told.get("id") or memo.id, told.get("created") or memo.created, told.get("model") or memo.model)
    return answer.completion(choices, told.get("usage"))


def _finish(choice: Json) -> Json:
    """What a choice says of its end, and its log probabilities."""
    reason = choice.get("finish_reason")
    made: Json = {"finish_reason": _FINISH.get(str(reason), reason)}
    if reason in _FINISH:
        made["native_finish_reason"] = reason
    if choice.get("logprobs") is not None:
        made["logprobs"] = choice["logprobs"]
    return made


def _message(message: Json) -> Json:
    made: Json = {"role": "assistant", **said(message.get("content"))}
    made.setdefault("content", None if message.get("tool_calls") else "")
    if message.get("tool_calls"):
        made["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return made


def _call(call: Json) -> Json:
    function = call["function"]
    if isinstance(function.get("arguments"), dict):  # the API may tell them so too
        function = {**function, "arguments": orjson.dumps(function["arguments"]).decode()}
    return {"id": call["id"], "type": "function", "function": function}


def said(content: Any) -> Json:
    """The fields of a message or a delta that a content makes: a text, or chunks."""
    if content is None or content == "":
        return {}
    if isinstance(content, str):
        return {"content": content}
    texts: list[str] = []
    thoughts: list[str] = []
    others: list[Json] = []
    for chunk in content:
        kind = chunk.get("type", "text")
        if kind == "text":
            texts.append(chunk["text"])
        elif kind == "thinking":
            thoughts += [piece.get("text", "") for piece in chunk["thinking"]]
        else:
            others.append(chunk)
    made: Json = {}
    if texts:
        made["content"] = "".join(texts)
    if thoughts:
        made["reasoning_content"] = "".join(thoughts)
    if others:
        made["provider_blocks"] = {"vendor": VENDOR, "blocks": others}
    return made


class Stream:
    """See :class:`gateway.providers.base.StreamTranslator`. The usage comes with the reason to end, in one event."""

    __slots__ = ("_answer", "_first", "_usage", "done")

    def __init__(self, memo: Answer) -> None:
        self.done = False
        self._answer = memo
        self._first = True
        self._usage: Json | None = None

    def feed(self, event: bytes) -> list[Json]:
        """The chunks of one event."""
        data = data_of(event)
        if not data:
            return []
        if data == b"[DONE]":
            self.done = True
            return self.end()
        told = document(data)
        if "choices" not in told:
            fault = told.get("error") or told
            code = fault.get("code") if isinstance(fault, dict) else None
            text = fault.get("message") if isinstance(fault, dict) else fault
            return [broken(code if isinstance(code, int) and 400 <= code <= 599 else 502, str(text or ""))]
        if self._first:
            memo = self._answer
            self._answer = Answer(
                told.get("id") or memo.id, told.get("created") or memo.created, told.get("model") or memo.model
            )
            self._first = False
        self._usage = told.get("usage") or self._usage
        try:
            return [self._chunk(choice) for choice in told["choices"]]
        except (AttributeError, KeyError, TypeError):
            raise ValueError("the event is no completion chunk") from None

    def end(self) -> list[Json]:
        """The usage, once."""
        usage, self._usage = self._usage, None
        return [] if usage is None else [self._answer.usage_chunk(usage)]

    def _chunk(self, choice: Json) -> Json:
        told = choice["delta"]
        delta: Json = {"role": "assistant"} if told.get("role") else {}
        delta.update(said(told.get("content")))
        if told.get("tool_calls"):
            delta["tool_calls"] = [
                {"index": call.get("index") or place, **_call(call)} for place, call in enumerate(told["tool_calls"])
            ]
        chunk = self._answer.chunk(delta, None, choice.get("index", 0))
        chunk["choices"][0].update(_finish(choice))
        return chunk
