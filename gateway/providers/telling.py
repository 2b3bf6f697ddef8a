"""Making answers of the internal form, for those that translate them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import pack
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

from gateway.providers.base import ERROR_TYPES, Json, envelope

BROKEN = "The provider's stream broke off with an error."


class Answer(Struct):
    """What every piece of one answer says of it. ``created`` is Unix seconds, ``choices`` how many were asked for."""

    id: str
    created: int
    model: str
    choices: int = 1

    def completion(self, choices: list[Json], usage: Json | None) -> Json:
        """A whole ``chat.completion``."""
        made: Json = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        if usage is not None:
            made["usage"] = usage
        return made

    def chunk(self, delta: Json, finish: str | None = None, index: int = 0) -> Json:
        """One chunk of a stream with one choice."""
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        }

    def usage_chunk(self, usage: Json) -> Json:
        """The chunk that ends a stream: its usage, and no choice."""
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [],
            "usage": usage,
        }


def message(content: str | None, calls: list[Json], reasoning: str = "") -> Json:
    """An assistant's message."""
    made: Json = {"role": "assistant", "content": content}
    if reasoning:
        made["reasoning_content"] = reasoning
    if calls:
        made["tool_calls"] = calls
    return made


class Citation(NamedTuple):
    """A source of the text from ``start`` to ``end``, in characters: in the vendor's words, and the web pages among it
    as URL and title.
    """

    start: int
    end: int
    told: Json
    pages: tuple[tuple[str, str | None], ...] = ()


def cited(citations: Sequence[Citation]) -> Json:
    """The fields of a message or a delta that tell sources: those of the web as OpenAI does too."""
    if not citations:
        return {}
    made: Json = {
        "citations": [{"start_index": each.start, "end_index": each.end, "citation": each.told} for each in citations]
    }
    pages = [
        {"start_index": each.start, "end_index": each.end, "url": url, "title": title or ""}
        for each in citations
        for url, title in each.pages
    ]
    if pages:
        made["annotations"] = [{"type": "url_citation", "url_citation": page} for page in pages]
    return made


def tool_call(id: str, name: str, arguments: Any) -> Json:
    """A whole tool call. ``arguments`` is JSON text, or what becomes it."""
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def usage_of(
    prompt: int, completion: int, *, cached: int = 0, cache_write: int | None = None, reasoning: int = 0
) -> Json:
    """A usage; ``prompt`` counts all that was read, ``completion`` all that was made."""
    details: Json = {"cached_tokens": cached}
    if cache_write is not None:
        details["cache_write_tokens"] = cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def count(usage: Json, name: str) -> int:
    """A count out of a provider's usage; 0 where it is not told or no number."""
    value = usage.get(name)
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def embeddings(model: str, vectors: Sequence[Sequence[float]], prompt: int | None, as_base64: bool) -> Json:
    """The answer of OpenAI's embeddings endpoint; base64 is of 32-bit floats, little-endian. ``prompt`` is None
    where the provider tells no tokens: OpenAI's clients want a number, and the gateway takes none for not counted.
    """
    data = []
    for index, vector in enumerate(vectors):
        told: Any = vector
        if as_base64:
            told = base64.b64encode(pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": told})
    usage = {"prompt_tokens": prompt or 0, "total_tokens": prompt or 0}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def add_documents(results: list[Json], documents: list[Any] | None) -> None:
    """Put the documents where a ranking only has their places; None: they are not wanted."""
    for result in results:
        if documents is not None and "document" not in result:
            item = documents[result["index"]]
            result["document"] = {"text": item} if isinstance(item, str) else item


def broken(status: int, text: str) -> Json:
    """A chunk that ends a stream with an error."""
    return envelope(text or BROKEN, ERROR_TYPES.get(status, "server_error"), status)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Tell what is not of the shape the API has as a :class:`ValueError`."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{what} is not what the API sends: {type(error).__name__}") from None


def document(data: bytes) -> Json:
    """A JSON object. Raises :class:`ValueError`."""
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value
