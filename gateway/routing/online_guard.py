"""Whether what was learnt is ahead of always taking the same target, by what came of decisions.

Of each decision that feedback came for, the worth of a choice is told doubly robustly: what the model expects of it,
and where that was what answered, how far it was off, over the probability that it was (no more than ``CLIP`` times).
The differences to each fixed choice are summed, and fade by those that follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

CLIP: Final = 5.0
HORIZON: Final = 1_500.0
"""Decisions that count at most."""
LEAST: Final = 200.0
"""Decisions before anything is concluded."""
BEHIND: Final = 1.0
"""Standard errors between a difference and its upper bound, 84 % one-sided, which has to be below 0 before a fixed
choice begins: a difference just below 0 is mostly noise."""
CERTAIN: Final = 0.5
"""Standard errors between a difference and its lower bound, 69 % one-sided, which has to be above 0 before a fixed
choice ends again."""
COMMON: Final = 0.5
"""The share of decisions in which a target was to be had, for it to be a fixed choice."""
MOST: Final = 32


class Ahead(Struct):
    """By how much the learned choice was ahead of one target: weight, sum and sum of squares of the differences."""

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def add(self, difference: float) -> None:
        """Note a difference."""
        kept = 1.0 - 1.0 / HORIZON
        self.weight = self.weight * kept + 1.0
        self.total = self.total * kept + difference
        self.squares = self.squares * kept + difference * difference

    @property
    def mean(self) -> float:
        """The mean difference."""
        return self.total / self.weight if self.weight else 0.0

    @property
    def error(self) -> float:
        """The standard error of the mean difference."""
        if not self.weight:
            return math.inf
        return math.sqrt(max(self.squares / self.weight - self.mean**2, 0.0) / self.weight)


class Guard(Struct):
    """``seen`` is decisions, as ``weight`` in :class:`Ahead`; ``fixed`` the target to be taken instead, if any."""

    targets: dict[str, Ahead] = field(default_factory=dict)
    seen: float = 0.0
    fixed: str | None = None

    def add(self, learned: str, worth: Mapping[str, float], target: str, found: float, propensity: float) -> None:
        """Note a decision: what would be chosen by what is learnt, what is expected of each target, and what was
        ``found`` of the one that answered, which had the probability ``propensity`` of being chosen."""
        off = (found - worth[target]) * min(1.0 / max(propensity, 1e-9), CLIP)
        acting = worth[learned] + (off if learned == target else 0.0)
        self.seen = self.seen * (1.0 - 1.0 / HORIZON) + 1.0
        for name, expected in worth.items():
            ahead = self.targets.get(name)
            if ahead is None:
                if len(self.targets) >= MOST:
                    del self.targets[min(self.targets, key=lambda one: (self.targets[one].weight, one))]
                ahead = self.targets[name] = Ahead()
            ahead.add(acting - expected - (off if name == target else 0.0))
        self.fixed = self._settled()

    def forget(self) -> None:
        """What was found holds no more: a target has changed."""
        self.targets.clear()
        self.seen = 0.0
        self.fixed = None

    def _settled(self) -> str | None:
        if self.seen < LEAST:
            return self.fixed
        common = {name: ahead for name, ahead in self.targets.items() if ahead.weight >= COMMON * self.seen}
        # The best fixed choice is the one that what was learnt is ahead of by the least.
        best = min(common, key=lambda name: (common[name].mean, name), default=None)
        if best is None:
            return None
        ahead = common[best]
        if self.fixed is None:
            return best if ahead.mean + BEHIND * ahead.error < 0.0 else None
        return None if ahead.mean - CERTAIN * ahead.error > 0.0 else best
