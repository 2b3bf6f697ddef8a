"""``/ping``, and ``/admin/monitor`` for administrators of the platform."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

import gateway
from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.models import Answer, Instant
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.domain.analytics.service import Reader
from gateway.domain.ledger.query import Filter
from gateway.domain.users.activity import active_users

router = make_router()


class Pong(Answer):
    """That somebody is there. ``uptime`` is seconds."""

    status: str = "pong"
    timestamp: Instant
    uptime: int
    version: str


class SystemState(Answer):
    """``uptime`` is seconds, ``active_users`` may sign in, ``total_requests`` are all in the ledger."""

    status: str = "healthy"
    uptime: int
    active_users: int
    total_requests: int


class DatabaseState(Answer):
    """``response_time`` is milliseconds, rounded up."""

    status: str = "connected"
    response_time: int


class Monitor(Answer):
    """The state of the system."""

    success: bool = True
    system: SystemState
    database: DatabaseState


@router.get("/ping")
async def ping(context: ContextOf) -> Pong:
    """Answer, without a credential."""
    return Pong(timestamp=datetime.now(UTC), uptime=_uptime(context.started), version=gateway.__version__)


@router.get("/admin/monitor")
async def monitor(work: Reading, context: ContextOf) -> Monitor:
    """How the system is."""
    work.actor.require("system:read")
    began = time.perf_counter()
    active = await active_users(work)
    took = math.ceil((time.perf_counter() - began) * 1000)
    (all_,) = await Reader(work, "system:read").sums(Filter(), numbers=("requests",))
    system = SystemState(uptime=_uptime(context.started), active_users=active, total_requests=all_.requests)
    return Monitor(system=system, database=DatabaseState(response_time=took))


def _uptime(started: float) -> int:
    return int(time.monotonic() - started)
