"""LLM Cost Ops' errors (reference, "Error Handling" and "Rate Limiting").

``{"error": {"code", "message", "details"}, "request_id"}``. ``details`` is a list of ``{field, message, code}`` for
faults of the input (422), and an object where a limit refused: ``limit``, ``remaining``, ``reset_at``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.contract.envelopes.base import Rendered, Table, amount, headers_of, reset_time, upgrades
from gateway.kernel.errors import FieldFault, GatewayError, Kind, LimitDetails

_BURST = (429, "BURST_LIMIT_EXCEEDED")
_MALFORMED = (400, "BAD_REQUEST")

TABLE = Table(
    {
        Kind.INVALID: (422, "VALIDATION_ERROR"),
        Kind.TOO_LARGE: (413, "PAYLOAD_TOO_LARGE"),
        Kind.UNAUTHENTICATED: (401, "INVALID_API_KEY"),
        Kind.FORBIDDEN: (403, "INSUFFICIENT_PERMISSIONS"),
        Kind.PAYMENT_REQUIRED: (402, "PAYMENT_REQUIRED"),
        Kind.NOT_FOUND: (404, "NOT_FOUND"),
        Kind.METHOD_NOT_ALLOWED: (405, "METHOD_NOT_ALLOWED"),
        Kind.CONFLICT: (409, "CONFLICT"),
        Kind.UNSUPPORTED_MEDIA: (415, "UNSUPPORTED_MEDIA_TYPE"),
        Kind.RATE_LIMITED: (429, "TOO_MANY_REQUESTS"),
        Kind.QUOTA_EXCEEDED: (429, "TOO_MANY_REQUESTS"),
        Kind.SUSPENDED: (403, "INSUFFICIENT_PERMISSIONS"),
        Kind.UPSTREAM: (502, "SERVICE_UNAVAILABLE"),
        Kind.UNAVAILABLE: (503, "SERVICE_UNAVAILABLE"),
        Kind.TIMEOUT: (504, "SERVICE_UNAVAILABLE"),
        Kind.INTERNAL: (500, "INTERNAL_SERVER_ERROR"),
    },
    {
        "missing_api_key": (401, "MISSING_CREDENTIALS"),
        "missing_credentials": (401, "MISSING_CREDENTIALS"),
        "invalid_credentials": (401, "INVALID_CREDENTIALS"),
        "invalid_token": (401, "INVALID_TOKEN"),
        "token_expired": (401, "TOKEN_EXPIRED"),
        "invalid_date_range": (422, "INVALID_DATE_RANGE"),
        "invalid_provider": (422, "INVALID_PROVIDER"),
        "invalid_model": (422, "INVALID_MODEL"),
        "missing_required_field": (422, "MISSING_REQUIRED_FIELD"),
        "already_exists": (409, "ALREADY_EXISTS"),
        "burst_limit_exceeded": _BURST,
        "database_error": (500, "DATABASE_ERROR"),
        "invalid_json": _MALFORMED,
        "invalid_request": _MALFORMED,
        "request_timeout": _MALFORMED,
    },
)


def render(error: GatewayError, *, request_id: str, now: datetime) -> Rendered:
    """An error in LLM Cost Ops' envelope."""
    status, code = TABLE.find(error)
    if error.kind is Kind.RATE_LIMITED and error.details is not None and _is_burst(error.details):
        status, code = _BURST
    inner: dict[str, Any] = {"code": code, "message": error.message}
    details = _details(error)
    if details:
        inner["details"] = details
    return Rendered(status, {"error": inner, "request_id": request_id}, headers_of(error))


def _details(error: GatewayError) -> dict[str, Any] | list[dict[str, str]]:
    if error.details is not None:
        return _limit(error.details, quota=error.kind is not Kind.RATE_LIMITED)
    faults = error.invalid
    if not faults and error.field is not None:
        faults = (FieldFault(error.field, error.message, error.code.upper()),)
    return [{"field": fault.field, "message": fault.message, "code": fault.code} for fault in faults]


def _limit(details: LimitDetails, *, quota: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "limit": amount(details, details.limit),
        "remaining": amount(details, max(0, details.remaining)),
        "reset_at": reset_time(details),
    }
    if quota:
        shown["usage"] = amount(details, details.used)
        shown["upgrade_options"] = upgrades(details)
    return shown


def _is_burst(details: LimitDetails) -> bool:
    window = details.window
    return window is not None and (window == "second" or (window[-1:] == "s" and window[:-1].isdecimal()))
