"""``/admin/audit-logs``. This reference writes ``api_key_created`` for ``auth.api_key.created``; filters take both."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from gateway.dialects.common.models import Answer, EndMoment, Instant, Moment, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.domain.audit.model import AuditRecord
from gateway.domain.audit.service import AuditFilter, AuditService

router = make_router()
_FAMILY = "auth."
_MOST_WORDS = 6


class Chosen(Parameters):
    """Which records. A date alone is the whole day."""

    user_id: str | None = None
    action: str | None = Field(default=None, max_length=100)
    resource_type: str | None = None
    start_date: Moment | None = None
    end_date: EndMoment | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class Record(Answer):
    """Who did what."""

    id: str
    user_id: str
    action: str
    resource_type: str
    resource_id: str | None
    details: dict[str, Any]
    ip_address: str | None
    user_agent: str | None
    timestamp: Instant


class Records(Answer):
    """A page of records, the newest first, and how many there are in all."""

    success: bool = True
    data: list[Record]
    total: int
    limit: int
    offset: int


@router.get("/admin/audit-logs")
async def list_records(work: Reading, chosen: Annotated[Chosen, Query()]) -> Records:
    """What was done, by whom, from where."""
    wanted = AuditFilter(
        user=chosen.user_id,
        actions=actions_of(chosen.action) if chosen.action else (),
        resource_type=chosen.resource_type,
        start=chosen.start_date,
        end=chosen.end_date,
    )
    found = await AuditService(work).list(wanted, limit=chosen.limit, offset=chosen.offset)
    return Records(
        data=[_shown(row) for row in found.items], total=found.total or 0, limit=chosen.limit, offset=chosen.offset
    )


def actions_of(word: str) -> tuple[str, ...]:
    """Every action that ``word`` may stand for: each underscore may be a dot, and ``auth.`` may be left out."""
    parts = word.split("_")
    if len(parts) > _MOST_WORDS:
        return (word,)
    spelt = {
        "".join(part + mark for part, mark in zip(parts, (*marks, ""), strict=True))
        for marks in product("_.", repeat=len(parts) - 1)
    }
    return tuple(sorted(spelt | {_FAMILY + name for name in spelt}))


def _shown(row: AuditRecord) -> Record:
    before = {"before": row.before} if row.before else {}
    return Record(
        id=row.id,
        user_id=row.actor_user or row.actor_id,
        action=row.action.removeprefix(_FAMILY).replace(".", "_"),
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        details={**(row.after or {}), **(row.details or {}), **before},
        ip_address=row.address,
        user_agent=row.user_agent,
        timestamp=row.at,
    )
