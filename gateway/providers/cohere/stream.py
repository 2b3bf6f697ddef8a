"""A stream of Cohere's chat. Source: "Streaming responses (v2)", Cohere documentation."""

from __future__ import annotations

from gateway.providers.base import Json
from gateway.providers.cohere.response import finish, logprobs_of, note, usage_from
from gateway.providers.frames import data_of
from gateway.providers.telling import Answer, broken, cited, document


class Stream:
    """See :class:`gateway.providers.base.StreamTranslator`."""

    __slots__ = ("_answer", "_calls", "_length", "_starts", "done")

    def __init__(self, memo: Answer) -> None:
        self.done = False
        self._answer = memo
        self._calls = -1
        self._length = 0
        self._starts: dict[int, int] = {}

    def feed(self, event: bytes) -> list[Json]:
        """The chunks of one event."""
        data = data_of(event)
        if not data or data == b"[DONE]":
            return []
        told = document(data)
        try:
            return self._event(told)
        except (AttributeError, KeyError, TypeError):
            raise ValueError("the event is none of Cohere's chat") from None

    def end(self) -> list[Json]:
        """Nothing is left: the last event has told all."""
        return []

    def _event(self, told: Json) -> list[Json]:
        kind = told.get("type")
        if kind == "message-start":
            self._answer = Answer(told.get("id") or self._answer.id, self._answer.created, self._answer.model)
            return [self._answer.chunk({"role": "assistant", "content": ""})]
        if kind == "message-end":
            return self._finished(told["delta"])
        if kind == "content-start":
            self._starts[told.get("index", 0)] = self._length
        if kind in ("content-start", "content-delta"):
            return self._said(told, told["delta"]["message"]["content"])
        if kind == "tool-plan-delta":
            return [self._answer.chunk({"reasoning_content": told["delta"]["message"]["tool_plan"]})]
        if kind == "tool-call-start":
            self._calls += 1
            call = told["delta"]["message"]["tool_calls"]
            function = {"name": call["function"]["name"], "arguments": call["function"].get("arguments") or ""}
            made = {"index": self._calls, "id": call["id"], "type": "function", "function": function}
            return [self._answer.chunk({"tool_calls": [made]})]
        if kind == "tool-call-delta":
            piece = told["delta"]["message"]["tool_calls"]["function"].get("arguments")
            call = {"index": self._calls, "function": {"arguments": piece}}
            return [self._answer.chunk({"tool_calls": [call]})] if piece else []
        if kind == "citation-start":
            citation = told["delta"]["message"]["citations"]
            offset = self._starts.get(citation.get("content_index", 0), 0)
            return [self._answer.chunk(cited([note(citation, offset)]))]
        return []

    def _said(self, told: Json, content: Json) -> list[Json]:
        delta: Json = {}
        if content.get("thinking"):
            delta["reasoning_content"] = content["thinking"]
        if content.get("text"):
            delta["content"] = content["text"]
            self._length += len(content["text"])
        if not delta:
            return []
        chunk = self._answer.chunk(delta)
        if told.get("logprobs"):
            chunk["choices"][0]["logprobs"] = logprobs_of([told["logprobs"]])
        return [chunk]

    def _finished(self, delta: Json) -> list[Json]:
        reason = delta.get("finish_reason")
        if reason in ("ERROR", "TIMEOUT"):
            return [broken(504 if reason == "TIMEOUT" else 502, str(delta.get("error") or ""))]
        chunk = self._answer.chunk({})
        chunk["choices"][0].update(finish(reason))
        self.done = True
        usage = delta.get("usage")
        return [chunk, self._answer.usage_chunk(usage_from(usage))] if usage else [chunk]
