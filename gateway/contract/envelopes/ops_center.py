"""Ops-Center's errors (reference, "Error Handling"): ``{"detail", "error_code", "status_code"}``.

``error_code`` is the error's own code in capitals. A refusal by quota or credit carries ``usage``, ``limit``,
``reset_date`` and ``upgrade_options`` beside them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.contract.envelopes.base import Rendered, Table, headers_of, quota_of, sentence
from gateway.kernel.errors import GatewayError, Kind

# kind → (HTTP status, error_code of an error without a code)
TABLE = Table(
    {
        Kind.INVALID: (422, "VALIDATION_ERROR"),
        Kind.TOO_LARGE: (413, "PAYLOAD_TOO_LARGE"),
        Kind.UNAUTHENTICATED: (401, "UNAUTHORIZED"),
        Kind.FORBIDDEN: (403, "FORBIDDEN"),
        Kind.PAYMENT_REQUIRED: (402, "PAYMENT_REQUIRED"),
        Kind.NOT_FOUND: (404, "NOT_FOUND"),
        Kind.METHOD_NOT_ALLOWED: (405, "METHOD_NOT_ALLOWED"),
        Kind.CONFLICT: (409, "CONFLICT"),
        Kind.UNSUPPORTED_MEDIA: (415, "UNSUPPORTED_MEDIA_TYPE"),
        Kind.RATE_LIMITED: (429, "RATE_LIMIT_EXCEEDED"),
        Kind.QUOTA_EXCEEDED: (429, "QUOTA_EXCEEDED"),
        Kind.SUSPENDED: (403, "ACCOUNT_SUSPENDED"),
        Kind.UPSTREAM: (502, "UPSTREAM_ERROR"),
        Kind.UNAVAILABLE: (503, "SERVICE_UNAVAILABLE"),
        Kind.TIMEOUT: (504, "TIMEOUT"),
        Kind.INTERNAL: (500, "INTERNAL_ERROR"),
    },
    {
        # What is no JSON or no HTTP at all has no field to correct.
        "invalid_json": (400, "INVALID_JSON"),
        "invalid_request": (400, "INVALID_REQUEST"),
        "request_timeout": (400, "REQUEST_TIMEOUT"),
    },
)


def render(error: GatewayError, *, request_id: str, now: datetime) -> Rendered:
    """An error in Ops-Center's envelope; the request's id is in the header alone."""
    status, code = TABLE.find(error)
    body: dict[str, Any] = {
        "detail": sentence(error),
        "error_code": error.code.upper() or code,
        "status_code": status,
    }
    if error.details is not None and error.kind in (Kind.QUOTA_EXCEEDED, Kind.PAYMENT_REQUIRED):
        body |= quota_of(error.details)
    return Rendered(status, body, headers_of(error))
