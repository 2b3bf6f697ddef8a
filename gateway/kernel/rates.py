"""What tokens and requests cost by some rates: plain reckoning, for the data plane and the ledger alike.

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

Exact until the end: rates, counts and exchange rates are whole numbers, and a fraction of a nano-dollar is rounded up
once, on the sum. The parts are rounded so that they add up to that sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

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
_DIVISOR = UNITS * NANOS
KINDS: tuple[Kind, ...] = get_args(Kind)
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


class Tier(Struct, frozen=True):
    """Rates of a request with more than ``above`` prompt tokens: for all of its tokens, not only those above."""

    above: int
    rates: dict[str, int]


class Hours(Struct, frozen=True):
    """Rates of a part of each day, from ``start`` until ``end``: seconds since midnight, UTC. It may pass midnight."""

    start: int
    end: int
    rates: dict[str, int]


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


def parts_of(rates: Rates, used: Quantities, fx_rate: int = NANOS) -> dict[str, int]:
    """What each kind costs in nano-dollars, where that is not nothing; ``fx_rate`` is those for a unit of the money."""
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
    return parts


def rates_above(rates: Rates, tiers: Sequence[Tier], prompt: int) -> Rates:
    """The rates of a request of that many prompt tokens; tiers begin with the lowest."""
    for tier in tiers:
        if prompt > tier.above:
            rates = tier.rates
    return rates


def rates_at(rates: Rates, tiers: Sequence[Tier], hours: Sequence[Hours], prompt: int, second: int) -> Rates:
    """The rates of a request of that many prompt tokens at a second of the day, UTC: those of the hour, else of the
    tier.
    """
    for part in reversed(hours):
        if _within(second, part.start, part.end):
            return part.rates
    return rates_above(rates, tiers, prompt)


def _within(second: int, start: int, end: int) -> bool:
    return start <= second < end if start <= end else second >= start or second < end


def tells(rates: Rates, images: int, audio_seconds: int) -> bool:
    """Whether what was used can be rated: rates for images or seconds of sound alone need some of either."""
    return bool(images or audio_seconds) or not rates.keys() <= {"image", "audio_second"}


def whole_tiers(rates: Rates, tiers: Sequence[Tier]) -> tuple[Tier, ...]:
    """Tiers that tell every rate, those too that stay as they are below."""
    whole: list[Tier] = []
    before = dict(rates)
    for tier in tiers:
        before = before | tier.rates
        whole.append(Tier(tier.above, before))
    return tuple(whole)


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
    counts: dict[str, int] = {}
    left = used.prompt
    for kind, tokens in (
        ("cached_input", used.cached), ("cache_write_1h", used.cache_write_1h), ("cache_write", used.cache_write),
        ("input_audio", used.audio_prompt), ("input_image", used.image_prompt), ("input", left),
    ):  # fmt: skip
        if tokens > 0 and left > 0:
            counts[kind] = min(tokens, left)
            left -= counts[kind]
    left = used.completion
    for kind, tokens in (
        ("reasoning", used.reasoning), ("output_audio", used.audio_completion),
        ("output_image", used.image_completion), ("output", left),
    ):  # fmt: skip
        if tokens > 0 and left > 0:
            counts[kind] = min(tokens, left)
            left -= counts[kind]
    for kind, count in (("request", used.requests), ("image", used.images), ("audio_second", used.audio_seconds)):
        if count > 0:
            counts[kind] = count
    return counts
