"""Rerank of Cohere's and Amazon's models by ``InvokeModel`` ("Cohere Rerank" in the Amazon Bedrock user guide)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.providers import asking, telling
from gateway.providers.base import Json, Question
from gateway.providers.bedrock.media import VENDOR
from gateway.providers.media import text, unsupported

_KNOWN: Final = frozenset(("query", "documents", "top_n", "return_documents"))
_VERSION: Final = 2
"""Of Cohere's API, which the body must tell."""


def request(question: Question) -> tuple[Json, list[str], Callable[[bytes, int | None], Json]]:
    """The body, what it can't express, and what reads the answer."""
    chat, model = question.chat, question.upstream.model
    if "rerank" not in model:
        raise unsupported(model, "rerank", "amazon.rerank, cohere.rerank")
    body: Json = {"query": text(chat, "query"), "documents": asking.documents_of(chat)}
    if chat.get("top_n") is not None:
        body["top_n"] = chat["top_n"]
    if "cohere." in model:
        body["api_version"] = _VERSION
    dropped = asking.unknown(chat, _KNOWN)
    body.update(asking.own_options(chat, VENDOR, dropped))
    documents: list[Any] | None = chat["documents"] if chat.get("return_documents") is True else None
    id = asking.answer_id(question, model.encode(), "rerank-")

    def read(data: bytes, tokens: int | None) -> Json:
        results = telling.document(data)["results"]
        telling.add_documents(results, documents)
        told: Json = {"id": id, "results": results}
        if tokens is not None:
            told["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return told

    return body, dropped, read
