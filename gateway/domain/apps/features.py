"""What an app's tier allows it to use, and the gate before what it does not."""

from __future__ import annotations

from gateway.domain.apps.service import CATALOG
from gateway.domain.plans.model import Plan
from gateway.domain.plans.service import PlanService
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

FEATURES = {
    "ml_routing": "ML routing",
    "analytics": "Analytics",
    "caching": "Caching",
    "custom_models": "Custom models",
    "batch_routing": "Batch routing",
}
"""The features that tiers differ in, and what they are called."""
_ALWAYS_TOLD = ("ml_routing", "analytics", "caching")


def features_of(plan: Plan | None) -> dict[str, bool]:
    """What a plan has; of ML routing, analytics and caching also that it has them not."""
    has = [] if plan is None else plan.features
    return dict.fromkeys(_ALWAYS_TOLD, False) | dict.fromkeys(has, True)


async def require_feature(work: Work, plan: str | None, feature: str) -> None:
    """Raise FORBIDDEN ``feature_not_available`` where the caller's plan (by name) is without one of :data:`FEATURES`.

    The platform may use everything.
    """
    if work.actor.is_platform_admin:
        return
    plans = PlanService(work)
    held = await plans.find(plan)
    if held is not None and feature in held.features:
        return
    tiers = [other.tier for other in await plans.list(CATALOG) if feature in other.features]
    where = "without a tier" if held is None else f"in the {held.tier} tier"
    needed = f" It needs one of: {', '.join(tiers)}." if tiers else ""
    message = f"{FEATURES[feature]} is not available {where}.{needed}"
    raise GatewayError(Kind.FORBIDDEN, "feature_not_available", message)
