"""The table of budgets."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number

PERIODS = ("day", "week", "month", "year", "total")


class Budget(Base):
    """At most ``amount_nanos`` in each ``period`` (day, week, month, year, total) for one key, user or organisation.

    ``set_by`` is ``platform`` for a budget that an administrator of the platform has set, which nobody else can change.
    """

    __tablename__ = "budgets"
    # Two budgets of one scope and period would count under one key.
    __table_args__ = (UniqueConstraint("scope", "scope_id", "period"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("budget"))
    scope: Mapped[str]
    scope_id: Mapped[str]
    period: Mapped[str]
    amount_nanos: Mapped[int]
    name: Mapped[str]
    set_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
