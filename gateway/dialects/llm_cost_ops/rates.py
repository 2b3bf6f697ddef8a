"""Rates as this reference tells them: money for 1,000 tokens, and for one request, image or second of sound."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.dialects.common.models import Answer, Asked
from gateway.domain.pricing.model import PriceVersion
from gateway.domain.pricing.price import NANOS, UNITS, Tier

Per1k = Annotated[float, Field(ge=0, le=1_000_000)]
Each = Annotated[float, Field(ge=0, le=1_000)]
# The wire's name of each rate that is told in ``pricing_structure``, and for how many.
_NAMES: dict[str, tuple[str, int]] = {
    "cached_input": ("cached_input_price_per_1k", 1_000),
    "cache_write": ("cache_write_price_per_1k", 1_000),
    "cache_write_1h": ("cache_write_1h_price_per_1k", 1_000),
    "input_audio": ("input_audio_price_per_1k", 1_000),
    "input_image": ("input_image_price_per_1k", 1_000),
    "reasoning": ("reasoning_price_per_1k", 1_000),
    "output_audio": ("output_audio_price_per_1k", 1_000),
    "output_image": ("output_image_price_per_1k", 1_000),
    "request": ("price_per_request", 1),
    "image": ("price_per_image", 1),
    "audio_second": ("price_per_audio_second", 1),
}
_BASE = {"input": ("input_price_per_1k", 1_000), "output": ("output_price_per_1k", 1_000)}


class AskedKinds(Asked):
    """Rates beside those of input and output; null takes one away, which is then rated as what it is part of."""

    cached_input_price_per_1k: Per1k | None = None
    cache_write_price_per_1k: Per1k | None = None
    cache_write_1h_price_per_1k: Per1k | None = None
    input_audio_price_per_1k: Per1k | None = None
    input_image_price_per_1k: Per1k | None = None
    reasoning_price_per_1k: Per1k | None = None
    output_audio_price_per_1k: Per1k | None = None
    output_image_price_per_1k: Per1k | None = None
    price_per_request: Each | None = None
    price_per_image: Each | None = None
    price_per_audio_second: Each | None = None


class AskedTier(AskedKinds):
    """Rates of requests with more prompt tokens than ``above_prompt_tokens``; what is left out is as below it."""

    above_prompt_tokens: int
    input_price_per_1k: Per1k | None = None
    output_price_per_1k: Per1k | None = None


class AskedStructure(AskedKinds):
    """How a model is paid. ``type`` follows from the tiers, and may be told."""

    type: Literal["per_token", "tiered"] | None = None
    tiers: list[AskedTier] | None = None


class Kinds(Answer):
    """The rates that a price tells beside those of input and output."""

    cached_input_price_per_1k: float | None = None
    cache_write_price_per_1k: float | None = None
    cache_write_1h_price_per_1k: float | None = None
    input_audio_price_per_1k: float | None = None
    input_image_price_per_1k: float | None = None
    reasoning_price_per_1k: float | None = None
    output_audio_price_per_1k: float | None = None
    output_image_price_per_1k: float | None = None
    price_per_request: float | None = None
    price_per_image: float | None = None
    price_per_audio_second: float | None = None


class ShownTier(Kinds):
    """See :class:`AskedTier`."""

    above_prompt_tokens: int
    input_price_per_1k: float | None = None
    output_price_per_1k: float | None = None


class ShownHours(Kinds):
    """Rates of a part of each day, in UTC."""

    start: str
    end: str
    input_price_per_1k: float | None = None
    output_price_per_1k: float | None = None


class Structure(Kinds):
    """How a model is paid, and where the price comes from. What a price does not tell is left out."""

    type: Literal["per_token", "tiered"]
    tiers: list[ShownTier] | None
    hours: list[ShownHours] | None = None
    source: str


def per_1k(rate: int) -> float:
    """Money for 1,000 tokens."""
    return _money(rate, 1_000)


def rates_of(base: Mapping[str, float | None], kinds: AskedKinds) -> dict[str, int]:
    """The rates that are told; ``base`` is money for 1,000 tokens by rate."""
    told = {kind: _rate(value, 1_000) for kind, value in base.items() if value is not None}
    for kind, (name, per) in _NAMES.items():
        value = getattr(kinds, name)
        if value is not None:
            told[kind] = _rate(value, per)
    return told


def taken_away(kinds: AskedKinds) -> list[str]:
    """The rates that are told as null."""
    return [
        kind for kind, (name, _) in _NAMES.items() if name in kinds.model_fields_set and getattr(kinds, name) is None
    ]


def tiers_of(structure: AskedStructure) -> tuple[Tier, ...] | None:
    """The tiers that are told, none for null; None where nothing is said of them."""
    if "tiers" not in structure.model_fields_set:
        return None
    return tuple(
        Tier(
            tier.above_prompt_tokens,
            rates_of({"input": tier.input_price_per_1k, "output": tier.output_price_per_1k}, tier),
        )
        for tier in structure.tiers or ()
    )


def structure_of(row: PriceVersion) -> Structure:
    """How a price is told."""
    tiers = [
        ShownTier(above_prompt_tokens=tier["above"], **_shown(tier["rates"], _BASE | _NAMES)) for tier in row.tiers
    ]
    more: dict[str, Any] = {}
    if row.hours:
        more["hours"] = [
            ShownHours(start=_clock(part["start"]), end=_clock(part["end"]), **_shown(part["rates"], _BASE | _NAMES))
            for part in row.hours
        ]
    return Structure(
        type="tiered" if tiers else "per_token",
        tiers=tiers or None,
        source=row.source,
        **_shown(row.rates, _NAMES),
        **more,
    )


def _shown(rates: Mapping[str, int], names: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    return {name: _money(rates[kind], per) for kind, (name, per) in names.items() if kind in rates}


def _rate(money: float, per: int) -> int:
    # A float counts as the decimal number it prints as.
    return int((Decimal(str(money)) * NANOS * UNITS / per).to_integral_value(ROUND_HALF_EVEN))


def _money(rate: int, per: int) -> float:
    return float(Decimal(rate) * per / (NANOS * UNITS))


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second % 3600 // 60:02}"
