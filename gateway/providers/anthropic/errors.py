"""Anthropic's errors as OpenAI would tell them (API reference, "Errors")."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers.base import Failure, Json, envelope, failure, quoted

# Anthropic's word → (the status it stands for, OpenAI's type)
_TYPES: Final[dict[str, tuple[int, str]]] = {
    "invalid_request_error": (400, "invalid_request_error"),
    "authentication_error": (401, "authentication_error"),
    "billing_error": (402, "insufficient_quota"),
    "permission_error": (403, "permission_error"),
    "not_found_error": (404, "invalid_request_error"),
    "conflict_error": (409, "invalid_request_error"),
    "request_too_large": (413, "invalid_request_error"),
    "rate_limit_error": (429, "rate_limit_error"),
    "api_error": (500, "server_error"),
    "timeout_error": (504, "timeout_error"),
    "overloaded_error": (503, "service_unavailable_error"),
}
_OVERLOADED: Final = 529
_TOO_LONG: Final = "prompt is too long"


def error(status: int, body: bytes) -> Failure:
    """An answer with status 400 and above."""
    try:
        told = orjson.loads(body).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        return quoted(503 if status == _OVERLOADED else status, body)
    word = str(told.get("type") or "")
    meant, kind = _TYPES.get(word, (status, ""))
    status = 503 if status == _OVERLOADED or meant == 503 else status
    if not kind:
        return failure(status, told["message"], word or None)
    return Failure(status, envelope(told["message"], kind, _code(word, told["message"])))


def error_chunk(told: Any) -> Json:
    """The error of an ``error`` event; its code is the status it stands for."""
    told = told if isinstance(told, dict) else {}
    status, kind = _TYPES.get(str(told.get("type")), (502, "upstream_error"))
    return envelope(str(told.get("message") or "The upstream reported an error."), kind, status)


def _code(word: str, message: str) -> str:
    return "context_length_exceeded" if _TOO_LONG in message.lower() else word
