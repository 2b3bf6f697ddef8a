"""Checks of the prices that callers tell. Each raises INVALID naming the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.domain.fields import amount, invalid
from gateway.domain.pricing.currency import CURRENCIES
from gateway.domain.pricing.price import KINDS, Tier

HIGHEST = 10**18
"""The highest rate: $1,000 for one of what is counted."""
_MOST_TIERS = 20
_MOST_TOKENS = 10**12


def check_rates(rates: Mapping[str, int], tiers: Sequence[Tier], currency: str) -> dict[str, Any]:
    """The columns of a price's rates: each tier tells every rate, those too that stay as they are below it."""
    base = _checked(rates, "rates")
    if not base:
        raise invalid("rates must tell at least one price.", "rates")
    if currency not in CURRENCIES:
        raise invalid(f"currency must be one of: {', '.join(CURRENCIES)}.", "currency")
    if len(tiers) > _MOST_TIERS:
        raise invalid(f"tiers must have at most {_MOST_TIERS} entries.", "tiers")
    filled: list[dict[str, Any]] = []
    above, before = 0, base
    for index, tier in enumerate(tiers):
        field = f"tiers[{index}]"
        least = above + 1
        above = amount(tier.above, f"{field}.above_prompt_tokens", least=least, most=_MOST_TOKENS)
        before = before | _checked(tier.rates, field)
        filled.append({"above": above, "rates": before})
    return {"rates": base, "tiers": filled, "hours": [], "currency": currency}


def check_span(start: datetime, end: datetime | None) -> None:
    """A price ends after it began. Raises INVALID ``invalid_date_range``."""
    if end is not None and end <= start:
        raise invalid("effective_to must be after effective_from.", "effective_to", "invalid_date_range")


def _checked(rates: Mapping[str, int], field: str) -> dict[str, int]:
    for kind, rate in rates.items():
        if kind not in KINDS:
            raise invalid(f"{field}.{kind} is not known; expected {', '.join(KINDS)}.", f"{field}.{kind}")
        amount(rate, f"{field}.{kind}", most=HIGHEST)
    return dict(rates)
