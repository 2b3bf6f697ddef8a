"""Prices and exchange rates of ``gateway.yaml``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.settings.fields import Day, Dollars, Name, Section, about


class Price(Section, frozen=True, kw_only=True):
    """US dollars per 1,000 tokens of one provider's model."""

    provider: Annotated[Name, about("Name of the provider.")]
    model: Annotated[Name, about("The provider's name of the model.")]
    input_per_1k: Annotated[Dollars, about("Prompt tokens.")]
    output_per_1k: Annotated[Dollars, about("Completion tokens.")]
    cached_input_per_1k: Annotated[
        Dollars | None, about("Prompt tokens the provider had cached; absent: as other prompt tokens.")
    ] = None


class ExchangeRate(Section, frozen=True, kw_only=True):
    """What one unit of a currency is worth, from a day on until the next one that is known."""

    currency: Annotated[Literal["EUR", "GBP", "JPY", "AUD", "CAD"], about("The currency, by ISO 4217.")]
    day: Annotated[Day, about("The day, in UTC.")]
    dollars: Annotated[float, Meta(gt=0, le=1_000), about("US dollars for one unit.")]
