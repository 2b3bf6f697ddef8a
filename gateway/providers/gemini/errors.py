"""Google's errors: ``{"error": {"code", "message", "status", "details"}}``, alone or in a list (AIP-193)."""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers.base import Failure, failure, quoted

_STATUSES: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_BAD_KEY: Final = frozenset(("API_KEY_INVALID", "API_KEY_EXPIRED"))


def error(status: int, body: bytes) -> Failure:
    """See :meth:`gateway.providers.base.Translator.error`."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return quoted(status, body)
    if isinstance(told, list) and told:
        told = told[0]
    fault = told.get("error") if isinstance(told, dict) else None
    if not isinstance(fault, dict):
        return quoted(status, body)
    status, message, word = parsed(fault, status)
    return failure(status, message or f"The upstream answered with status {status}.", word)


def parsed(fault: Any, status: int) -> tuple[int, str, str | None]:
    """The status, the message and the word of an error. A bad API key comes as a 400 and is a 401."""
    if not isinstance(fault, dict):
        return status, str(fault)[:500], None
    word = fault.get("status")
    code = fault.get("code")
    if status == 500 and isinstance(code, int) and 400 <= code <= 599:
        status = code
    elif status == 500 and isinstance(word, str):
        status = _STATUSES.get(word, status)
    details = fault.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("reason") in _BAD_KEY:
            status, word = 401, detail["reason"]
    return status, str(fault.get("message") or ""), word if isinstance(word, str) else None
