"""The LLM Cost Ops reference, version 1.0.0: answers under ``data``, pages by cursor."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.dialects.llm_cost_ops import (
    analytics,
    audit,
    breakdown,
    cost_query,
    costs,
    jwks,
    keys,
    pricing,
    sessions,
    stream,
    usage,
)


def router() -> APIRouter:
    """Every operation of the reference that the sidecar serves."""
    made = APIRouter()
    for part in (keys, sessions, audit, jwks, usage, pricing, costs, breakdown, cost_query, analytics, stream):
        made.include_router(part.router)
    return made
