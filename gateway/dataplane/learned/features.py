"""Which tiers may ask for decisions (AI Marketplace's reference, "Tier System")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.dataplane.plans import plans_of
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Plan

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange

NAMES: Final = {"ml_routing": "ML routing", "batch_routing": "Batch routing"}
"""Features of plans, and what they are called."""
_CATALOG: Final = "ai_marketplace"
_OPERATOR: Final = frozenset(("master", "static"))


def plan_of(exchange: Exchange) -> Plan | None:
    """The caller's plan, where the configuration has it."""
    caller = exchange.caller
    name = None if caller is None else caller.plan
    if name is None:
        return None
    return next((plan for plan in plans_of(exchange.runtime.settings) if plan.name == name), None)


def tier_of(exchange: Exchange) -> str | None:
    """The tier that the caller's plan is known as; None without a plan."""
    plan = plan_of(exchange)
    if plan is not None:
        return plan.tier or plan.name.upper()
    return None if exchange.caller is None or exchange.caller.plan is None else exchange.caller.plan.upper()


def require_feature(exchange: Exchange, feature: str) -> None:
    """Raise FORBIDDEN ``feature_not_available`` where the caller's plan lacks one of :data:`NAMES`.

    The operator's own keys, those of ``gateway.yaml`` without a plan and the master key, may use everything.
    """
    caller = exchange.caller
    assert caller is not None
    if caller.plan is None and caller.policy.kind in _OPERATOR:
        return
    plan = plan_of(exchange)
    if plan is not None and feature in plan.features:
        return
    tiers = [
        each.tier or each.name.upper()
        for each in plans_of(exchange.runtime.settings)
        if feature in each.features and (not each.catalogs or _CATALOG in each.catalogs)
    ]
    tier = tier_of(exchange)
    where = "without a tier" if tier is None else f"in the {tier} tier"
    needed = f" It needs one of: {', '.join(tiers)}." if tiers else ""
    message = f"{NAMES[feature]} is not available {where}.{needed}"
    raise GatewayError(Kind.FORBIDDEN, "feature_not_available", message)
