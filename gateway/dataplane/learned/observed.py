"""What is seen of a target's answers: how long they take, and how much of prompts is cached.

Running means, of which each answer moves the first much and later ones little. Times are seconds.
"""

from __future__ import annotations

from typing import Final

from gateway.routing.candidates import FIRST_TOKEN, PER_TOKEN, SPREAD

ENOUGH: Final = 8
"""Answers from which on what is seen here counts more than what was told."""
_PRIOR: Final = 2.0  # answers that what was assumed before the first counts for
_LEAST: Final = 0.05  # what an answer moves a mean by at the least
_OUTLIER: Final = 8.0  # one that takes longer counts as so many times as long as expected
_STEP: Final = 0.1
_SPREADS: Final = (1.05, 20.0)


class Observed:
    """``count`` answers were seen; ``version`` changes with each. ``spread`` is the 95th percentile over the median of
    an answer's time, ``cached`` the share of prompt tokens that was read from the provider's cache.
    """

    __slots__ = ("cached", "count", "first_token", "per_token", "spread", "version")

    def __init__(self) -> None:
        self.first_token = FIRST_TOKEN
        self.per_token = PER_TOKEN
        self.spread = SPREAD
        self.cached = 0.0
        self.count = 0
        self.version = 0

    def answered(self, total: float, tokens: int, first: float | None) -> None:
        """An answer of ``tokens`` was complete after ``total`` seconds; of a stream ``first`` is when it began."""
        expected = self.first_token + self.per_token * tokens
        ratio = min(total / expected, _OUTLIER)
        moved = max(_LEAST, 1.0 / (self.count + 1.0 + _PRIOR))
        if first is None or tokens < 2:
            # Which part of the time was spent before the first token is not told: both are taken to be so much off.
            self.first_token *= 1.0 + moved * (ratio - 1.0)
            self.per_token *= 1.0 + moved * (ratio - 1.0)
        else:
            self.first_token += moved * (min(first, _OUTLIER * self.first_token) - self.first_token)
            each = max(0.0, total - first) / (tokens - 1)
            self.per_token += moved * (min(each, _OUTLIER * self.per_token) - self.per_token)
        # Robbins & Monro 1951: steps up and down that balance where 95 of 100 answers are quicker.
        step = 1.0 + _STEP * 0.95 if ratio > self.spread else 1.0 - _STEP * 0.05
        self.spread = min(max(self.spread * step, _SPREADS[0]), _SPREADS[1])
        self.count += 1
        self.version += 1

    def read(self, prompt: int, cached: int) -> None:
        """Of a prompt's tokens so many were cached. Shows with the next :meth:`answered`."""
        if prompt > 0:
            self.cached += max(_LEAST, 1.0 / (self.count + 1.0 + _PRIOR)) * (cached / prompt - self.cached)
