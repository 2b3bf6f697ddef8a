"""What is no conversation goes by ``InvokeModel``, whose body is of each maker's own form.

Source: "Inference request parameters and response fields for foundation models" in the Amazon Bedrock user guide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from gateway.providers.base import Headed, Json, Question
from gateway.providers.bedrock import embeddings, images, rerank

_TOKENS: Final = b"x-amzn-bedrock-input-token-count"
_HEARD: Final = frozenset((_TOKENS,))


class Asked(NamedTuple):
    """What is sent, what it can't express, and what reads the answer: a function of its bytes and of the tokens that
    the head of the answer told, None where it told none.
    """

    body: Json
    dropped: list[str]
    read: Callable[[bytes, int | None], Json]


_MAKERS: Final[dict[str, Callable[[Question], tuple[Json, list[str], Callable[[bytes, int | None], Json]]]]] = {
    "embeddings": embeddings.request,
    "images.generations": images.request,
    "rerank": rerank.request,
}
ENDPOINTS: Final = frozenset(_MAKERS)


def request(question: Question) -> tuple[str, bytes, tuple[str, ...], Headed]:
    """The path, the body, what it can't express, and what is remembered."""
    asked = Asked(*_MAKERS[question.endpoint](question))
    path = f"/model/{quote(question.upstream.model, safe='-._~')}/invoke"
    return path, orjson.dumps(asked.body), tuple(dict.fromkeys(asked.dropped)), Headed(asked.read, _HEARD)


def response(body: bytes, memo: Headed) -> Json:
    """The whole answer. Raises :class:`ValueError`."""
    told = memo.told.get(_TOKENS, b"")
    read: Any = memo.memo
    answer: Json = read(body, int(told) if told.isdigit() else None)
    return answer
