"""Reading the audit log. It is written by :meth:`gateway.domain.work.Work.audit`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, func, or_, select

from gateway.domain.audit.model import AuditRecord
from gateway.domain.fields import invalid, page
from gateway.domain.rows import number_of
from gateway.domain.users.model import User
from gateway.domain.work import Work

READ = "audit:read"


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which records; None for any. ``user`` is who acted: an id, a number or ``user_<number>``. ``action`` is a whole
    one, or the beginning of some, such as ``auth.``; ``actions`` are whole ones of which any will do. ``start`` is
    included, ``end`` is not."""

    user: str | None = None
    organization: str | None = None
    action: str | None = None
    actions: tuple[str, ...] = ()
    resource_type: str | None = None
    resource_id: str | None = None
    severity: str | None = None
    status: str | None = None
    start: datetime | None = None
    end: datetime | None = None


class AuditPage(Struct, frozen=True):
    """A page of records, how many there are in all (None where that was not asked for), and ``before`` for the next
    page, or ``after`` where the oldest come first; None on the last page."""

    items: Sequence[AuditRecord]
    total: int | None
    before: int | None


class AuditService:
    """What can be read of the audit log, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def list(
        self,
        chosen: AuditFilter,
        *,
        limit: int = 100,
        offset: int = 0,
        before: int | None = None,
        after: int | None = None,
        oldest_first: bool = False,
        counted: bool = True,
    ) -> AuditPage:
        """A page of records: everyone's for the platform, those of the own organisation with ``audit:read``.

        Pages go by ``offset``, or by the number (``seq``) of the last record seen: ``before`` it, the newest first, or
        ``after`` it where ``oldest_first``. Raises FORBIDDEN, INVALID ``invalid_date_range``.
        """
        session, organization = self.work.session, self._whose(chosen)
        limit, offset = page(limit, offset)
        if chosen.start is not None and chosen.end is not None and chosen.start > chosen.end:
            raise invalid("start_date must not be after end_date.", "start_date", "invalid_date_range")
        total = None
        if counted:
            total = await session.scalar(self._filtered(select(func.count(AuditRecord.seq)), chosen, organization)) or 0
        query = self._filtered(select(AuditRecord), chosen, organization)
        if before is not None:
            query = query.where(AuditRecord.seq < before)
        if after is not None:
            query = query.where(AuditRecord.seq > after)
        order = AuditRecord.seq.asc() if oldest_first else AuditRecord.seq.desc()
        rows = (await session.scalars(query.order_by(order).limit(limit + 1).offset(offset))).all()
        return AuditPage(rows[:limit], total, rows[limit - 1].seq if len(rows) > limit else None)

    def _whose(self, chosen: AuditFilter) -> str | None:
        actor = self.work.actor
        if actor.is_platform_admin:
            return chosen.organization
        organization = chosen.organization or actor.organization or ""
        actor.require(READ, organization)
        return organization

    def _filtered(self, query: Select[Any], chosen: AuditFilter, organization: str | None) -> Select[Any]:
        exact = {
            AuditRecord.organization: organization,
            AuditRecord.resource_type: chosen.resource_type,
            AuditRecord.resource_id: chosen.resource_id,
            AuditRecord.severity: chosen.severity,
            AuditRecord.status: chosen.status,
        }
        for column, value in exact.items():
            if value is not None:
                query = query.where(column == value)
        if chosen.user is not None:
            number = number_of(chosen.user, "user_")
            of = select(User.id).where(User.number == number).scalar_subquery() if number is not None else chosen.user
            query = query.where(or_(AuditRecord.actor_user == of, AuditRecord.actor_id == of))
        if chosen.action is not None:
            is_beginning = chosen.action.endswith(".")
            action = AuditRecord.action
            query = query.where(
                action.startswith(chosen.action, autoescape=True) if is_beginning else action == chosen.action
            )
        if chosen.actions:
            query = query.where(AuditRecord.action.in_(chosen.actions))
        if chosen.start is not None:
            query = query.where(AuditRecord.at >= chosen.start)
        return query if chosen.end is None else query.where(AuditRecord.at < chosen.end)
