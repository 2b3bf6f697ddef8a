"""The usage event: one per admitted request, whatever became of it.

It is what the data plane tells the rest of the system. Times are Unix nanoseconds, money is integer nano-dollars
(10^-9 US dollars), counts are tokens. ``None`` means not known; zero means none.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.contract.learned_routes import Decision
from gateway.kernel.rates import Quantities

Outcome = Literal["ok", "error", "cancelled", "cut", "cached", "refused", "shadow"]


class Tokens(Struct, omit_defaults=True):
    """What one request used. Every kind of prompt token is part of ``prompt``, of completion tokens of ``completion``.

    ``cached`` was read from the provider's cache. ``cache_write`` was written to it, of that ``cache_write_1h`` for an
    hour. ``reasoning`` was spent on thinking. ``images`` are those made, ``audio_seconds`` the sound heard, where they
    are what is paid for. What is 0 is left out on the wire.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_prompt: int = 0
    audio_completion: int = 0
    image_prompt: int = 0
    image_completion: int = 0
    images: int = 0
    audio_seconds: int = 0


def quantities_of(tokens: Tokens) -> Quantities:
    """The same as prices count it: what was written to a cache for an hour is none of the rest that was written."""
    return Quantities(
        prompt=tokens.prompt,
        completion=tokens.completion,
        cached=tokens.cached,
        cache_write=tokens.cache_write - tokens.cache_write_1h,
        cache_write_1h=tokens.cache_write_1h,
        reasoning=tokens.reasoning,
        audio_prompt=tokens.audio_prompt,
        audio_completion=tokens.audio_completion,
        image_prompt=tokens.image_prompt,
        image_completion=tokens.image_completion,
        images=tokens.images,
        audio_seconds=tokens.audio_seconds,
    )


class Attempt(Struct, omit_defaults=True):
    """One call to one target: when it started, how long it took, and how it ended.

    ``tokens`` and ``cost_nanos`` are told where the request was answered by several calls, or a call by none: of each
    part of a stream that was continued, of the loser of two calls, of a shadow. Nobody is billed for them as such.
    """

    provider: str
    model: str
    started_ns: int
    duration_ns: int
    status: int | None
    reason: str
    tokens: Tokens | None = None
    cost_nanos: int | None = None


class Fallback(Struct):
    """Which model answered instead of the one that was asked for, and why: the ``reason`` of the last attempt at the
    one asked for; else ``circuit_open`` where its targets rested after failures, ``late`` where one had not begun to
    answer, ``not_eligible`` where the request could or might not be served there.
    """

    model: str
    reason: str


class UsageEvent(Struct):
    """The record of one admitted request."""

    id: str
    endpoint: str
    started_ns: int
    first_token_ns: int | None
    ended_ns: int
    credential: str
    organization: str
    model: str
    provider: str | None
    target: str | None
    attempts: list[Attempt]
    tokens: Tokens
    estimated: bool
    stream: bool
    outcome: Outcome
    status: int
    cost_nanos: int | None
    tags: dict[str, str]
    user: str | None = None
    fallback: Fallback | None = None
    decision: Decision | None = None
    """Of a learned route."""
