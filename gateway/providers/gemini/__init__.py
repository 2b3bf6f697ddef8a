"""Google's Gemini: the Gemini API of AI Studio, and Vertex AI."""

from __future__ import annotations

from typing import Any, Final

from gateway.providers.base import Call, Failure, Question
from gateway.providers.frames import SseFrames
from gateway.providers.gemini import embeddings, images, request, response, speech, transcripts
from gateway.providers.gemini.errors import error
from gateway.providers.gemini.stream import Stream
from gateway.providers.telling import Answer, reading


class Gemini:
    """See :class:`gateway.providers.base.Translator`. The base URL ends in ``/v1beta``, of Vertex AI in
    ``/publishers/google``; its key is an access token there.
    """

    endpoints: Final = frozenset(
        ("chat.completions", "embeddings", speech.ENDPOINT, *images.ENDPOINTS, *transcripts.ENDPOINTS)
    )
    stream_type: Final = b"text/event-stream"

    def __init__(self, kind: str = "gemini") -> None:
        self.kind = kind
        self._vertex = kind == "vertex"

    def request(self, question: Question) -> Call:
        """The call that asks the same."""
        key = question.upstream.api_key
        headers: tuple[tuple[str, str], ...] = ()
        if key is not None:
            headers = (("authorization", f"Bearer {key}") if self._vertex else ("x-goog-api-key", key),)
        if question.endpoint == "embeddings":
            return embeddings.request(question, headers, self._vertex)
        if question.endpoint in images.ENDPOINTS:
            return images.request(question, headers)
        if question.endpoint in transcripts.ENDPOINTS:
            return transcripts.request(question, headers)
        if question.endpoint == speech.ENDPOINT:
            return speech.request(question, headers)
        return request.request(question, headers)

    def response(self, body: bytes, memo: Any) -> Any:
        """The whole answer. The memo of what is neither a chat nor embeddings is what reads it."""
        with reading("The answer"):
            if isinstance(memo, Answer):
                return response.response(body, memo)
            return embeddings.response(body, memo) if isinstance(memo, tuple) else memo(body)

    def stream(self, memo: Any) -> Stream:
        """The translator of one streamed answer."""
        return Stream(memo)

    def frames(self) -> SseFrames:
        """What cuts one stream into events."""
        return SseFrames()

    def error(self, status: int, body: bytes) -> Failure:
        """An error as OpenAI would tell it."""
        return error(status, body)


def translator() -> Gemini:
    """The translation of kind ``gemini``."""
    return Gemini()
