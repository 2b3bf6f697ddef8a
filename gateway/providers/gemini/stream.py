"""A stream of ``streamGenerateContent?alt=sse``: each event is a ``GenerateContentResponse`` with what is new."""

from __future__ import annotations

from typing import Final

from gateway.providers.base import Json
from gateway.providers.frames import data_of
from gateway.providers.gemini.contents import VENDOR
from gateway.providers.gemini.errors import parsed
from gateway.providers.gemini.response import (
    block_reason,
    call_of,
    finish,
    logprobs_of,
    named,
    parts_of,
    signed,
    sources,
    usage_from,
)
from gateway.providers.telling import Answer, broken, cited, document

_KEPT: Final = 1_048_576  # characters of a choice that are kept to place its sources in


class _Choice:
    """What is known of one choice so far."""

    __slots__ = ("calls", "kept", "started", "text")

    def __init__(self) -> None:
        self.started = False
        self.calls = 0
        self.kept = 0
        self.text: list[str] = []


class Stream:
    """See :class:`gateway.providers.base.StreamTranslator`. Nothing but the connection's end ends such a stream."""

    __slots__ = ("_answer", "_choices", "_finished", "_first", "_usage", "done")

    def __init__(self, memo: Answer) -> None:
        self.done = False
        self._answer = memo
        self._first = True
        self._finished = 0
        self._choices: dict[int, _Choice] = {}
        self._usage: Json | None = None

    def feed(self, event: bytes) -> list[Json]:
        """The chunks of one event."""
        data = event[5:].strip()
        if b"\n" in data or not event.startswith(b"data:"):  # never so by Google itself
            data = data_of(event)
        if not data:
            return []
        told = document(data)
        if self._first:
            self._answer = named(self._answer, told)
            self._first = False
        if "error" in told:
            status, text, _ = parsed(told["error"], 500)
            return [broken(status, text)]
        usage = told.get("usageMetadata")
        if usage is not None:
            self._usage = usage
        candidates = told.get("candidates")
        if not candidates:
            return self._blocked(told)
        made: list[Json] = []
        try:
            for position, candidate in enumerate(candidates):
                self._candidate(candidate, candidate.get("index", position), made)
        except (AttributeError, IndexError, KeyError, TypeError):
            raise ValueError("the event is no GenerateContentResponse") from None
        return made

    def end(self) -> list[Json]:
        """The usage; it has come with every event, and the last one counts."""
        self.done = self._finished >= self._answer.choices
        if self._usage is None:
            return []
        usage, self._usage = self._usage, None
        return [self._answer.usage_chunk(usage_from(usage))]

    def _candidate(self, candidate: Json, index: int, made: list[Json]) -> None:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        reason = candidate.get("finishReason")
        before = len(made)
        for part in parts_of(candidate):
            delta = self._delta(part, choice, index)
            if delta:
                made.append(self._answer.chunk(delta, None, index))
        if reason is not None or "groundingMetadata" in candidate or "citationMetadata" in candidate:
            told = cited(sources(candidate, "".join(choice.text)))
            if told:
                made.append(self._answer.chunk(told, None, index))
        logprobs = logprobs_of(candidate)
        if reason is not None:
            made.append(self._answer.chunk({}, None, index))
            made[-1]["choices"][0].update(finish(reason, choice.calls > 0))
            self._finished += 1
        if len(made) == before:
            return
        if not choice.started:
            choice.started = True
            delta = made[before]["choices"][0]["delta"]
            made[before]["choices"][0]["delta"] = {"role": "assistant", **delta}
        if logprobs is not None:
            made[before]["choices"][0]["logprobs"] = logprobs

    def _delta(self, part: Json, choice: _Choice, index: int) -> Json:
        if "functionCall" in part:
            number = choice.calls
            choice.calls += 1
            return {"tool_calls": [{"index": number, **call_of(part, self._answer, index, number)}]}
        text = part.get("text")
        if not isinstance(text, str):
            return {"provider_blocks": {"vendor": VENDOR, "blocks": [part]}}
        delta: Json = {}
        if part.get("thought") is True:
            delta["reasoning_content"] = text
        elif text:
            delta["content"] = text
            choice.kept += len(text)
            if choice.kept <= _KEPT:
                choice.text.append(text)
        signature = part.get("thoughtSignature")
        if signature:
            delta["extra_content"] = signed(signature)
        return delta

    def _blocked(self, told: Json) -> list[Json]:
        reason = block_reason(told)
        if reason is None:
            return []
        self._finished = self._answer.choices
        chunk = self._answer.chunk({"role": "assistant", "content": ""}, "content_filter")
        chunk["choices"][0]["native_finish_reason"] = reason
        return [chunk]
