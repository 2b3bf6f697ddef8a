"""What AI Marketplace asks and answers, in ``camelCase``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic.alias_generators import to_camel

from gateway.dialects.common.models import CamelAnswer, CamelAsked, Dollars
from gateway.domain.apps.features import features_of
from gateway.domain.apps.model import App
from gateway.domain.apps.usage import AppUsage
from gateway.domain.credentials.secret import app_bearer
from gateway.domain.plans.model import Plan

_STORE = "Store these credentials securely. The secret key will not be shown again."
_UPDATE = "Update your applications with the new secret key. The old key is no longer valid."
_SHOWN = 7  # characters of each half in authFormat
_WINDOWS = ("month", "minute")


class RegisterApp(CamelAsked):
    """An app to register. ``organizationId`` is for the platform's administrators: whom it is for."""

    name: str
    description: str = ""
    tier: str = "COMMUNITY"
    organization_id: str | None = None


class Limits(CamelAnswer):
    """The limits of a tier; null where there is none."""

    requests_per_month: int | None
    requests_per_minute: int | None


class _AppAnswer(CamelAnswer):
    id: str
    name: str
    app_id: str
    tier: str
    status: str
    features: dict[str, bool]
    limits: Limits


class RegisteredApp(_AppAnswer):
    """A new app."""


class MonthUsage(CamelAnswer):
    """What an app has used of models in this calendar month (UTC); ``totalCost`` in dollars, of what has a price."""

    requests_count: int
    ml_routing_count: int
    total_cost: Dollars


class Usage(CamelAnswer):
    """What an app has used; ``requestsThisPeriod`` is what counts for ``requestsPerMonth``, calls of this API too."""

    requests_this_period: int
    current_month_usage: MonthUsage


class Analytics(CamelAnswer):
    """How an app's requests of this month went; those failed that did not get their whole answer.

    ``avgResponseTime`` is milliseconds until the end of the answer.
    """

    total_requests: int
    successful_requests: int
    failed_requests: int
    avg_response_time: int


class AppDetails(_AppAnswer):
    """An app, and what it has used."""

    description: str
    usage: Usage
    analytics: Analytics


class Credentials(CamelAnswer):
    """What an app calls with: ``Authorization: Bearer <appId>:<secretKey>``."""

    app_id: str
    secret_key: str
    auth_format: str


class Registration(CamelAnswer):
    """A new app with its credentials."""

    success: Literal[True] = True
    app: RegisteredApp
    credentials: Credentials
    warning: str = _STORE


class Details(CamelAnswer):
    """An app."""

    success: Literal[True] = True
    app: AppDetails


class Rotation(CamelAnswer):
    """An app's new credentials."""

    success: Literal[True] = True
    message: str = "Secret key rotated successfully"
    credentials: Credentials
    warning: str = _UPDATE


def registered(app: App, plan: Plan | None, bearer: str) -> Registration:
    """A new app. ``bearer`` is the whole of what it sends."""
    return Registration(app=RegisteredApp(**_common(app, plan)), credentials=credentials(bearer))


def details(app: App, plan: Plan | None, used: AppUsage) -> Details:
    """An app that ``used`` this much in this month."""
    month = MonthUsage(requests_count=used.requests, ml_routing_count=used.routed, total_cost=used.cost_nanos)
    analytics = Analytics(
        total_requests=used.requests,
        successful_requests=used.succeeded,
        failed_requests=used.failed,
        avg_response_time=used.average_ms,
    )
    shown = AppDetails(
        **_common(app, plan),
        description=app.description,
        usage=Usage(requests_this_period=used.counted, current_month_usage=month),
        analytics=analytics,
    )
    return Details(app=shown)


def credentials(bearer: str) -> Credentials:
    """The two halves of what an app sends, and how to send them."""
    app_id, _, secret = bearer.partition(":")
    shown = app_bearer(f"{app_id[:_SHOWN]}...", f"{secret[:_SHOWN]}...")
    return Credentials(app_id=app_id, secret_key=secret, auth_format=f"Bearer {shown}")


def limits_of(plan: Plan | None) -> Limits:
    """The limits of a tier."""
    per = {f"requests_per_{name}": None if plan is None else plan.limit_of("requests", name) for name in _WINDOWS}
    return Limits(**per)


def _common(app: App, plan: Plan | None) -> dict[str, Any]:
    return {
        "id": app.id,
        "name": app.name,
        "app_id": app.app_id,
        "tier": (app.plan or "").upper() if plan is None else plan.tier,
        "status": app.status.upper(),
        "features": {to_camel(name): has for name, has in features_of(plan).items()},
        "limits": limits_of(plan),
    }
