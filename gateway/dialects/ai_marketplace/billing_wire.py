"""What AI Marketplace's billing asks and answers, in ``camelCase``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from gateway.dialects.ai_marketplace.wire import Limits, limits_of
from gateway.dialects.common.models import CamelAnswer, CamelAsked, CamelParameters, Dollars, Instant
from gateway.domain.apps.billing import Billing, Month, Span
from gateway.domain.apps.features import features_of
from gateway.domain.apps.model import App
from gateway.domain.apps.upgrade import Billed, Upgraded
from gateway.domain.plans.model import Plan

ROUTED, TOLD, CALLED = "ml_route", "analytics", "inference"


class UsageParameters(CamelParameters):
    """Which usage. The longer periods add the months before this one."""

    period: Span = "current"
    include_projections: bool = True
    include_breakdown: bool = True


class Upgrade(CamelAsked):
    """Another tier. ``paymentMethodId`` is not kept: nothing is charged."""

    app_id: Annotated[str, Field(min_length=1, max_length=200)]
    target_tier: str
    billing_period: Billed = "monthly"
    payment_method_id: Annotated[str, Field(max_length=200)] | None = None
    confirm_upgrade: bool = False


class AppOf(CamelAnswer):
    """The app whose usage it is."""

    id: str
    name: str
    tier: str
    status: str


class Used(CamelAnswer):
    """What was used: requests of models, decisions of learned routes, and reports of what came of them."""

    requests_count: int
    ml_routing_count: int
    analytics_requests: int
    total_cost: Dollars


class Utilization(CamelAnswer):
    """Percent of the tier's requests of a month, and of the least limit of money over a month; null without one."""

    requests: int | None
    cost: int | None


class Current(CamelAnswer):
    """The present month."""

    start: Instant
    end: Instant
    usage: Used
    limits: Limits
    utilization: Utilization


class EndOfMonth(CamelAnswer):
    """What the month comes to if it goes on; ``confidence`` is percent."""

    projected_requests: int
    projected_cost: Dollars
    confidence: int


class Projections(CamelAnswer):
    """What is expected."""

    end_of_month: EndOfMonth


class EventPart(CamelAnswer):
    """Requests of a kind."""

    event_type: str
    count: int
    total_cost: Dollars


class ProviderPart(CamelAnswer):
    """Requests of a provider."""

    provider: str
    count: int
    total_cost: Dollars


class Breakdown(CamelAnswer):
    """The present month in parts."""

    by_event_type: list[EventPart]
    by_provider: list[ProviderPart]


class MonthAnswer(CamelAnswer):
    """A month, the present one too."""

    start: Instant
    end: Instant
    requests_count: int
    total_cost: Dollars


class UsageData(CamelAnswer):
    """An app's usage; null is what was not asked for."""

    app: AppOf
    current_period: Current
    projections: Projections | None
    breakdown: Breakdown | None
    history: list[MonthAnswer] | None


class UsageAnswer(CamelAnswer):
    """An app's usage."""

    success: Literal[True] = True
    data: UsageData


class Bill(CamelAnswer):
    """``cost`` is the list price of a period, null where it is agreed upon; ``charged`` says that nothing was paid.

    ``nextBillingDate`` is when the next period begins.
    """

    cost: Dollars | None
    period: Billed
    next_billing_date: Instant
    charged: Literal[False] = False


class UpgradedTo(CamelAnswer):
    """An app on its new tier."""

    app_id: str
    previous_tier: str
    new_tier: str
    features: dict[str, bool]
    limits: Limits
    billing: Bill
    effective_immediately: Literal[True] = True


class UpgradeAnswer(CamelAnswer):
    """An app on its new tier."""

    success: Literal[True] = True
    message: str = "Tier upgraded successfully"
    upgrade: UpgradedTo


def usage(app: App, plan: Plan | None, found: Billing, asked: UsageParameters) -> UsageAnswer:
    """The answer with an app's usage."""
    month = found.month
    limits = limits_of(plan)
    most = limits.requests_per_month
    used = Used(
        requests_count=month.requests,
        ml_routing_count=found.routed.decisions,
        analytics_requests=found.routed.tracked,
        total_cost=month.cost_nanos,
    )
    current = Current(
        start=month.start,
        end=month.end,
        usage=used,
        limits=limits,
        utilization=Utilization(requests=round(100 * month.requests / most) if most else None, cost=found.cost_used),
    )
    tier = "" if plan is None else plan.tier
    return UsageAnswer(
        data=UsageData(
            app=AppOf(id=app.id, name=app.name, tier=tier, status=app.status.upper()),
            current_period=current,
            projections=_projections(found) if asked.include_projections else None,
            breakdown=_breakdown(found) if asked.include_breakdown else None,
            history=[_month(each) for each in found.months] if asked.period != "current" else None,
        )
    )


def upgraded(asked: Upgrade, found: Upgraded) -> UpgradeAnswer:
    """The answer to an upgrade."""
    return UpgradeAnswer(
        upgrade=UpgradedTo(
            app_id=asked.app_id,
            previous_tier="NONE" if found.before is None else found.before.tier,
            new_tier=found.now.tier,
            features={to_camel(name): has for name, has in features_of(found.now).items()},
            limits=limits_of(found.now),
            billing=Bill(cost=found.cost_nanos, period=found.billed, next_billing_date=found.next_date),
        )
    )


def _projections(found: Billing) -> Projections:
    expected = found.projection
    return Projections(
        end_of_month=EndOfMonth(
            projected_requests=expected.requests,
            projected_cost=expected.cost_nanos,
            confidence=expected.confidence,
        )
    )


def _breakdown(found: Billing) -> Breakdown:
    routed, month = found.routed, found.month
    counts = {ROUTED: (routed.advised, 0), TOLD: (routed.tracked, 0)}
    counts[CALLED] = (max(0, month.requests - routed.advised), month.cost_nanos)
    return Breakdown(
        by_event_type=[
            EventPart(event_type=name, count=count, total_cost=cost) for name, (count, cost) in counts.items()
        ],
        by_provider=[
            ProviderPart(provider=part.name.upper(), count=part.requests, total_cost=part.cost_nanos)
            for part in found.providers
        ],
    )


def _month(month: Month) -> MonthAnswer:
    return MonthAnswer(start=month.start, end=month.end, requests_count=month.requests, total_cost=month.cost_nanos)
