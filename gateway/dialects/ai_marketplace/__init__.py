"""AI Marketplace: apps with a tier, and the credentials they call with."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.dialects.ai_marketplace import analytics, apps, billing
from gateway.dialects.common.routing import make_router


def router() -> APIRouter:
    """Every operation of the reference that is served."""
    made = make_router()
    made.include_router(apps.router)
    made.include_router(analytics.router)
    made.include_router(billing.router)
    return made
