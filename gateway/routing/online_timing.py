"""What a target's answers took, and how long they were: means that fade by the answers that follow.

Times are seconds; of times the means of logarithms are kept, which are medians where times spread as they do.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from gateway.contract.learned_routes import Timing
from gateway.routing.candidates import FIRST_TOKEN, PER_TOKEN, SPREAD

HORIZON: Final = 100.0
"""Answers that count at most."""
PRIOR: Final = 3.0
"""How many answers the medians of hosted models, the expected length and the usual spread count for."""
_P95: Final = 1.645  # standard deviations
_SHORTEST, _LONGEST = 1e-5, 3_600.0
_TELLING: Final = 4
"""Tokens from which on an answer tells what one of them takes."""


class Took(Struct):
    """What is known of a target's times: logarithms of seconds, and the variance of whole answers'.

    ``length`` is the logarithm of the answers' tokens over those expected; ``weight`` is answers.
    """

    first_token: float = math.log(FIRST_TOKEN)
    per_token: float = math.log(PER_TOKEN)
    variance: float = (math.log(SPREAD) / _P95) ** 2
    length: float = 0.0
    weight: float = 0.0
    lengths: float = 0.0

    def add(self, first_token: float | None, seconds: float, tokens: int) -> None:
        """An answer: seconds until its first token where it was streamed, and until its end; 0 tokens: not known."""
        seconds = min(max(seconds, _SHORTEST), _LONGEST)
        expected = self._expected(tokens)
        share = 1.0 / (min(self.weight, HORIZON) + PRIOR)
        self.weight = min(self.weight + 1.0, HORIZON)
        off = math.log(seconds / expected)
        self.variance += share * (off * off - self.variance)
        if first_token is None:
            # Only the whole is known: both parts are off as the whole is.
            self.first_token += share * off
            self.per_token += share * off
            return
        first_token = min(max(first_token, _SHORTEST), seconds)
        self.first_token += share * (math.log(first_token) - self.first_token)
        if tokens >= _TELLING:
            each = max((seconds - first_token) / tokens, _SHORTEST)
            self.per_token += share * (math.log(each) - self.per_token)

    def add_length(self, tokens: int, expected: float) -> None:
        """An answer's tokens, and those expected."""
        if tokens <= 0 or expected <= 0:
            return
        share = 1.0 / (min(self.lengths, HORIZON) + PRIOR)
        self.lengths = min(self.lengths + 1.0, HORIZON)
        self.length += share * (min(max(math.log(tokens / expected), -5.0), 5.0) - self.length)

    def told(self, target: str) -> Timing:
        """The same as workers are told it."""
        return Timing(
            target,
            round(math.exp(self.first_token), 5),
            round(math.exp(self.per_token), 7),
            round(math.exp(_P95 * math.sqrt(self.variance)), 3),
            round(math.exp(self.length), 3),
            round(self.weight, 1),
        )

    def _expected(self, tokens: int) -> float:
        return math.exp(self.first_token) + tokens * math.exp(self.per_token)
