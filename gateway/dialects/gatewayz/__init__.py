"""The Gatewayz reference, version 2.0.1: keys, plans and accounts with ``{"success": true, …}`` answers."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.dialects.gatewayz import (
    account,
    activity,
    admin,
    audit,
    keys,
    limits,
    models,
    plans,
    ranking,
    roles,
    status,
    transactions,
)


def router() -> APIRouter:
    """Every operation of the reference that the sidecar serves."""
    made = APIRouter()
    for part in (keys, account, plans, admin, limits, roles, audit, status, activity, transactions, ranking, models):
        made.include_router(part.router)
    return made
