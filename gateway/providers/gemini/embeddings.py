"""Embeddings: ``batchEmbedContents`` of AI Studio, ``predict`` of Vertex AI ("Embeddings" in both references)."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import orjson

from gateway.providers import asking, telling
from gateway.providers.base import Call, Json, Question

_KNOWN: Final = frozenset(("input", "dimensions", "encoding_format"))


def request(question: Question, headers: tuple[tuple[str, str], ...], vertex: bool) -> Call:
    """The call that embeds every input."""
    chat, model = question.chat, question.upstream.model
    texts = asking.texts_of(chat)
    dimensions = chat.get("dimensions")
    if vertex:
        body: Json = {"instances": [{"content": text} for text in texts]}
        if dimensions is not None:
            body["parameters"] = {"outputDimensionality": dimensions}
    else:
        each: Json = {"model": f"models/{model}"}
        if dimensions is not None:
            each["outputDimensionality"] = dimensions
        body = {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in texts]}
    method = "predict" if vertex else "batchEmbedContents"
    memo = (model, chat.get("encoding_format") == "base64")
    path = f"/models/{quote(model, safe='-._~')}:{method}"
    return Call(path, headers, orjson.dumps(body), tuple(asking.unknown(chat, _KNOWN)), memo)


def response(body: bytes, memo: tuple[str, bool]) -> Json:
    """The vectors, and the tokens where they are told. Raises :class:`ValueError`."""
    told = telling.document(body)
    usage = told.get("usageMetadata") or {}
    prompt = telling.count(usage, "promptTokenCount") if "promptTokenCount" in usage else None
    vectors = []
    for one in told.get("embeddings") or told.get("predictions") or []:
        if "embeddings" in one:
            one = one["embeddings"]
            if one.get("statistics"):
                prompt = (prompt or 0) + telling.count(one["statistics"], "token_count")
        vectors.append(one["values"])
    if not vectors:
        raise ValueError("expected embeddings")
    return telling.embeddings(memo[0], vectors, prompt, memo[1])
