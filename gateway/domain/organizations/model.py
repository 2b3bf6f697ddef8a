"""The table of organisations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number

ACTIVE, SUSPENDED, DELETED = "active", "suspended", "deleted"
STATUSES = (ACTIVE, SUSPENDED, DELETED)


class Organization(Base):
    """Who owns keys, apps, plans and money; a tenant, in other words.

    ``plan`` is a plan's name. ``prepaid`` is true once money was given to it: from then on it spends no more than it
    has. ``configuration`` is its own, unread here.
    """

    __tablename__ = "organizations"
    __table_args__ = (Index(None, "status", "number"), Index(None, "plan"), Index(None, "parent_id"))

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("org"))
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(default=ACTIVE)
    status_reason: Mapped[str | None]
    plan: Mapped[str | None]
    plan_since: Mapped[datetime | None]
    plan_until: Mapped[datetime | None]
    data_residency: Mapped[str | None]
    configuration: Mapped[dict[str, Any]] = mapped_column(default=dict)
    trial_ends_at: Mapped[datetime | None]
    prepaid: Mapped[bool] = mapped_column(default=False)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("organizations.id"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
