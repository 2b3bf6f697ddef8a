"""The table of apps."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number

ACTIVE, SUSPENDED = "active", "suspended"
APP_ID_PREFIX = "app_"


class App(Base):
    """An app. ``app_id`` is the public half of its credential ``app_<uuid>:sk_…``; ``plan`` names its tier's plan.

    Its secret is a credential of kind ``app``, whose digest is of the whole ``app_<uuid>:sk_…``.
    """

    __tablename__ = "apps"
    __table_args__ = (Index(None, "organization_id", "number"), Index(None, "plan"))

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("app"))
    app_id: Mapped[str] = mapped_column(unique=True, default=lambda: f"{APP_ID_PREFIX}{uuid.uuid4()}")
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    plan: Mapped[str | None]
    status: Mapped[str] = mapped_column(default=ACTIVE)
    status_reason: Mapped[str | None]
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
