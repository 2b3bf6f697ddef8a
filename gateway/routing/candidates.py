"""What is chosen from, for what, and what came of it. Frozen: what is observed meanwhile makes new ones.

Prices are US dollars per million tokens, times are seconds.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

OptimizeFor = Literal["cost", "speed", "quality", "balanced"]

FIRST_TOKEN: Final = 0.6
PER_TOKEN: Final = 0.018
SPREAD: Final = 2.6
"""Until a target's own times are known: the median of hosted models in 2024 of the seconds until the first token, of
those a token takes, and of the ratio of the 95th to the 50th percentile."""
UNPRICED: Final = 1e12
"""US dollars per million tokens of a target whose price nobody knows, where a request may cost only so much."""
CHARS_PER_TOKEN: Final = 4
BOUND: Final = 1.645
"""Standard errors between a quality and its lower bound: 95 % one-sided."""

WORTH: Final[dict[OptimizeFor, tuple[float, float]]] = {
    "cost": (0.40, 0.02),
    "speed": (0.02, 0.40),
    "quality": (0.01, 0.005),
    "balanced": (0.12, 0.06),
}
"""By what is optimised: the worth of money and of time, in quality."""


class Candidate(Struct, frozen=True, kw_only=True):
    """A target that may be chosen.

    ``name`` is what it is called to people and ``learned`` the model it is to the router: one that was learned, or a
    tier. ``cached_price`` is that of prompt tokens the provider has cached, ``spread`` the ratio of the 95th percentile
    of its time to the 50th. ``allowed`` is whether the caller's key may use it, ``resting`` whether its breaker is
    open. ``context_length`` counts prompt and answer, None where nobody knows.
    """

    name: str
    provider: str
    learned: str
    input_price: float
    output_price: float
    cached_price: float | None = None
    first_token: float = FIRST_TOKEN
    per_token: float = PER_TOKEN
    spread: float = SPREAD
    context_length: int | None = None
    capabilities: frozenset[str] = frozenset()
    allowed: bool = True
    resting: bool = False


class Constraints(Struct, frozen=True, kw_only=True):
    """What a target must meet. ``max_cost`` is US dollars for the request, ``max_response_time`` seconds, which 95 of
    100 answers are to meet; ``min_quality`` a probability, which the lower bound of the target's is to reach.
    """

    max_cost: float | None = None
    min_quality: float | None = None
    max_response_time: float | None = None
    preferred_providers: frozenset[str] = frozenset()
    exclude_providers: frozenset[str] = frozenset()


class Ask(Struct, frozen=True, kw_only=True):
    """A request as far as a decision needs it. ``prompt_tokens`` None: a quarter of the characters. ``max_tokens`` is
    the client's bound of the answer, ``needs`` are capabilities (``tools``, ``vision`` …).
    """

    prompt: str
    optimize_for: OptimizeFor = "balanced"
    constraints: Constraints = Constraints()
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    max_tokens: int | None = None
    needs: frozenset[str] = frozenset()


class Quality(Struct, frozen=True):
    """What is expected of a model: the probability of a good answer with its standard error, the answer's tokens."""

    probability: float
    error: float
    tokens: float


class View(Struct, frozen=True):
    """What a panel says of one prompt. ``familiar`` is the probability of the likeliest ``task``."""

    task: str
    familiar: float
    qualities: list[Quality]


class Estimate(Struct, frozen=True):
    """What is expected of one target. ``lower`` is the lower bound of ``quality`` (one-sided, 95 %); ``cost`` in US
    dollars; ``seconds`` at the median and ``slow`` at the 95th percentile; ``utility`` is what targets are ranked by.
    """

    name: str
    quality: float
    lower: float
    cost: float
    seconds: float
    slow: float
    tokens: float
    utility: float
    error: float


class Decision(Struct, frozen=True):
    """The target chosen, those behind it by utility, and those left out with the constraint each failed first.

    ``confidence`` is the probability that the chosen one is better than the next by utility, given how well the
    qualities of both are known; 1 where there is no next. ``task`` is what the prompt was taken for.
    """

    chosen: Estimate
    alternatives: tuple[Estimate, ...]
    refused: tuple[tuple[str, str], ...]
    confidence: float
    task: str
