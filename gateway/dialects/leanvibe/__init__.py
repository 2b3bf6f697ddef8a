"""LeanVibe: tenants, their quotas, and signing in."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.dialects.common.routing import make_router
from gateway.dialects.leanvibe import auth, me, tenants


def router() -> APIRouter:
    """Every operation of the reference that is served."""
    made = make_router()
    for routes in (auth.routes, me.routes, tenants.routes):
        made.include_router(routes)
    return made
