"""Errors of the inference paths, in OpenAI's envelope (API reference, "Error codes").

``{"error": {"message", "type", "param", "code"}}``; where a limit refused, ``details`` stands beside them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.contract.envelopes.base import Rendered, Table, amount, headers_of, reset_time, upgrades
from gateway.kernel.errors import GatewayError, Kind, LimitDetails

# kind → (HTTP status, the envelope's ``type``)
TABLE = Table(
    {
        Kind.INVALID: (400, "invalid_request_error"),
        Kind.TOO_LARGE: (413, "invalid_request_error"),
        Kind.UNAUTHENTICATED: (401, "authentication_error"),
        Kind.FORBIDDEN: (403, "permission_error"),
        Kind.PAYMENT_REQUIRED: (402, "insufficient_quota"),
        Kind.NOT_FOUND: (404, "invalid_request_error"),
        Kind.METHOD_NOT_ALLOWED: (405, "invalid_request_error"),
        Kind.CONFLICT: (409, "invalid_request_error"),
        Kind.UNSUPPORTED_MEDIA: (415, "invalid_request_error"),
        Kind.RATE_LIMITED: (429, "rate_limit_error"),
        Kind.QUOTA_EXCEEDED: (429, "insufficient_quota"),
        Kind.SUSPENDED: (451, "permission_error"),
        Kind.UPSTREAM: (502, "upstream_error"),
        Kind.UNAVAILABLE: (503, "service_unavailable_error"),
        Kind.TIMEOUT: (504, "timeout_error"),
        Kind.INTERNAL: (500, "server_error"),
    }
)


def status_of(error: GatewayError) -> int:
    """The HTTP status of an error."""
    return TABLE.kinds[error.kind][0]


def body_of(error: GatewayError) -> dict[str, Any]:
    """The body of an error."""
    _, kind = TABLE.kinds[error.kind]
    inner: dict[str, Any] = {"message": error.message, "type": kind, "param": error.field, "code": error.code}
    if error.details is not None:
        inner["details"] = _details(error.details)
    return {"error": inner}


def render(error: GatewayError, *, request_id: str, now: datetime) -> Rendered:
    """An error in OpenAI's envelope, which has no place for the request's id or the time."""
    return Rendered(status_of(error), body_of(error), headers_of(error))


def _details(details: LimitDetails) -> dict[str, Any]:
    return {
        "metric": details.metric,
        "window": details.window,
        "usage": amount(details, details.used),
        "limit": amount(details, details.limit),
        "reset_date": reset_time(details),
        "plan": details.plan,
        "upgrade_options": upgrades(details),
    }
