"""The tables of users and of what they are in which organisation."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number

ACTIVE, DISABLED, SUSPENDED = "active", "disabled", "suspended"
STATUSES = (ACTIVE, DISABLED, SUSPENDED)


class User(Base):
    """A person. ``email`` is case-folded; ``subject`` is the issuer and subject of one who signs in elsewhere.

    ``password_hash`` is Argon2id in its own text form; None for one who has no password here.
    """

    __tablename__ = "users"
    __table_args__ = (Index(None, "organization_id", "number"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("user"))
    email: Mapped[str] = mapped_column(unique=True)
    username: Mapped[str]
    password_hash: Mapped[str | None]
    auth_method: Mapped[str] = mapped_column(default="password")
    subject: Mapped[str | None] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(default=ACTIVE)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    is_platform_admin: Mapped[bool] = mapped_column(default=False)
    last_login_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Membership(Base):
    """What a user is in an organisation: one role, named in ``config/roles.yaml``."""

    __tablename__ = "memberships"
    __table_args__ = (Index(None, "organization_id", "role"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    role: Mapped[str]
    assigned_at: Mapped[datetime]
