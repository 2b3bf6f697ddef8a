"""How sure a choice is."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt

from gateway.routing.estimates import Estimate


def confidence(ranked: Sequence[Estimate]) -> float:
    """The probability that the first is better than the second by utility; 1 where there is no second."""
    if len(ranked) < 2:
        return 1.0
    first, second = ranked[0], ranked[1]
    error = sqrt(2.0 * (first.error * first.error + second.error * second.error))
    return 0.5 * (1.0 + erf((first.utility - second.utility) / (error + 1e-12)))
