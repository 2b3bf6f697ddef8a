"""What a choice is worth, in quality: the same as targets are ranked by when a decision is made."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.contract.learned_routes import Estimate, Goal
from gateway.routing.candidates import WORTH


def worth_of(goal: Goal, estimates: Sequence[Estimate], qualities: Sequence[float]) -> dict[str, float]:
    """By target: its quality, less what its cost and its time are worth among these."""
    money, time = WORTH[goal]
    money /= max(1, *(each.cost_nanos for each in estimates), 1)
    time /= max(1e-12, *(each.seconds for each in estimates), 1e-12)
    return {
        each.target: quality - money * each.cost_nanos - time * each.seconds
        for each, quality in zip(estimates, qualities, strict=True)
    }
