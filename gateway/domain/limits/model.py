"""The table of limits."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number

PLATFORM, ORGANIZATION = "platform", "organization"


class Limit(Base):
    """One limit, as in :class:`gateway.contract.policy.LimitPolicy`; ``limit`` is in the metric's unit.

    ``key`` is the policy's key: one limit has one row. ``set_by`` is ``platform`` for a limit that an administrator of
    the platform has set, which nobody else can change.
    """

    __tablename__ = "limits"
    __table_args__ = (Index(None, "scope", "scope_id"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("limit"))
    key: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    scope_id: Mapped[str]
    metric: Mapped[str]
    window: Mapped[str | None]
    sliding: Mapped[bool]
    limit: Mapped[int]
    model: Mapped[str | None]
    provider: Mapped[str | None]
    set_by: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
