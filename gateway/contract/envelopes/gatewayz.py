"""Gatewayz' errors (reference, "Error Handling"): ``{"detail", "status_code", "timestamp"}``.

A refusal by quota or credit carries ``usage``, ``limit``, ``reset_date`` and ``upgrade_options`` beside them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.contract.envelopes.base import (
    Rendered,
    Table,
    headers_of,
    quota_of,
    sentence,
    timestamp,
)
from gateway.kernel.errors import GatewayError, Kind

# kind → (HTTP status, unused: the envelope has no word)
TABLE = Table(
    {
        Kind.INVALID: (400, ""),
        Kind.TOO_LARGE: (413, ""),
        Kind.UNAUTHENTICATED: (401, ""),
        Kind.FORBIDDEN: (403, ""),
        Kind.PAYMENT_REQUIRED: (402, ""),
        Kind.NOT_FOUND: (404, ""),
        Kind.METHOD_NOT_ALLOWED: (405, ""),
        Kind.CONFLICT: (409, ""),
        Kind.UNSUPPORTED_MEDIA: (415, ""),
        Kind.RATE_LIMITED: (429, ""),
        Kind.QUOTA_EXCEEDED: (429, ""),
        Kind.SUSPENDED: (403, ""),
        Kind.UPSTREAM: (502, ""),
        Kind.UNAVAILABLE: (503, ""),
        Kind.TIMEOUT: (504, ""),
        Kind.INTERNAL: (500, ""),
    }
)


def body_of(detail: str, status: int, now: datetime) -> dict[str, Any]:
    """What every error says."""
    return {"detail": detail, "status_code": status, "timestamp": timestamp(now)}


def render(error: GatewayError, *, request_id: str, now: datetime) -> Rendered:
    """An error in Gatewayz' envelope; the request's id is in the header alone."""
    status, _ = TABLE.find(error)
    body = body_of(sentence(error), status, now)
    if error.details is not None and error.kind in (Kind.QUOTA_EXCEEDED, Kind.PAYMENT_REQUIRED):
        body |= quota_of(error.details)
    return Rendered(status, body, headers_of(error))
