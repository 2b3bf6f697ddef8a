"""``GET /api/v1/audit``: what was done, by whom, from where. ``audit:read``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query

from gateway.dialects.common.models import Answer, EndMoment, Instant, Moment
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.dialects.llm_cost_ops.paging import CursorPaging, Page, cursor_of
from gateway.domain.audit.model import AuditRecord
from gateway.domain.audit.service import AuditFilter, AuditService

router = make_router()
# An event says what has happened, an action what was done.
_VERBS = {
    "added": "add",
    "changed": "change",
    "created": "create",
    "deleted": "delete",
    "generated": "generate",
    "linked": "link",
    "reactivated": "reactivate",
    "removed": "delete",
    "reused": "reuse",
    "revoked": "revoke",
    "rotated": "rotate",
    "submitted": "submit",
    "suspended": "suspend",
    "updated": "update",
}


class Chosen(CursorPaging):
    """Which records. A date alone is the whole day."""

    start_date: Moment | None = None
    end_date: EndMoment | None = None
    user_id: str | None = None
    organization_id: str | None = None
    event_type: str | None = None
    resource_type: str | None = None
    severity: Literal["debug", "info", "warning", "error", "critical"] | None = None


class Changes(Answer):
    """A resource before and after; null where it was not there."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Record(Answer):
    """One event."""

    id: str
    timestamp: Instant
    event_type: str
    severity: str
    user_id: str | None
    user_email: str | None
    organization_id: str | None
    resource_type: str
    resource_id: str | None
    action: str
    status: str
    ip_address: str | None
    user_agent: str | None
    changes: Changes
    metadata: dict[str, Any]


class Records(Answer):
    """A page of events."""

    data: list[Record]
    pagination: Page


@router.get("/api/v1/audit")
async def list_records(work: Reading, chosen: Annotated[Chosen, Query()]) -> Records:
    """The audit log, the newest first unless ``order=asc``."""
    wanted = AuditFilter(
        user=chosen.user_id,
        organization=chosen.organization_id,
        action=chosen.event_type,
        resource_type=chosen.resource_type,
        severity=chosen.severity,
        start=chosen.start_date,
        end=chosen.end_date,
    )
    ascending = chosen.order == "asc"
    found = await AuditService(work).list(
        wanted,
        limit=chosen.limit,
        before=None if ascending else chosen.after,
        after=chosen.after if ascending else None,
        oldest_first=ascending,
        counted=False,
    )
    page = Page(has_more=found.before is not None, next_cursor=cursor_of(found.before, chosen.order))
    return Records(data=[_shown(row) for row in found.items], pagination=page)


def verb_of(event: str) -> str:
    """``create`` for ``auth.api_key.created``, ``change`` for ``user.role_changed``, ``login`` for ``auth.login``."""
    word = event.rpartition(".")[2]
    return _VERBS.get(word.rpartition("_")[2], word)


def _shown(row: AuditRecord) -> Record:
    return Record(
        id=row.id,
        timestamp=row.at,
        event_type=row.action,
        severity=row.severity,
        user_id=row.actor_user or row.actor_id,
        user_email=row.actor_email,
        organization_id=row.organization,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        action=verb_of(row.action),
        status=row.status,
        ip_address=row.address,
        user_agent=row.user_agent,
        changes=Changes(before=row.before, after=row.after),
        metadata={"request_id": row.request_id, **(row.details or {})},
    )
