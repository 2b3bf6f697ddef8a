"""Embeddings of Titan, Nova and Cohere by ``InvokeModel``.

Sources: "Amazon Titan Text Embeddings", "Amazon Nova Multimodal Embeddings" and "Cohere Embed" in the Amazon Bedrock
and Amazon Nova user guides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from gateway.kernel.errors import Kind
from gateway.providers import asking, telling
from gateway.providers.base import Json, Question, Unsupported
from gateway.providers.bedrock.media import VENDOR
from gateway.providers.media import unsupported

_COHERE: Final = frozenset(("input", "encoding_format", "input_type", "truncate"))
_ONE: Final = frozenset(("input", "encoding_format"))
_PURPOSES: Final = {
    "search_document": "GENERIC_INDEX",
    "search_query": "GENERIC_RETRIEVAL",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
"""Nova's words for what Cohere calls ``input_type``."""
_SIZED: Final = frozenset(("dimensions",))


def request(question: Question) -> tuple[Json, list[str], Callable[[bytes, int | None], Json]]:
    """The body, what it can't express, and what reads the answer. Raises
    :class:`~gateway.kernel.errors.GatewayError`: Amazon's models embed one text a call.
    """
    chat, model = question.chat, question.upstream.model
    if "cohere.embed" in model:
        known, body, read = _cohere(chat, model)
    elif "titan-embed" in model:
        known, body, read = _titan(chat, model)
    elif "multimodal-embeddings" in model:
        known, body, read = _nova(chat, model)
    else:
        raise unsupported(model, "embeddings", "amazon.titan-embed, amazon.nova-2-multimodal-embeddings, cohere.embed")
    dropped = asking.unknown(chat, known)
    body.update(asking.own_options(chat, VENDOR, dropped))
    return body, dropped, partial(read, model=model, as_base64=chat.get("encoding_format") == "base64")


def _cohere(chat: Json, model: str) -> tuple[frozenset[str], Json, Callable[..., Json]]:
    body: Json = {
        "texts": asking.texts_of(chat),
        "input_type": chat.get("input_type") or "search_document",
        "embedding_types": ["float"],
    }
    if chat.get("truncate") is not None:
        body["truncate"] = chat["truncate"]
    if "embed-v4" not in model:
        return _COHERE, body, _of_cohere
    if chat.get("dimensions") is not None:
        body["output_dimension"] = chat["dimensions"]
    return _COHERE | _SIZED, body, _of_cohere


def _of_cohere(data: bytes, tokens: int | None, *, model: str, as_base64: bool) -> Json:
    found = telling.document(data)["embeddings"]
    return telling.embeddings(model, found["float"] if isinstance(found, dict) else found, tokens, as_base64)


def _titan(chat: Json, model: str) -> tuple[frozenset[str], Json, Callable[..., Json]]:
    body: Json = {"inputText": _one_text(chat)}
    dimensions = chat.get("dimensions")
    if "titan-embed-image" in model:
        if dimensions is not None:
            body["embeddingConfig"] = {"outputEmbeddingLength": dimensions}
        return _ONE | _SIZED, body, _of_titan
    if "titan-embed-text-v2" not in model:
        return _ONE, body, _of_titan
    if dimensions is not None:
        body["dimensions"] = dimensions
    return _ONE | _SIZED, body, _of_titan


def _of_titan(data: bytes, tokens: int | None, *, model: str, as_base64: bool) -> Json:
    told = telling.document(data)
    if "inputTextTokenCount" in told:
        tokens = telling.count(told, "inputTextTokenCount")
    return telling.embeddings(model, [told["embedding"]], tokens, as_base64)


def _nova(chat: Json, model: str) -> tuple[frozenset[str], Json, Callable[..., Json]]:
    asked: Json = {
        "embeddingPurpose": _PURPOSES.get(chat.get("input_type") or "", chat.get("input_type")) or "GENERIC_INDEX",
        "text": {"truncationMode": chat.get("truncate") or "NONE", "value": _one_text(chat)},
    }
    if chat.get("dimensions") is not None:
        asked["embeddingDimension"] = chat["dimensions"]
    body = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": asked}
    return _COHERE | _SIZED, body, _of_nova


def _of_nova(data: bytes, tokens: int | None, *, model: str, as_base64: bool) -> Json:
    found: list[Any] = telling.document(data)["embeddings"]
    return telling.embeddings(model, [found[0]["embedding"]], tokens, as_base64)


def _one_text(chat: Json) -> str:
    texts = asking.texts_of(chat)
    if len(texts) > 1:
        message = "Amazon's models embed one text a request: send one in 'input'."
        raise Unsupported(Kind.INVALID, "unsupported_parameter", message, "input")
    return texts[0]
