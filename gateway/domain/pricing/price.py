"""A price as it is reckoned with, apart from the table that keeps it.

Rates are whole nano-units (10^-9) of the price's currency for 1,000,000 of what they count, so that the smallest
published price is still exact. What a rate is not told for is counted as what it falls back to; see :data:`FALLBACKS`.

==================  ================================================================================
rate                counts
==================  ================================================================================
``input``           prompt tokens that are none of the kinds below
``cached_input``    prompt tokens the provider had cached
``cache_write``     prompt tokens the provider wrote to its cache, for the time it keeps them unasked
``cache_write_1h``  prompt tokens the provider wrote to its cache for an hour
``input_audio``     prompt tokens of sound
``input_image``     prompt tokens of images
``output``          completion tokens that are none of the kinds below
``reasoning``       completion tokens spent on thinking
``output_audio``    completion tokens of sound
``output_image``    completion tokens of images
``request``         requests
``image``           images
``audio_second``    seconds of sound, where a model counts no tokens
==================  ================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from msgspec import Struct

Source: TypeAlias = Literal["api", "config", "default"]
Kind: TypeAlias = Literal[
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
    "request",
    "image",
    "audio_second",
]
Rates: TypeAlias = Mapping[str, int]

UNITS = 1_000_000
"""How many of what is counted a rate is for."""
NANOS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The beginning of a price that holds for all time before it was changed."""
KINDS: tuple[Kind, ...] = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
    "request",
    "image",
    "audio_second",
)
FALLBACKS: dict[str, str] = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "input_image": "input",
    "reasoning": "output",
    "output_audio": "output",
    "output_image": "output",
}
"""The rate that stands in for one that is not told. What has none costs nothing."""
RANK: dict[str, int] = {"api": 0, "config": 1, "default": 2}
"""Which source is believed first."""


class Tier(Struct, frozen=True):
    """Rates of a request with more than ``above`` prompt tokens: for all of its tokens, not only those above."""

    above: int
    rates: dict[str, int]


class Hours(Struct, frozen=True):
    """Rates of a part of each day, from ``start`` until ``end``: seconds since midnight, UTC. It may pass midnight."""

    start: int
    end: int
    rates: dict[str, int]


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


class Quantities(Struct, frozen=True, kw_only=True):
    """What a request used. Every kind of prompt token is part of ``prompt``, of completion tokens of ``completion``.

    A provider that tells them apart (Anthropic: ``input_tokens`` without what was cached; Gemini:
    ``candidatesTokenCount`` without the thoughts) is added up by whoever reads its answer.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_prompt: int = 0
    audio_completion: int = 0
    image_prompt: int = 0
    image_completion: int = 0
    requests: int = 1
    images: int = 0
    audio_seconds: int = 0


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
