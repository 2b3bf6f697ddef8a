"""Prices and exchange rates of ``gateway.yaml``."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from gateway.kernel.money import to_nanos
from gateway.kernel.rates import UNITS
from gateway.settings.fields import Count, Day, Dollars, Name, Section, about

Currency = Literal["USD", "EUR", "GBP", "JPY", "AUD", "CAD"]


class Rates(Section, frozen=True, kw_only=True):
    """What is paid for so much of what is counted; what is left out is counted as what it is part of."""

    input_per_1k: Annotated[Dollars | None, about("1,000 prompt tokens that are none of the kinds below.")] = None
    output_per_1k: Annotated[Dollars | None, about("1,000 completion tokens that are none of the kinds below.")] = None
    cached_input_per_1k: Annotated[
        Dollars | None, about("Prompt tokens the provider had cached; absent: as other prompt tokens.")
    ] = None
    cache_write_per_1k: Annotated[
        Dollars | None, about("Prompt tokens written to the provider's cache; absent: as other prompt tokens.")
    ] = None
    cache_write_1h_per_1k: Annotated[
        Dollars | None, about("Those of them that are kept for an hour; absent: as others that are written.")
    ] = None
    input_audio_per_1k: Annotated[Dollars | None, about("Prompt tokens of sound; absent: as other prompt tokens.")] = (
        None
    )
    input_image_per_1k: Annotated[Dollars | None, about("Prompt tokens of images; absent: as other prompt tokens.")] = (
        None
    )
    reasoning_per_1k: Annotated[
        Dollars | None, about("Completion tokens spent on thinking; absent: as other completion tokens.")
    ] = None
    output_audio_per_1k: Annotated[
        Dollars | None, about("Completion tokens of sound; absent: as other completion tokens.")
    ] = None
    output_image_per_1k: Annotated[
        Dollars | None, about("Completion tokens of images; absent: as other completion tokens.")
    ] = None
    per_request: Annotated[Dollars | None, about("One request; absent: nothing.")] = None
    per_image: Annotated[Dollars | None, about("One image that was made; absent: nothing.")] = None
    per_audio_second: Annotated[
        Dollars | None, about("One second of sound, where no tokens are counted; absent: nothing.")
    ] = None


class PriceTier(Rates, frozen=True, kw_only=True):
    """Prices of requests with more prompt tokens than a number, for all of their tokens."""

    above_prompt_tokens: Annotated[Count, about("They hold above so many prompt tokens.")]


class Price(Rates, frozen=True, kw_only=True):
    """What one provider's model costs."""

    provider: Annotated[Name, about("Name of the provider.")]
    model: Annotated[Name, about("The provider's name of the model.")]
    currency: Annotated[Currency, about("What the prices are in, by ISO 4217.")] = "USD"
    effective_from: Annotated[
        Day | None, about("The day they hold from, at 0:00 UTC; absent: from when they are first read.")
    ] = None
    tiers: Annotated[tuple[PriceTier, ...], about("Prices of larger requests, the smallest first.")] = ()


class ExchangeRate(Section, frozen=True, kw_only=True):
    """What one unit of a currency is worth, from a day on until the next one that is known."""

    currency: Annotated[Literal["EUR", "GBP", "JPY", "AUD", "CAD"], about("The currency, by ISO 4217.")]
    day: Annotated[Day, about("The day, in UTC.")]
    dollars: Annotated[float, Meta(gt=0, le=1_000), about("US dollars for one unit.")]


# The key of each rate of gateway.kernel.rates, and for how many of what it counts it is told.
_KEYS: Final[dict[str, tuple[str, int]]] = {
    "input": ("input_per_1k", 1_000),
    "cached_input": ("cached_input_per_1k", 1_000),
    "cache_write": ("cache_write_per_1k", 1_000),
    "cache_write_1h": ("cache_write_1h_per_1k", 1_000),
    "input_audio": ("input_audio_per_1k", 1_000),
    "input_image": ("input_image_per_1k", 1_000),
    "output": ("output_per_1k", 1_000),
    "reasoning": ("reasoning_per_1k", 1_000),
    "output_audio": ("output_audio_per_1k", 1_000),
    "output_image": ("output_image_per_1k", 1_000),
    "request": ("per_request", 1),
    "image": ("per_image", 1),
    "audio_second": ("per_audio_second", 1),
}
RATE_KEYS: Final = tuple(key for key, _ in _KEYS.values())


def rates_of(told: Rates) -> dict[str, int]:
    """The rates that are told, in the units of :mod:`gateway.kernel.rates`."""
    values = ((kind, getattr(told, key), per) for kind, (key, per) in _KEYS.items())
    return {kind: to_nanos(value) * (UNITS // per) for kind, value, per in values if value is not None}
