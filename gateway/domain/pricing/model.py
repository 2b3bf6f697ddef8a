"""The tables of prices and of exchange rates."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, Date, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number


class PriceVersion(Base):
    """One version of a price; see :mod:`gateway.domain.pricing.price` for the units of ``rates``.

    What it says never changes, only when it ends: a later version takes over at its own ``effective_from``. A version
    that was overtaken from its beginning ends where it begins and is never in force. ``source`` is ``api``, ``config``
    or ``default``; ``organization_id`` None is everybody's. ``number`` is the order in which they were made.
    """

    __tablename__ = "prices"
    __table_args__ = (Index(None, "provider", "model", "effective_from"), Index(None, "organization_id", "number"))

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("price"))
    organization_id: Mapped[str | None] = mapped_column(ForeignKey("organizations.id"))
    provider: Mapped[str]
    model: Mapped[str]
    source: Mapped[str]
    effective_from: Mapped[datetime]
    effective_to: Mapped[datetime | None]
    currency: Mapped[str]
    rates: Mapped[dict[str, int]] = mapped_column(JSON)
    tiers: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    hours: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    supersedes: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PriceRevision(Base):
    """Counters. ``prices`` is how often they have been written, so that who holds them knows when to read them again;
    ``rerated`` the number of the last version that the ledger has been held against.

    ``default_list`` is the version of the list of default prices that those in the table were last compared with,
    ``whole_list`` the version that the table holds whole.
    """

    __tablename__ = "price_revisions"

    name: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    default_list: Mapped[str | None]
    whole_list: Mapped[str | None]


class ExchangeRate(Base):
    """Nano-dollars for one unit of a currency, from a day on until the next day that is told."""

    __tablename__ = "exchange_rates"

    currency: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    nanos_per_unit: Mapped[int]
