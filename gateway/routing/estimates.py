"""What is known of targets, and what is expected of models and of targets. Plain classes: compiled, their numbers are
kept as C has them, without an object each, and a decision makes and reads some hundred of them.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.kernel.compiling import mypyc_attr

FIRST_TOKEN: Final = 0.6
PER_TOKEN: Final = 0.018
SPREAD: Final = 2.6
"""Until a target's own times are known: the median of hosted models in 2024 of the seconds until the first token, of
those a token takes, and of the ratio of the 95th to the 50th percentile."""


class Candidate:
    """A target that may be chosen. It never changes: see :meth:`replaced`.

    ``name`` is what it is called to people and ``learned`` the model it is to the router: one that was learned, or a
    tier. ``cached_price`` is that of prompt tokens the provider has cached, ``spread`` the ratio of the 95th percentile
    of its time to the 50th. ``allowed`` is whether the caller's key may use it, ``resting`` whether its breaker is
    open. ``context_length`` counts prompt and answer, None where nobody knows.
    """

    __slots__ = (
        "allowed",
        "cached_price",
        "capabilities",
        "context_length",
        "first_token",
        "input_price",
        "learned",
        "name",
        "output_price",
        "per_token",
        "provider",
        "resting",
        "spread",
    )

    def __init__(
        self,
        *,
        name: str,
        provider: str,
        learned: str,
        input_price: float,
        output_price: float,
        cached_price: float | None = None,
        first_token: float = FIRST_TOKEN,
        per_token: float = PER_TOKEN,
        spread: float = SPREAD,
        context_length: int | None = None,
        capabilities: frozenset[str] = frozenset(),
        allowed: bool = True,
        resting: bool = False,
    ) -> None:
        self.name = name
        self.provider = provider
        self.learned = learned
        self.input_price = input_price
        self.output_price = output_price
        self.cached_price = cached_price
        self.first_token = first_token
        self.per_token = per_token
        self.spread = spread
        self.context_length = context_length
        self.capabilities = capabilities
        self.allowed = allowed
        self.resting = resting

    def replaced(self, **changes: Any) -> Candidate:
        """The same with some of it changed."""
        return Candidate(**{**self._fields(), **changes})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Candidate) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(tuple(self._fields().values()))

    def _fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "provider": self.provider,
            "learned": self.learned,
            "input_price": self.input_price,
            "output_price": self.output_price,
            "cached_price": self.cached_price,
            "first_token": self.first_token,
            "per_token": self.per_token,
            "spread": self.spread,
            "context_length": self.context_length,
            "capabilities": self.capabilities,
            "allowed": self.allowed,
            "resting": self.resting,
        }


@mypyc_attr(acyclic=True)
class Quality:
    """What is expected of a model: the probability of a good answer with its standard error, the answer's tokens."""

    __slots__ = ("error", "probability", "tokens")

    def __init__(self, probability: float, error: float, tokens: float) -> None:
        self.probability = probability
        self.error = error
        self.tokens = tokens

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quality) and _told(self) == _told(other)

    def __hash__(self) -> int:
        return hash(_told(self))


@mypyc_attr(acyclic=True)
class View:
    """What a panel says of one prompt. ``familiar`` is the probability of the likeliest ``task``."""

    __slots__ = ("familiar", "qualities", "task")

    def __init__(self, task: str, familiar: float, qualities: list[Quality]) -> None:
        self.task = task
        self.familiar = familiar
        self.qualities = qualities


@mypyc_attr(acyclic=True)
class Estimate:
    """What is expected of one target. ``lower`` is the lower bound of ``quality`` (one-sided, 95 %); ``cost`` in US
    dollars, ``nanos`` the same in whole billionths; ``seconds`` at the median and ``slow`` at the 95th percentile;
    ``utility`` is what targets are ranked by. ``place`` is where it stood among the candidates.
    """

    __slots__ = ("cost", "error", "lower", "name", "nanos", "place", "quality", "seconds", "slow", "tokens", "utility")

    def __init__(
        self,
        name: str,
        quality: float,
        lower: float,
        cost: float,
        seconds: float,
        slow: float,
        tokens: float,
        utility: float,
        error: float,
        place: int = 0,
    ) -> None:
        self.name = name
        self.quality = quality
        self.lower = lower
        self.cost = cost
        self.nanos = int(cost * 1e9 + 0.5)
        self.seconds = seconds
        self.slow = slow
        self.tokens = tokens
        self.utility = utility
        self.error = error
        self.place = place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Estimate) and _all(self) == _all(other)

    def __hash__(self) -> int:
        return hash(_all(self))


def _told(one: Quality) -> tuple[float, float, float]:
    return one.probability, one.error, one.tokens


def _all(one: Estimate) -> tuple[str, float, float, float, float, float, float, float, float]:
    return one.name, one.quality, one.lower, one.cost, one.seconds, one.slow, one.tokens, one.utility, one.error
