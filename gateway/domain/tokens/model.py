"""The tables of signing keys and of refresh tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.store.base import Base, Number


class SigningKey(Base):
    """A key that signs tokens, or has signed some that may still be valid.

    ``private`` is PEM, or the bare secret of HS256, encrypted; ``public`` is PEM, None for HS256. New tokens are signed
    by the key without ``retired_at``; a retired one verifies until ``verify_until``.
    """

    __tablename__ = "signing_keys"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    kid: Mapped[str] = mapped_column(unique=True)
    algorithm: Mapped[str]
    private: Mapped[str]
    public: Mapped[str | None]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    verify_until: Mapped[datetime | None]


class RefreshFamily(Base):
    """One sign-in: the refresh token that is valid now, and what it was given for.

    ``current`` is the ``jti`` of the one token that may still be used. Any other of the family was used before: whoever
    shows it has a copy, and the family is revoked.
    """

    __tablename__ = "refresh_families"
    # The last is for how many sign-ins of a tenant count, which anyone of it may ask as often as they like.
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"), Index(None, "organization_id", "updated_at"))

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    current: Mapped[str]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
