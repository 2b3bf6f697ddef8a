"""The texts of requests and answers, wherever they are in the document."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

TextFunction: TypeAlias = Callable[[str], str]

REQUEST_KEYS = (
    "messages",
    "prompt",
    "suffix",
    "input",
    "instructions",
    "query",
    "documents",
    "prediction",
    "user",
    "metadata",
)
"""Members of a request that hold people's texts. Tool definitions and schemas are the developer's and stay."""

ANSWER_KEYS = ("choices", "output", "text", "error")
"""Members of an answer that hold the model's texts, or quote the request."""

_NOT_TEXT = frozenset(
    (
        "id",
        "name",
        "type",
        "role",
        "model",
        "object",
        "status",
        "tool_call_id",
        "call_id",
        "item_id",
        "finish_reason",
        "format",
        "detail",
        "image_url",
        "input_audio",
        "audio",
        "file",
        "file_id",
        "file_data",
        "data",
        "url",
        "b64_json",
        "signature",
        "encrypted_content",
        "logprobs",
    )
)


def rewrite_answer(document: dict[str, Any], text: TextFunction, arguments: TextFunction) -> bool:
    """Replace the texts of a whole answer in place; tell whether one changed.

    The log probabilities of a changed choice are dropped: their tokens would spell the former text.
    """
    changed = rewrite_texts(document, ANSWER_KEYS, text, arguments)
    choices = document.get("choices")
    if changed and isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("logprobs") is not None:
                choice["logprobs"] = None
    return changed


def rewrite_texts(document: dict[str, Any], keys: Iterable[str], text: TextFunction, arguments: TextFunction) -> bool:
    """Replace every text below ``keys`` in place; tell whether one changed.

    ``arguments`` is for texts that are JSON themselves: the arguments of tool calls. Identifiers, media and other
    members that are not prose are left alone.
    """
    changed = False
    waiting: deque[tuple[Any, Iterable[tuple[Any, Any]]]] = deque()
    waiting.append((document, [(key, document[key]) for key in keys if key in document]))
    while waiting:
        container, items = waiting.popleft()
        for key, value in items:
            if key in _NOT_TEXT:
                continue
            if isinstance(value, str):
                new = arguments(value) if key == "arguments" else text(value)
                if new != value:
                    container[key] = new
                    changed = True
            elif isinstance(value, dict):
                waiting.append((value, list(value.items())))
            elif isinstance(value, list):
                waiting.append((value, enumerate(value)))
    return changed
