"""The table of credentials. A secret is never in it: only its digest, and what a list may show of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.kernel.secrets import masked
from gateway.store.base import Base, Number

ACTIVE, DISABLED, REVOKED = "active", "disabled", "revoked"
API_KEY, APP = "api_key", "app"


class Credential(Base):
    """One secret: a key, or the secret of an app (``kind`` is ``api_key`` or ``app``).

    A rotated key keeps its row, its id and its limits, and gets the new secret's digest. The old secret moves to a row
    of its own, whose ``replaced_by`` is the key's id and which is dead from ``grace_until`` on.

    ``models``, ``cidrs`` empty: every model, every address. ``scope_permissions`` is what was asked for in another form
    than ``scopes``, kept to be shown again. ``status`` is ``active``, ``disabled`` or ``revoked``; a key is expired by
    its ``expires_at`` alone.
    """

    __tablename__ = "credentials"
    # Pages of keys are read in the order of their numbers within whose they are.
    __table_args__ = (
        Index(None, "organization_id", "number"),
        Index(None, "user_id", "number"),
        Index(None, "app_id"),
        Index(None, "replaced_by"),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("key"))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    kind: Mapped[str] = mapped_column(default=API_KEY)
    prefix: Mapped[str]
    last4: Mapped[str]
    name: Mapped[str]
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    app_id: Mapped[str | None] = mapped_column(ForeignKey("apps.app_id"))
    scopes: Mapped[list[str]]
    scope_permissions: Mapped[dict[str, Any] | None]
    models: Mapped[list[str]]
    cidrs: Mapped[list[str]]
    environment: Mapped[str]
    status: Mapped[str] = mapped_column(default=ACTIVE)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    grace_until: Mapped[datetime | None]
    replaced_by: Mapped[str | None]
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def masked(self) -> str:
        """The secret as a list may show it: ``gw_live_…a1b2``."""
        return masked(self.prefix, self.last4)

    @property
    def is_active(self) -> bool:
        """Whether it is neither disabled nor revoked; it may have expired all the same."""
        return self.status == ACTIVE
