"""What is chosen from, for what, and what came of it. Nothing of it changes: what is observed meanwhile makes new ones.

Prices are US dollars per million tokens, times are seconds. Nothing of it can hold itself (``gc=False``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.routing.estimates import FIRST_TOKEN as FIRST_TOKEN
from gateway.routing.estimates import PER_TOKEN as PER_TOKEN
from gateway.routing.estimates import SPREAD as SPREAD
from gateway.routing.estimates import Candidate as Candidate
from gateway.routing.request import OptimizeFor

if TYPE_CHECKING:
    from gateway.routing.estimates import Estimate

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
