"""LeanVibe: tenants, their quotas, and signing in."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.dialects.common.routing import make_router
from gateway.dialects.leanvibe import auth, me, tenants


def router() -> APIRouter:
    """Every operation of the reference that is served."""
    made = make_router()
    for part in (auth, me, tenants):
        made.include_router(part.router)
    return made
