"""What a request costs by a price: by the rates of its hour or its size, as :mod:`gateway.kernel.rates` reckons."""

from __future__ import annotations

from datetime import datetime

from gateway.domain.pricing.price import Price, Quantities, Rated, Rates
from gateway.kernel.rates import counts_of, parts_of, rate_for, rates_at

__all__ = ["counts_of", "rate", "rate_for", "rates_of"]


def rate(price: Price, used: Quantities, at: datetime, fx_rate: int) -> Rated:
    """The cost of what was ``used`` at a time; ``fx_rate`` is nano-dollars for a unit of the price's currency."""
    parts = parts_of(rates_of(price, used.prompt, at), used, fx_rate)
    cost = sum(parts.values())
    return Rated(cost_nanos=cost, parts=parts, price_id=price.id, currency=price.currency, fx_rate=fx_rate)


def rates_of(price: Price, prompt: int, at: datetime) -> Rates:
    """The rates of a request of that many prompt tokens at that time: those of the hour, else of the tier."""
    return rates_at(price.rates, price.tiers, price.hours, prompt, at.hour * 3600 + at.minute * 60 + at.second)
