"""What a request costs by a price, in whole nano-dollars.

Exact until the end: rates, counts and exchange rates are whole numbers, and a fraction of a nano-dollar is rounded up
once, on the sum. The parts are rounded so that they add up to that sum.
"""

from __future__ import annotations

from datetime import datetime

from gateway.domain.pricing.price import FALLBACKS, NANOS, UNITS, Price, Quantities, Rated, Rates

_DIVISOR = UNITS * NANOS


def rate(price: Price, used: Quantities, at: datetime, fx_rate: int) -> Rated:
    """The cost of what was ``used`` at a time; ``fx_rate`` is nano-dollars for a unit of the price's currency."""
    rates = rates_of(price, used.prompt, at)
    parts: dict[str, int] = {}
    sum_, told = 0, 0
    for kind, count in counts_of(used).items():
        exact = count * rate_for(rates, kind) * fx_rate
        if not exact:
            continue
        sum_ += exact
        # Each part gets what it adds to the rounded sum, so none of them is off by more than a nano-dollar.
        part = -(-sum_ // _DIVISOR) - told
        told += part
        if part:
            parts[kind] = part
    return Rated(cost_nanos=told, parts=parts, price_id=price.id, currency=price.currency, fx_rate=fx_rate)


def rates_of(price: Price, prompt: int, at: datetime) -> Rates:
    """The rates of a request of that many prompt tokens at that time: those of the hour, else of the tier."""
    if price.hours:
        second = at.hour * 3600 + at.minute * 60 + at.second
        for hours in reversed(price.hours):
            if _within(second, hours.start, hours.end):
                return hours.rates
    rates: Rates = price.rates
    for tier in price.tiers:
        if prompt > tier.above:
            rates = tier.rates
    return rates


def rate_for(rates: Rates, kind: str) -> int:
    """The rate of a kind, or of what it falls back to; zero where nothing is told."""
    name: str | None = kind
    while name is not None:
        found = rates.get(name)
        if found is not None:
            return found
        name = FALLBACKS.get(name)
    return 0


def counts_of(used: Quantities) -> dict[str, int]:
    """How many of each rate, every token once. Where the kinds say more than their whole, the whole is believed."""
    prompt = _Whole(used.prompt)
    completion = _Whole(used.completion)
    counts = {
        "cached_input": prompt.take(used.cached),
        "cache_write_1h": prompt.take(used.cache_write_1h),
        "cache_write": prompt.take(used.cache_write),
        "input_audio": prompt.take(used.audio_prompt),
        "input_image": prompt.take(used.image_prompt),
        "input": prompt.left,
        "reasoning": completion.take(used.reasoning),
        "output_audio": completion.take(used.audio_completion),
        "output_image": completion.take(used.image_completion),
        "output": completion.left,
        "request": used.requests,
        "image": used.images,
        "audio_second": used.audio_seconds,
    }
    return {kind: count for kind, count in counts.items() if count > 0}


class _Whole:
    """A number of tokens that kinds are taken from."""

    def __init__(self, tokens: int) -> None:
        self.left = max(0, tokens)

    def take(self, tokens: int) -> int:
        taken = min(max(0, tokens), self.left)
        self.left -= taken
        return taken


def _within(second: int, start: int, end: int) -> bool:
    return start <= second < end if start <= end else second >= start or second < end
