"""``/v1/analytics``: what came of decisions, told by clients; and a dashboard."""

from __future__ import annotations

import asyncio
import re
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

router = make_router()

_LOOK = 0.1
_LONGEST_WAIT = 2.0
_OURS = re.compile(r"req_[0-9a-f]{26}\Z")


@router.post("/v1/analytics/track")
async def track(asked: wire.Track, principal: Known, works: WorksOf) -> wire.Tracked:
    """Tell what came of a decision; needs ``api:write`` and a tier with analytics."""
    await _entered(works, principal, asked.request_id)
    async with works.begin(principal.actor) as work:
        found = await feedback.track(work, asked.told())
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


async def _entered(works: Works, principal: Principal, request_id: str) -> None:
    """Wait until a decision is in the database, for two seconds at most: whoever was just answered may be quicker than
    its way into it. Raises what :func:`require_feature` raises."""
    until = time.monotonic() + _LONGEST_WAIT
    while True:
        async with works.read(principal.actor) as work:
            await require_feature(work, principal.policy.plan, "analytics")
            if await feedback.is_known(work, request_id):
                return
        if _OURS.match(request_id) is None or time.monotonic() >= until:
            return
        await asyncio.sleep(_LOOK)
