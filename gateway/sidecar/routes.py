"""``GET /internal/routes?organization=ID``: what an organization's feedback taught, as workers hold it."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from fastapi import Request, Response

from gateway.contract.internal import PREFIX
from gateway.domain.actor import SYSTEM
from gateway.domain.learning.learner import routes
from gateway.domain.work import Works

PATH = f"{PREFIX}routes"

_encode = msgspec.json.Encoder().encode


async def told(request: Request) -> Response:
    """The answer: :class:`gateway.contract.learned_routes.LearnedRoutes` as JSON."""
    organization = request.query_params.get("organization")
    if not organization:
        error = {"code": "invalid_query", "message": "Expected ?organization=ID."}
        return Response(_encode({"error": error}), 400, media_type="application/json")
    works = cast(Works, cast(Any, request.app.state.context).works)
    async with works.read(SYSTEM) as work:
        found = await routes(work, organization)
    return Response(_encode(found), media_type="application/json")
