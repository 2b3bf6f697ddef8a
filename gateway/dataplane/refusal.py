"""What an upstream's error says beyond its status: whether a longer context would do, and errors that come with 200."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

# OpenAI's code; the others are what vLLM, llama.cpp, Anthropic, Mistral and Google say in words.
_TOO_LONG_CODES: Final = frozenset(("context_length_exceeded", "context_window_exceeded", "exceed_context_size_error"))
_TOO_LONG: Final = re.compile(
    r"maximum context length|context[ _](length|window|size)|prompt is too long|input is too long"
    r"|too many (input )?tokens|exceeds? the (maximum|max)\S* (number of )?(input )?tokens|input token count",
    re.IGNORECASE,
)
_TOO_LONG_STATUSES: Final = frozenset((400, 413, 422))
_SHOWN: Final = 2_000


def is_too_long(status: int, body: bytes) -> bool:
    """Whether a request was refused because it does not fit into the model's context."""
    if status not in _TOO_LONG_STATUSES:
        return False
    error = _error_in(body)
    if not isinstance(error, dict):
        return isinstance(error, str) and _TOO_LONG.search(error[:_SHOWN]) is not None
    if error.get("code") in _TOO_LONG_CODES or error.get("type") in _TOO_LONG_CODES:
        return True
    message = error.get("message")
    return isinstance(message, str) and _TOO_LONG.search(message[:_SHOWN]) is not None


def status_told(body: bytes) -> int | None:
    """Of a 200 whose body is an error: the status the error tells as its code, as aggregators do, else 502.

    None where the body holds no error.
    """
    error = _error_in(body)
    if not error:
        return None
    if isinstance(error, dict):
        for name in ("code", "status"):
            code = error.get(name)
            if type(code) is int and 400 <= code <= 599:
                return code
        if error.get("type") == "invalid_request_error" or error.get("code") == "content_filter":
            return 400
    return 502


def _error_in(body: bytes) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document.get("error") if isinstance(document, dict) else None
