"""What the sidecar tells the data plane of prices: of each target what holds now, and what will."""

from __future__ import annotations

from msgspec import Struct

from gateway.kernel.currency import DayRate
from gateway.kernel.rates import Hours, Tier


class Priced(Struct, frozen=True):
    """A provider's model, by their names in ``gateway.yaml``."""

    provider: str
    model: str


class PriceFrom(Struct, frozen=True, omit_defaults=True):
    """What holds from ``begins_ns`` (Unix nanoseconds; 0: already) until the next one does, by ``source``: ``api``,
    ``config`` or ``default``.

    ``rates``, those of ``tiers`` and of ``hours`` are in nano-units of ``currency`` for 1,000,000 of what they count,
    see :mod:`gateway.kernel.rates`. Without any rate no price holds.
    """

    begins_ns: int
    source: str = "config"
    rates: dict[str, int] = {}
    tiers: tuple[Tier, ...] = ()
    hours: tuple[Hours, ...] = ()
    currency: str = "USD"


class Prices(Struct, frozen=True):
    """What targets cost: of each what holds when, the earliest first; nothing where nobody knows.

    Where all would be too much they are those of the first targets alone, one at least. ``exchange`` are the exchange
    rates of the currencies in it, from today's on.
    """

    prices: list[list[PriceFrom]]
    exchange: list[DayRate]
