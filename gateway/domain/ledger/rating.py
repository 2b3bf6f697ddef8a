"""What the ledger asks of prices: the cost of some tokens of a model at some instant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

BILLED = ("ok", "cancelled", "cut")
"""Outcomes that cost what was produced. What failed costs nothing, and an answer from a cache saves what it would have
cost."""


class Counts(Struct, frozen=True, kw_only=True):
    """Tokens of one request. ``cached`` is part of ``prompt``, ``cache_write`` too, ``reasoning`` of ``completion``."""

    prompt: int = 0
    cached: int = 0
    cache_write: int = 0
    completion: int = 0
    reasoning: int = 0


class Rating(Struct, frozen=True):
    """A cost in nano-dollars with its parts by token kind, and the price it comes from."""

    cost_nanos: int
    parts: Mapping[str, int]
    price_id: str | None
    currency: str


class Rater(Protocol):
    """Rates one request."""

    def __call__(self, provider: str | None, model: str, counts: Counts, at_ns: int) -> Rating | None:
        """The cost by the price in force at ``at_ns`` (Unix nanoseconds); None where there is no price."""


def nobody_knows(provider: str | None, model: str, counts: Counts, at_ns: int) -> Rating | None:
    """A rater without prices."""
    return None
