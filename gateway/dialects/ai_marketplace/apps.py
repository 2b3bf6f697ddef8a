"""``/v1/apps``: registered, looked at, given another secret."""

from __future__ import annotations

from gateway.dialects.ai_marketplace import wire
from gateway.dialects.common.fields import naming
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.domain.apps.service import AppService
from gateway.domain.apps.usage import usage_this_month
from gateway.domain.plans.service import PlanService

router = make_router()


@router.post("/v1/apps/register")
async def register(asked: wire.RegisterApp, work: Writing) -> wire.Registration:
    """Register an app for the caller's organisation; needs ``apps:write``."""
    with naming(organization_id="organizationId"):
        made = await AppService(work).register(
            asked.name, description=asked.description, tier=asked.tier, organization=asked.organization_id
        )
    return wire.registered(made.app, await PlanService(work).find(made.app.plan), made.bearer)


@router.get("/v1/apps/{appId}")
async def details(appId: str, work: Reading) -> wire.Details:
    """One app: for itself, for its organisation with ``apps:read``, for the platform."""
    app = await AppService(work).get(appId)
    return wire.details(app, await PlanService(work).find(app.plan), await usage_this_month(work, app))


@router.post("/v1/apps/{appId}/keys")
async def rotate(appId: str, work: Writing) -> wire.Rotation:
    """Give an app another secret: by itself, by its organisation with ``apps:write``, by the platform."""
    _, bearer = await AppService(work).rotate(appId)
    return wire.Rotation(credentials=wire.credentials(bearer))
