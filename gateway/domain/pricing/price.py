"""A price as it is reckoned with, apart from the table that keeps it.

Rates are those of :mod:`gateway.kernel.rates`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.kernel.rates import FALLBACKS, KINDS, NANOS, UNITS, Hours, Kind, Quantities, Rates, Tier

__all__ = [
    "EPOCH",
    "FALLBACKS",
    "KINDS",
    "NANOS",
    "RANK",
    "UNITS",
    "Hours",
    "Kind",
    "Price",
    "Quantities",
    "Rated",
    "Rates",
    "Source",
    "Tier",
]

Source: TypeAlias = Literal["api", "config", "default"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The beginning of a price that holds for all time before it was changed."""
RANK: dict[str, int] = {"api": 0, "config": 1, "default": 2}
"""Which source is believed first."""


class Price(Struct, frozen=True, kw_only=True):
    """One version of a price. ``effective_to`` None is open; ``organization`` None is everybody's.

    ``number`` is the row's, 0 for a default that no row keeps yet.
    """

    id: str
    provider: str
    model: str
    source: Source
    effective_from: datetime
    effective_to: datetime | None = None
    currency: str = "USD"
    rates: dict[str, int]
    tiers: tuple[Tier, ...] = ()
    hours: tuple[Hours, ...] = ()
    organization: str | None = None
    number: int = 0

    def holds(self, at: datetime) -> bool:
        """Whether it is in force at a time."""
        return self.effective_from <= at and (self.effective_to is None or at < self.effective_to)


class Rated(Struct, frozen=True, kw_only=True):
    """What a request costs.

    ``parts`` are nano-dollars by rate, those that are not zero; their sum is ``cost_nanos``. ``fx_rate`` is
    nano-dollars for a unit of ``currency``.
    """

    cost_nanos: int
    parts: dict[str, int]
    price_id: str
    currency: str
    fx_rate: int
