"""Reading the audit log. It is written by :meth:`gateway.domain.work.Work.audit`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, func, or_, select

from gateway.domain.audit.model import AuditRecord
from gateway.domain.fields import page
from gateway.domain.rows import number_of
from gateway.domain.users.model import User
from gateway.domain.work import Work

READ = "audit:read"


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which records; None for any. ``user`` is who acted: an id, a number or ``user_<number>``. ``action`` is a whole
    one, or the beginning of some, such as ``auth.``. ``start`` is included, ``end`` is not."""

    user: str | None = None
    organization: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    severity: str | None = None
    status: str | None = None
    start: datetime | None = None
    end: datetime | None = None


class AuditPage(Struct, frozen=True):
    """A page of records, the newest first, how many there are in all, and ``before`` for the next page."""

    items: Sequence[AuditRecord]
    total: int
    before: int | None


class AuditService:
    """What can be read of the audit log, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def list(
        self, chosen: AuditFilter, *, limit: int = 100, offset: int = 0, before: int | None = None
    ) -> AuditPage:
        """A page of records: everyone's for the platform, those of the own organisation with ``audit:read``.

        Pages go by ``offset``, or by ``before``: the number (``seq``) of the last record seen. Raises FORBIDDEN,
        INVALID.
        """
        actor, session = self.work.actor, self.work.session
        limit, offset = page(limit, offset)
        organization = chosen.organization if actor.is_platform_admin else chosen.organization or actor.organization
        if not actor.is_platform_admin:
            actor.require(READ, organization or "")
        total = await session.scalar(self._filtered(select(func.count(AuditRecord.seq)), chosen, organization)) or 0
        query = self._filtered(select(AuditRecord), chosen, organization)
        if before is not None:
            query = query.where(AuditRecord.seq < before)
        query = query.order_by(AuditRecord.seq.desc()).limit(limit + 1).offset(offset)
        rows = (await session.scalars(query)).all()
        more = rows[limit - 1].seq if len(rows) > limit else None
        return AuditPage(rows[:limit], total, more)

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
        if chosen.start is not None:
            query = query.where(AuditRecord.at >= chosen.start)
        return query if chosen.end is None else query.where(AuditRecord.at < chosen.end)
