"""What callers of the service ask."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from gateway.domain.pricing.model import PriceVersion
from gateway.domain.pricing.price import Tier


class NewPrice(Struct, frozen=True, kw_only=True):
    """A price to make, in the units of :mod:`gateway.domain.pricing.price`.

    ``organization`` None is the caller's own, and everybody's where the platform asks. ``effective_from`` None is now.
    """

    provider: str
    model: str
    rates: dict[str, int]
    tiers: tuple[Tier, ...] = ()
    currency: str = "USD"
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    organization: str | None = None


class PriceChange(Struct, frozen=True, kw_only=True):
    """What the next version of a price says otherwise, from ``effective_from`` on; None is now.

    ``rates`` are those that change; None takes one away. ``tiers`` replace the former.
    """

    rates: dict[str, int | None] = {}
    tiers: tuple[Tier, ...] | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    effective_from: datetime | None = None


class PriceFilter(Struct, frozen=True, kw_only=True):
    """Which versions, and which page of them; ``after`` is the number of the last that was seen.

    ``active`` are those in force now, ``model`` and ``provider`` are exact.
    """

    provider: str | None = None
    model: str | None = None
    source: str | None = None
    organization: str | None = None
    active: bool = True
    after: int | None = None
    limit: int = 20
    ascending: bool = False


class PricePage(Struct, frozen=True):
    """A page of versions, the number of the last one where more follows, and how many there are in all."""

    items: tuple[PriceVersion, ...]
    next: int | None
    total: int
