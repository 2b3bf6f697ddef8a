"""The table of credit entries: only ever appended to."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number

KINDS = ("grant", "purchase", "coupon", "referral", "adjustment", "expiry")


class CreditEntry(Base):
    """Money given to an organisation, or taken back where ``amount_nanos`` is negative.

    ``idempotency_key`` is unique over all organisations: the same payment is booked once, however often it is told.
    """

    __tablename__ = "credit_entries"
    # Holds both columns, so that the sum of an organisation is read from the index alone.
    __table_args__ = (Index(None, "organization_id", "amount_nanos"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("credit"))
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    amount_nanos: Mapped[int]
    kind: Mapped[str]
    reason: Mapped[str]
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]
