"""``/v1/billing``: what an app has used of its tier, and another tier for it.

``GET /v1/billing/usage`` is of two references: of this one for an app's credential, of LeanVibe for any other.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import HTTPConnection
from starlette.routing import Match
from starlette.types import Scope

from gateway.dialects.ai_marketplace import billing_wire as wire
from gateway.dialects.common.authentication import Known, is_app
from gateway.dialects.common.fields import naming
from gateway.dialects.common.routing import Route, make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.domain.apps.billing import billing
from gateway.domain.apps.service import AppService
from gateway.domain.apps.upgrade import upgrade
from gateway.domain.plans.service import PlanService


class AppRoute(Route):
    """A route for the credentials of apps alone; any other goes on to the next route of its path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As of any route, but for other credentials."""
        if scope["type"] != "http" or not is_app(HTTPConnection(scope)):
            return Match.NONE, {}
        return super().matches(scope)


router = make_router()
_of_apps = APIRouter(route_class=AppRoute, redirect_slashes=False)


@_of_apps.get("/v1/billing/usage")
async def usage(asked: Annotated[wire.UsageParameters, Query()], principal: Known, work: Reading) -> wire.UsageAnswer:
    """What the calling app has used; needs ``billing:read``."""
    policy = principal.policy
    principal.actor.require("billing:read", policy.organization)
    app = await AppService(work).get(policy.app or "")
    found = await billing(work, app, asked.period, policy.limits)
    return wire.usage(app, await PlanService(work).find(app.plan), found, asked)


@router.post("/v1/billing/upgrade")
async def another_tier(asked: wire.Upgrade, work: Writing) -> wire.UpgradeAnswer:
    """Put an app on a higher tier; needs ``apps:write`` for its organization."""
    with naming(tier="targetTier"):
        found = await upgrade(
            work, asked.app_id, asked.target_tier, asked.billing_period, confirmed=asked.confirm_upgrade
        )
    return wire.upgraded(asked, found)


router.include_router(_of_apps)
