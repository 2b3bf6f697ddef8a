"""Cohere's API, version 2: chat, embeddings and rerank."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers.base import Call, Failure, Json, Question, failure, quoted
from gateway.providers.cohere import others
from gateway.providers.cohere.request import body_of
from gateway.providers.cohere.response import response
from gateway.providers.cohere.stream import Stream
from gateway.providers.frames import SseFrames
from gateway.providers.telling import Answer, reading

_STATUSES: Final = {498: 401, 499: 408}
"""An invalid token, and a request that was cancelled ("Errors", Cohere documentation)."""


class Cohere:
    """See :class:`gateway.providers.base.Translator`. The base URL ends in ``/v2``."""

    kind = "cohere"
    endpoints: Final = frozenset(("chat.completions", "embeddings", "rerank"))
    stream_type: Final = b"text/event-stream"

    def request(self, question: Question) -> Call:
        """The call that asks the same."""
        key = question.upstream.api_key
        headers = () if key is None else (("authorization", f"Bearer {key}"),)
        if question.endpoint == "embeddings":
            body, dropped, memo = others.embed(question)
            return Call("/embed", headers, body, dropped, ("embed", memo))
        if question.endpoint == "rerank":
            body, dropped, documents = others.rerank(question)
            return Call("/rerank", headers, body, dropped, ("rerank", documents))
        body, dropped, answer = body_of(question)
        return Call("/chat", headers, body, dropped, answer)

    def response(self, body: bytes, memo: Any) -> Json:
        """The whole answer."""
        with reading("The answer"):
            if isinstance(memo, Answer):
                return response(body, memo)
            return others.embeddings(body, memo[1]) if memo[0] == "embed" else others.ranking(body, memo[1])

    def stream(self, memo: Any) -> Stream:
        """The translator of one streamed answer."""
        return Stream(memo)

    def frames(self) -> SseFrames:
        """What cuts one stream into events."""
        return SseFrames()

    def error(self, status: int, body: bytes) -> Failure:
        """An error as OpenAI would tell it: Cohere's is ``{"message"}``."""
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            return quoted(status, body)
        text = told.get("message") if isinstance(told, dict) else None
        if not isinstance(text, str):
            return quoted(status, body)
        return failure(_STATUSES.get(status, status), text)


def translator() -> Cohere:
    """For :mod:`gateway.providers.registry`."""
    return Cohere()
