"""AI Marketplace's errors (reference, "Error Handling", "Authentication Errors" and "Rate Limit Response").

``{"error", "message", "code", "details", "timestamp", "requestId"}``; ``error`` names the type in words. A refusal by
rate has ``remainingRequests``, ``rateLimitReset`` and ``tier`` beside them; one by quota has its figures in
``details``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.contract.envelopes.base import Rendered, Table, amount, headers_of, reset_time, timestamp, upgrades
from gateway.kernel.errors import FieldFault, GatewayError, Kind, LimitDetails, Upgrade
from gateway.kernel.money import to_dollars

TABLE = Table(
    {
        Kind.INVALID: (400, "VALIDATION_ERROR"),
        Kind.TOO_LARGE: (413, "VALIDATION_ERROR"),
        Kind.UNAUTHENTICATED: (401, "AUTHENTICATION_FAILED"),
        Kind.FORBIDDEN: (403, "FORBIDDEN"),
        Kind.PAYMENT_REQUIRED: (402, "PAYMENT_REQUIRED"),
        Kind.NOT_FOUND: (404, "NOT_FOUND"),
        Kind.METHOD_NOT_ALLOWED: (405, "METHOD_NOT_ALLOWED"),
        Kind.CONFLICT: (409, "CONFLICT"),
        Kind.UNSUPPORTED_MEDIA: (415, "VALIDATION_ERROR"),
        Kind.RATE_LIMITED: (429, "RATE_LIMIT_EXCEEDED"),
        Kind.QUOTA_EXCEEDED: (429, "QUOTA_EXCEEDED"),
        Kind.SUSPENDED: (403, "APP_SUSPENDED"),
        Kind.UPSTREAM: (502, "UPSTREAM_ERROR"),
        Kind.UNAVAILABLE: (503, "SERVICE_UNAVAILABLE"),
        Kind.TIMEOUT: (504, "SERVICE_UNAVAILABLE"),
        Kind.INTERNAL: (500, "INTERNAL_ERROR"),
    },
    {
        "invalid_credentials": (401, "INVALID_CREDENTIALS"),
        "app_not_found": (401, "APP_NOT_FOUND"),
        "feature_not_available": (403, "FEATURE_NOT_AVAILABLE"),
        "ml_routing_failed": (500, "ML_ROUTING_FAILED"),
    },
)

# The type in words is the code's own, but for these.
_TITLES = {"ML_ROUTING_FAILED": "ML Routing Failed"}


def render(error: GatewayError, *, request_id: str, now: datetime) -> Rendered:
    """An error in AI Marketplace's envelope."""
    status, code = TABLE.find(error)
    if error.kind is Kind.NOT_FOUND:
        status = 404  # an app in a path; the documented 401 is for one in a credential
    body: dict[str, Any] = {
        "error": _TITLES.get(code) or code.replace("_", " ").title(),
        "message": error.message,
        "code": code,
        "details": _details(error),
        "timestamp": timestamp(now),
        "requestId": request_id,
    }
    details = error.details
    if error.kind is Kind.RATE_LIMITED and details is not None:
        body["remainingRequests"] = amount(details, max(0, details.remaining))
        body["rateLimitReset"] = reset_time(details)
        body["tier"] = _tier(details)
    return Rendered(status, body, headers_of(error))


def _tier(details: LimitDetails) -> str | None:
    return details.tier or (details.plan.upper() if details.plan is not None else None)


def _details(error: GatewayError) -> dict[str, Any]:
    if error.details is not None:
        return _limit(error.details)
    faults = error.invalid
    if not faults and error.field is not None:
        faults = (FieldFault(error.field, error.message),)
    return {"errors": [{"field": fault.field, "message": fault.message} for fault in faults]} if faults else {}


def _limit(details: LimitDetails) -> dict[str, Any]:
    return {
        "usage": amount(details, details.used),
        "limit": amount(details, details.limit),
        "resetDate": reset_time(details),
        "tier": _tier(details),
        "upgradeOptions": upgrades(details, _upgrade),
    }


def _upgrade(upgrade: Upgrade) -> dict[str, Any]:
    price = None if upgrade.price is None else to_dollars(upgrade.price)
    return {"tier": upgrade.tier or upgrade.plan.upper(), "monthlyPrice": price, "benefits": list(upgrade.benefits)}
