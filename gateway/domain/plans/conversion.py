"""A plan as the configuration writes it, as the table keeps it, and as limits of whom it holds for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gateway.contract.policy import LimitPolicy, Scope
from gateway.domain.plans.model import Plan
from gateway.kernel.money import to_nanos
from gateway.settings import model as settings

UNLIMITED = {
    "max_users": 999_999,
    "max_projects": 999_999,
    "max_api_calls_per_month": 999_999_999,
    "max_storage_mb": 1_048_576,
    "max_ai_requests_per_day": 999_999,
    "max_concurrent_sessions": 999_999,
}
"""What stands for "no limit" where an API documents a number for each quota."""
_PER_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}
_COUNTED = {"max_api_calls_per_month": ("requests", "month"), "max_ai_requests_per_day": ("ai_requests", "day")}


def columns(plan: settings.Plan) -> dict[str, Any]:
    """The values of the columns that the configuration decides."""
    return {
        "title": plan.title or plan.name.replace("_", " ").capitalize(),
        "tier": plan.tier or plan.name.upper(),
        "description": plan.description,
        "price_nanos": None if plan.price is None else to_nanos(plan.price),
        "currency": plan.currency,
        "interval": plan.interval,
        "trial_days": plan.trial_days,
        "limits": [_limit(limit) for limit in plan.limits],
        "quotas": dict(plan.quotas),
        "features": list(plan.features),
        "benefits": list(plan.benefits or plan.features),
        "catalogs": list(plan.catalogs),
    }


def _limit(limit: settings.Limit) -> dict[str, Any]:
    return {
        "metric": limit.metric,
        "limit": to_nanos(limit.limit) if limit.metric == "cost" else int(limit.limit),
        "window": limit.window,
        "sliding": limit.sliding,
        "model": limit.model,
        "provider": limit.provider,
    }


def limits_for(plan: Plan, scope: Scope, scope_id: str) -> list[LimitPolicy]:
    """The plan's limits, counted for one organisation, app or key as a whole."""
    return [LimitPolicy(scope=scope, scope_id=scope_id, source="plan", name=plan.name, **item) for item in plan.limits]


def quotas_of(plan: Plan | None) -> dict[str, int]:
    """Every quota of a plan, those that are limits included; the number for "no limit" where it has none."""
    if plan is None:
        return dict(UNLIMITED)
    counted = {name: plan.limit_of(metric, window) for name, (metric, window) in _COUNTED.items()}
    return UNLIMITED | {name: limit for name, limit in counted.items() if limit is not None} | plan.quotas


def monthly_price(plan: Plan) -> int | None:
    """Nano-dollars a month; what is due once is told as it is. None where the price is agreed upon in person."""
    if plan.price_nanos is None or plan.interval not in _PER_YEAR:
        return plan.price_nanos
    return round(Fraction(plan.price_nanos * _PER_YEAR[plan.interval], 12))
