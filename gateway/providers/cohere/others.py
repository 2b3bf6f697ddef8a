"""Embeddings and rerank. Sources: "Embed" and "Rerank", Cohere API reference, v2."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers import asking, telling
from gateway.providers.base import Json, Question

_EMBED: Final = frozenset(("input", "dimensions", "encoding_format", "input_type", "truncate"))
_RERANK: Final = frozenset(("query", "documents", "top_n", "return_documents", "max_tokens_per_doc", "priority"))


def embed(question: Question) -> tuple[bytes, tuple[str, ...], tuple[str, bool]]:
    """The body, what it can't express, and what is remembered.

    ``input_type`` is Cohere's own word for what the texts are; ``search_document`` where a request does not tell it.
    """
    chat, model = question.chat, question.upstream.model
    body: Json = {
        "model": model,
        "texts": asking.texts_of(chat),
        "input_type": chat.get("input_type") or "search_document",
        "embedding_types": ["float"],
    }
    if chat.get("dimensions") is not None:
        body["output_dimension"] = chat["dimensions"]
    if chat.get("truncate") is not None:
        body["truncate"] = chat["truncate"]
    memo = (model, chat.get("encoding_format") == "base64")
    return orjson.dumps(body), tuple(asking.unknown(chat, _EMBED)), memo


def embeddings(body: bytes, memo: tuple[str, bool]) -> Json:
    """The vectors. Raises :class:`ValueError`."""
    told = telling.document(body)
    billed = (told.get("meta") or {}).get("billed_units") or {}
    prompt = telling.count(billed, "input_tokens") if "input_tokens" in billed else None
    return telling.embeddings(memo[0], told["embeddings"]["float"], prompt, memo[1])


def rerank(question: Question) -> tuple[bytes, tuple[str, ...], list[Any] | None]:
    """The body, what it can't express, and the documents where they are to come back with their places."""
    chat = question.chat
    texts = asking.documents_of(chat)
    body: Json = {"model": question.upstream.model, "query": chat.get("query"), "documents": texts}
    for name in ("top_n", "max_tokens_per_doc", "priority"):
        if chat.get(name) is not None:
            body[name] = chat[name]
    kept = chat["documents"] if chat.get("return_documents") is True else None
    return orjson.dumps(body), tuple(asking.unknown(chat, _RERANK)), kept


def ranking(body: bytes, documents: list[Any] | None) -> Json:
    """The places, with the documents where they were asked for. Raises :class:`ValueError`."""
    told = telling.document(body)
    telling.add_documents(told["results"], documents)
    return told
