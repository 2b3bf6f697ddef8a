"""Anthropic's Messages API (API reference, "Messages", version 2023-06-01)."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers.anthropic.errors import error
from gateway.providers.anthropic.request import body_of
from gateway.providers.anthropic.response import completion_of
from gateway.providers.anthropic.stream import MessageStream
from gateway.providers.base import Call, Failure, Json, Question
from gateway.providers.frames import SseFrames

VERSION: Final = "2023-06-01"
"""The value of ``anthropic-version``."""


class Anthropic:
    """See :class:`gateway.providers.base.Translator`."""

    kind = "anthropic"
    endpoints = frozenset(("chat.completions",))
    stream_type = b"text/event-stream"

    def request(self, question: Question) -> Call:
        """The Messages request that asks the same."""
        body, dropped, memo = body_of(question)
        headers = self.headers(question.upstream.api_key)
        return Call("/messages", headers, orjson.dumps(body), dropped, memo)

    def headers(self, api_key: str | None) -> tuple[tuple[str, str], ...]:
        """Version and credential."""
        version = ("anthropic-version", VERSION)
        return (version,) if api_key is None else (version, ("x-api-key", api_key))

    def response(self, body: bytes, memo: Any) -> Json:
        """A ``chat.completion`` out of a Message."""
        return completion_of(orjson.loads(body), memo)

    def stream(self, memo: Any) -> MessageStream:
        """The translator of one streamed Message."""
        return MessageStream(memo)

    def frames(self) -> SseFrames:
        """Server-sent events."""
        return SseFrames()

    def error(self, status: int, body: bytes) -> Failure:
        """An error of the API, or of what stands before it."""
        return error(status, body)


def translator() -> Anthropic:
    """For :mod:`gateway.providers.registry`."""
    return Anthropic()
