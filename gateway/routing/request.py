"""What a decision is asked. Plain classes, as in :mod:`~gateway.routing.estimates`: compiled, they are read as C reads.

Prices are US dollars, times are seconds.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from gateway.kernel.compiling import mypyc_attr

OptimizeFor = Literal["cost", "speed", "quality", "balanced"]

_NOBODY: Final[frozenset[str]] = frozenset()


@mypyc_attr(acyclic=True)
class Constraints:
    """What a target must meet. It never changes. ``max_cost`` is for the request, ``max_response_time`` what 95 of 100
    answers are to meet; ``min_quality`` a probability, which the lower bound of the target's is to reach.
    """

    __slots__ = ("exclude_providers", "max_cost", "max_response_time", "min_quality", "preferred_providers")

    def __init__(
        self,
        *,
        max_cost: float | None = None,
        min_quality: float | None = None,
        max_response_time: float | None = None,
        preferred_providers: frozenset[str] = _NOBODY,
        exclude_providers: frozenset[str] = _NOBODY,
    ) -> None:
        self.max_cost = max_cost
        self.min_quality = min_quality
        self.max_response_time = max_response_time
        self.preferred_providers = preferred_providers
        self.exclude_providers = exclude_providers

    def fields(self) -> dict[str, Any]:
        """What it was made of."""
        return {
            "max_cost": self.max_cost,
            "min_quality": self.min_quality,
            "max_response_time": self.max_response_time,
            "preferred_providers": self.preferred_providers,
            "exclude_providers": self.exclude_providers,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constraints) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(tuple(self.fields().values()))


_NONE: Final = Constraints()


@mypyc_attr(acyclic=True)
class Ask:
    """A request as far as a decision needs it. ``prompt_tokens`` None: a quarter of the characters. ``max_tokens`` is
    the client's bound of the answer, ``needs`` are capabilities (``tools``, ``vision`` …).
    """

    __slots__ = ("cached_tokens", "constraints", "max_tokens", "needs", "optimize_for", "prompt", "prompt_tokens")

    def __init__(
        self,
        *,
        prompt: str,
        optimize_for: OptimizeFor = "balanced",
        constraints: Constraints = _NONE,
        prompt_tokens: int | None = None,
        cached_tokens: int = 0,
        max_tokens: int | None = None,
        needs: frozenset[str] = _NOBODY,
    ) -> None:
        self.prompt = prompt
        self.optimize_for = optimize_for
        self.constraints = constraints
        self.prompt_tokens = prompt_tokens
        self.cached_tokens = cached_tokens
        self.max_tokens = max_tokens
        self.needs = needs
