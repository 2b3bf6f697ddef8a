"""Prices of targets and the cost of a request, in integer nano-dollars."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple, TypeAlias

from gateway.contract.prices import PriceFrom
from gateway.contract.usage import Tokens, quantities_of
from gateway.kernel.currency import DayRate, ExchangeRates
from gateway.kernel.money import to_nanos
from gateway.kernel.rates import (
    NANOS,
    UNITS,
    Hours,
    Rates,
    Tier,
    parts_of,
    rate_for,
    rates_at,
    tells,
    whole_tiers,
)
from gateway.settings.model import ExchangeRate, Price
from gateway.settings.pricing import rates_of

_DAY = 86_400
_PLAIN = frozenset(("input", "cached_input", "output"))
_INPUTS = ("input", "cached_input", "cache_write", "cache_write_1h", "input_audio", "input_image")
_OUTPUTS = ("output", "reasoning", "output_audio", "output_image")


class Rate(NamedTuple):
    """Nano-dollars per 1,000 tokens: still integers for every published price."""

    input: int
    cached_input: int
    output: int


FREE = Rate(0, 0, 0)


class _Version(NamedTuple):
    begins: float  # Unix seconds
    rates: Rates
    tiers: tuple[Tier, ...]
    currency: str
    hours: tuple[Hours, ...] = ()


class Schedule:
    """A price that is more than a :class:`Rate`: of other kinds, by size, by day or in another currency."""

    def __init__(self, versions: Sequence[_Version], exchange: ExchangeRates) -> None:
        self._versions = sorted(versions, key=lambda version: version.begins)
        self._begins = [version.begins for version in self._versions]
        self._exchange = exchange

    def at(self, now: float) -> tuple[_Version, int] | None:
        """What holds at a time in Unix seconds, and nano-dollars for a unit of its money; None where nothing does."""
        index = bisect_right(self._begins, now) - 1
        if index < 0:
            return None
        version = self._versions[index]
        if not version.rates:
            return None
        if version.currency == "USD":
            return version, NANOS
        fx_rate = self._exchange.at(version.currency, datetime.fromtimestamp(now, UTC).date())
        return None if fx_rate is None else (version, fx_rate)

    def cost(self, tokens: Tokens, now: float) -> int | None:
        """What the counted tokens cost at a time; None where no price holds."""
        found = self.at(now)
        if found is None:
            return None
        version, fx_rate = found
        if not tells(version.rates, tokens.images, tokens.audio_seconds):
            return None
        used = quantities_of(tokens)
        rates = rates_at(version.rates, version.tiers, version.hours, used.prompt, int(now) % _DAY)
        return sum(parts_of(rates, used, fx_rate).values())

    def sizes(self, now: float) -> list[int]:
        """The prompt tokens above which other rates hold at a time in Unix seconds."""
        found = self.at(now)
        return [] if found is None else [tier.above for tier in found[0].tiers]

    def rates(self, prompt: int, now: float) -> tuple[Rates, int] | None:
        """The rates of a prompt of so many tokens, and nano-dollars for a unit of their money; None without any."""
        found = self.at(now)
        if found is None or not tells(found[0].rates, 0, 0):
            return None
        version, fx_rate = found
        return rates_at(version.rates, version.tiers, version.hours, prompt, int(now) % _DAY), fx_rate

    def worst_case(self, prompt: int, completion: int, now: float) -> int | None:
        """What so many tokens can cost at most; of images and seconds, which nothing tells before, one each."""
        found = self.at(now)
        if found is None:
            return None
        version, fx_rate = found
        most = 0
        for rates in (
            version.rates,
            *(tier.rates for tier in version.tiers),
            *(hours.rates for hours in version.hours),
        ):
            exact = prompt * max(rate_for(rates, kind) for kind in _INPUTS)
            exact += completion * max(rate_for(rates, kind) for kind in _OUTPUTS)
            exact += sum(rate_for(rates, kind) for kind in ("request", "image", "audio_second"))
            most = max(most, exact)
        return -(-most * fx_rate // (UNITS * NANOS))


Pricing: TypeAlias = Rate | Schedule


def rate_of(*prices: Price, exchange_rates: Sequence[ExchangeRate] = ()) -> Pricing:
    """What a model's prices come to, of which each holds from its day on."""
    rates = rates_of(prices[0])
    only = prices[0]
    if len(prices) == 1 and only.currency == "USD" and not (only.tiers or only.effective_from or rates.keys() - _PLAIN):
        return _plain(rates)
    own = [DayRate(rate.currency, date.fromisoformat(rate.day), to_nanos(rate.dollars)) for rate in exchange_rates]
    return Schedule([_version(price) for price in prices], ExchangeRates(own))


def rate_told(versions: Sequence[PriceFrom], exchange: ExchangeRates) -> Pricing | None:
    """What the sidecar tells of a model; ``exchange`` are all exchange rates that it needs. None: nobody knows one."""
    if not versions:
        return None
    only = versions[0]
    # A Rate has a thousandth of the precision: what it can't tell exactly is left to a schedule.
    exact = bool(only.rates) and not any(rate % 1_000 for rate in only.rates.values())
    more = only.tiers or only.hours or only.rates.keys() - _PLAIN or only.currency != "USD"
    if len(versions) == 1 and exact and not more:
        return _plain(only.rates)
    return Schedule([_Version(v.begins_ns / 1e9, v.rates, v.tiers, v.currency, v.hours) for v in versions], exchange)


def _plain(rates: Rates) -> Rate:
    told = {kind: rate // 1_000 for kind, rate in rates.items()}
    return Rate(told.get("input", 0), told.get("cached_input", told.get("input", 0)), told.get("output", 0))


def _version(price: Price) -> _Version:
    begins = 0.0
    if price.effective_from is not None:
        begins = datetime.fromisoformat(price.effective_from).replace(tzinfo=UTC).timestamp()
    rates = rates_of(price)
    tiers = whole_tiers(rates, [Tier(tier.above_prompt_tokens, rates_of(tier)) for tier in price.tiers])
    return _Version(begins, rates, tiers, price.currency)


def held_rates(rate: Pricing | None, now: float) -> tuple[Rates, int] | None:
    """What holds at a time in Unix seconds, of the smallest prompts and outside of particular hours: rates as in
    :mod:`gateway.kernel.rates`, and nano-dollars for a unit of their money. None where nothing does.
    """
    if isinstance(rate, Schedule):
        found = rate.at(now)
        return None if found is None else (found[0].rates, found[1])
    if rate is None:
        return None
    told = {"input": rate.input * 1_000, "output": rate.output * 1_000}
    return (told if rate.cached_input == rate.input else {**told, "cached_input": rate.cached_input * 1_000}), NANOS


def holds(rate: Pricing | None, now: float) -> bool:
    """Whether a price holds at a time in Unix seconds."""
    return rate is not None and (not isinstance(rate, Schedule) or rate.at(now) is not None)


def cost_of(rate: Pricing, tokens: Tokens) -> int | None:
    """What the tokens cost; a fraction of a nano-dollar is rounded up, once, on the sum. None: no price holds."""
    if isinstance(rate, Schedule):
        return rate.cost(tokens, time.time())
    fresh = tokens.prompt - tokens.cached
    thousandths = fresh * rate.input + tokens.cached * rate.cached_input + tokens.completion * rate.output
    return -(-thousandths // 1000)


def worst_case(rate: Pricing, prompt: int, completion: int) -> int | None:
    """What a request can cost at most, for a reservation. None: no price holds."""
    if isinstance(rate, Schedule):
        return rate.worst_case(prompt, completion, time.time())
    return -(-(prompt * max(rate.input, rate.cached_input) + completion * rate.output) // 1000)
