"""Mistral's API: like OpenAI's, with words and shapes of its own."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers import asking, telling
from gateway.providers.base import Call, Failure, Json, Question, failure, quoted
from gateway.providers.frames import SseFrames
from gateway.providers.mistral import audio, moderations
from gateway.providers.mistral.request import body_of
from gateway.providers.mistral.response import Stream, response

_EMBED: Final = frozenset(("input", "dimensions", "encoding_format", "output_dtype"))


class Mistral:
    """See :class:`gateway.providers.base.Translator`. The base URL ends in ``/v1``."""

    kind = "mistral"
    endpoints: Final = frozenset(("chat.completions", "embeddings", "moderations", *audio.ENDPOINTS))
    stream_type: Final = b"text/event-stream"

    def request(self, question: Question) -> Call:
        """The call that asks the same."""
        key = question.upstream.api_key
        headers = () if key is None else (("authorization", f"Bearer {key}"),)
        if question.endpoint == "embeddings":
            return _embed(question, headers)
        if question.endpoint == "moderations":
            judged, lost = moderations.request(question)
            return Call("/moderations", headers, judged, lost, moderations.response)
        if question.endpoint in audio.ENDPOINTS:
            return audio.request(question, headers)
        body, dropped, memo = body_of(question)
        return Call("/chat/completions", headers, body, dropped, memo)

    def response(self, body: bytes, memo: Any) -> Any:
        """The whole answer; embeddings are OpenAI's already. The memo of anything but a chat is what reads it."""
        with telling.reading("The answer"):
            return response(body, memo) if isinstance(memo, telling.Answer) else memo(body)

    def stream(self, memo: Any) -> Stream:
        """The translator of one streamed answer."""
        return Stream(memo)

    def frames(self) -> SseFrames:
        """What cuts one stream into events."""
        return SseFrames()

    def error(self, status: int, body: bytes) -> Failure:
        """An error as OpenAI would tell it: ``{"message", "param", "code"}``, or a list of faults in ``detail``."""
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            return quoted(status, body)
        if not isinstance(told, dict):
            return quoted(status, body)
        inner = told.get("error")
        fault: Json = inner if isinstance(inner, dict) else told
        text = fault.get("message", fault.get("detail"))
        text = text.get("detail", text) if isinstance(text, dict) else text
        if isinstance(text, list) and text and isinstance(text[0], dict):
            param = ".".join(str(part) for part in text[0].get("loc") or () if part != "body") or None
            said = "; ".join(str(each.get("msg")) for each in text[:5] if isinstance(each, dict))
            return failure(400 if status == 422 else status, said, None, param)
        if not isinstance(text, str):
            return quoted(status, body)
        code = fault.get("code")
        return failure(status, text, None if code is None else str(code), fault.get("param"))


def _embed(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    chat = question.chat
    body: Json = {"model": question.upstream.model, "input": asking.texts_of(chat)}
    if chat.get("dimensions") is not None:
        body["output_dimension"] = chat["dimensions"]
    for name in ("encoding_format", "output_dtype"):
        if chat.get(name) is not None:
            body[name] = chat[name]
    return Call("/embeddings", headers, orjson.dumps(body), tuple(asking.unknown(chat, _EMBED)), telling.document)


def translator() -> Mistral:
    """For :mod:`gateway.providers.registry`."""
    return Mistral()
