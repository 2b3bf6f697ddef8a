"""``/v1/analytics``: what came of decisions, told by clients; and a dashboard."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import Query

from gateway.dialects.ai_marketplace import analytics_wire as wire
from gateway.dialects.common.authentication import Known
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, WorksOf
from gateway.domain.apps.features import require_feature
from gateway.domain.authentication.principal import Principal
from gateway.domain.learning import feedback
from gateway.domain.learning.dashboard import Whose, dashboard
from gateway.domain.work import Works
from gateway.kernel.errors import GatewayError
from gateway.kernel.ids import made_at

router = make_router()

ENTERED_WITHIN = 5.0
"""Seconds after a decision in which it may be on its way into the database."""
_LOOK = 0.1
_LONGEST_WAIT = 2.0


@router.post("/v1/analytics/track")
async def track(asked: wire.Track, principal: Known, works: WorksOf) -> wire.Tracked:
    """Tell what came of a decision; needs ``api:write`` and a tier with analytics."""
    until = time.monotonic() + _LONGEST_WAIT
    while True:
        try:
            found = await _track(works, principal, asked.told())
        except GatewayError as error:
            if error.code != "decision_not_found" or time.monotonic() >= until or not _is_new(asked.request_id):
                raise
            # Whoever was just answered may be quicker than the decision's way into the database.
            await asyncio.sleep(_LOOK)
            continue
        return wire.tracked(asked.request_id, found)


@router.get("/v1/analytics/dashboard")
async def show(
    asked: Annotated[wire.DashboardParameters, Query()], principal: Known, work: Reading
) -> wire.DashboardAnswer:
    """An app's dashboard, or that of the caller's organization; needs ``analytics:read`` and a tier with analytics."""
    policy, actor = principal.policy, principal.actor
    await require_feature(work, policy.plan, "analytics")
    organization = None if actor.is_platform_admin else policy.organization
    actor.require("analytics:read", organization)
    whose = Whose(organization, policy.id if policy.app is not None else None)
    found = await dashboard(
        work,
        whose,
        asked.period,
        with_insights=asked.include_insights,
        with_recommendations=asked.include_recommendations,
    )
    return wire.dashboard(found)


async def _track(works: Works, principal: Principal, told: feedback.Told) -> feedback.Accuracy:
    async with works.begin(principal.actor) as work:
        await require_feature(work, principal.policy.plan, "analytics")
        return await feedback.track(work, told)


def _is_new(request_id: str) -> bool:
    made = made_at(request_id)
    return made is not None and abs(time.time() - made) < ENTERED_WITHIN
