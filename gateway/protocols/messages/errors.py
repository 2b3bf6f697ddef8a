"""Errors in Anthropic's envelope (API reference, "Errors")."""

from __future__ import annotations

from typing import Final

from gateway.protocols.base import Json

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_of(status: int, envelope: Json, request_id: str) -> Json:
    """The body of an error, out of OpenAI's envelope; a word for its cause is ``error.details.error_code``."""
    told = envelope.get("error")
    if not isinstance(told, dict):
        told = {"message": str(told or "The request failed.")}
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    error: Json = {"type": kind, "message": str(told.get("message") or "The request failed.")}
    details = {name: told[key] for name, key in (("error_code", "code"), ("param", "param")) if told.get(key)}
    if isinstance(told.get("details"), dict):
        details |= told["details"]
    if details:
        error["details"] = details
    return {"type": "error", "error": error, "request_id": request_id}
