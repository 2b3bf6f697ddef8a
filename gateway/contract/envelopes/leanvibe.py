"""LeanVibe's errors (reference, "Error Handling" and "Quota Exceeded Response").

``{"error", "message", "details", "request_id", "timestamp"}``; ``details`` names the field and its faults, or the quota
that is used up. With the latter come ``upgrade_options``, prices in cents as everywhere in this reference.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.contract.envelopes.base import Rendered, Table, amount, headers_of, reset_time, timestamp, upgrades
from gateway.kernel.errors import GatewayError, Kind, LimitDetails, Upgrade

TABLE = Table(
    {
        Kind.INVALID: (400, "invalid_request"),
        Kind.TOO_LARGE: (413, "invalid_request"),
        Kind.UNAUTHENTICATED: (401, "unauthorized"),
        Kind.FORBIDDEN: (403, "forbidden"),
        Kind.PAYMENT_REQUIRED: (402, "payment_required"),
        Kind.NOT_FOUND: (404, "not_found"),
        Kind.METHOD_NOT_ALLOWED: (405, "method_not_allowed"),
        Kind.CONFLICT: (409, "conflict"),
        Kind.UNSUPPORTED_MEDIA: (415, "invalid_request"),
        Kind.RATE_LIMITED: (429, "quota_exceeded"),
        Kind.QUOTA_EXCEEDED: (429, "quota_exceeded"),
        Kind.SUSPENDED: (451, "tenant_suspended"),
        Kind.UPSTREAM: (502, "service_unavailable"),
        Kind.UNAVAILABLE: (503, "service_unavailable"),
        Kind.TIMEOUT: (504, "service_unavailable"),
        Kind.INTERNAL: (500, "server_error"),
    }
)

_NANOS_PER_CENT = 10_000_000
# What this reference calls the metrics ("Check Quota Availability"); the others have the same name.
_QUOTAS = {"requests": "api_calls", "concurrency": "concurrent_sessions"}


def render(error: GatewayError, *, request_id: str, now: datetime) -> Rendered:
    """An error in LeanVibe's envelope."""
    status, code = TABLE.find(error)
    body: dict[str, Any] = {
        "error": code,
        "message": error.message,
        "details": _details(error),
        "request_id": request_id,
        "timestamp": timestamp(now),
    }
    if error.details is not None:
        body["upgrade_options"] = upgrades(error.details, _upgrade)
    return Rendered(status, body, headers_of(error))


def _details(error: GatewayError) -> dict[str, Any]:
    if error.details is not None:
        return _limit(error.details)
    if error.invalid:
        lines = [
            fault.message if len(error.invalid) == 1 else f"{fault.field}: {fault.message}" for fault in error.invalid
        ]
        return {"field": error.field or error.invalid[0].field, "validation_errors": lines}
    if error.field is not None:
        return {"field": error.field, "validation_errors": [error.message]}
    return {}


def _limit(details: LimitDetails) -> dict[str, Any]:
    return {
        "quota_type": _QUOTAS.get(details.metric, details.metric),
        "current_usage": amount(details, details.used),
        "quota_limit": amount(details, details.limit),
        "reset_date": reset_time(details),
    }


def _upgrade(upgrade: Upgrade) -> dict[str, Any]:
    price = None if upgrade.price is None else round(upgrade.price / _NANOS_PER_CENT)
    return {"plan": upgrade.plan, "monthly_price": price, "benefits": list(upgrade.benefits)}
