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

# Words for why a Response failed ("The response object", ``error.code``): what was asked, or who was asked.
_ASKED: Final = re.compile(r"invalid_|image_|unsupported_|empty_image|failed_to_download|bio_policy|cyber_policy")
_STATUSES: Final = {"rate_limit_exceeded": 429, "vector_store_timeout": 504}


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
    """Of a 200 whose body is an error, or a Response that failed: the status that the error tells as its code or by its
    word, else 502.

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
        word = error.get("code")
        if isinstance(word, str) and "type" not in error:  # a Response's error has a code alone
            return 400 if _ASKED.match(word) else _STATUSES.get(word, 502)
    return 502


def error_told(document: Any) -> Any:
    """What a document tells of an error: an envelope, a Response that failed, or the ``error`` event of a stream of
    Responses. None where there is none.
    """
    if not isinstance(document, dict):
        return None
    kind = document.get("type")
    if kind == "response.failed":
        response = document.get("response")
        return (response.get("error") if isinstance(response, dict) else None) or {"code": "server_error"}
    return document if kind == "error" and "error" not in document else document.get("error")


def as_envelope(body: bytes) -> bytes:
    """An event that reports an error, as the body of an answer."""
    error = _error_in(body)
    document = orjson.loads(body) if error is not None else {}
    return body if document.get("error") == error or not isinstance(error, dict) else orjson.dumps({"error": error})


def _error_in(body: bytes) -> Any:
    try:
        return error_told(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None
