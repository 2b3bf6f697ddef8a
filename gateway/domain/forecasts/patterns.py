"""Whether a series has a trend, or a weekly pattern, beyond what noise would make.

Both tests go by ranks, so that single dear days don't decide them, and take the days for independent of each other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

Trend: TypeAlias = Literal["increasing", "decreasing", "stable"]

SIGNIFICANCE: Final = 0.01
"""The share of series of mere noise in which a trend, or a week, is seen."""
WEEK: Final = 7
WEEKS: Final = 4
"""A weekly pattern is looked for in so many weeks at least."""


def trend(values: Sequence[float]) -> Trend:
    """Where a series goes, by the Mann-Kendall test (two-sided, corrected for ties)."""
    n = len(values)
    score = sum((later > value) - (later < value) for at, value in enumerate(values) for later in values[at + 1 :])
    ties = sum(count * (count - 1) * (2 * count + 5) for count in Counter(values).values())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if variance <= 0 or abs(score) <= 1:
        return "stable"
    chance = math.erfc((abs(score) - 1) / math.sqrt(2 * variance))
    if chance >= SIGNIFICANCE:
        return "stable"
    return "increasing" if score > 0 else "decreasing"


def week_of(values: Sequence[float]) -> tuple[float, ...] | None:
    """What each day of the week is above the others, by position modulo 7, adding up to 0; None without a pattern.

    By the Kruskal-Wallis test (corrected for ties) of what days are above the mean of the week around them.
    """
    if len(values) < WEEKS * WEEK:
        return None
    half = WEEK // 2
    around = range(half, len(values) - half)
    above = [values[at] - math.fsum(values[at - half : at + half + 1]) / WEEK for at in around]
    groups = [above[day::WEEK] for day in range(WEEK)]
    if _chance(above, groups) >= SIGNIFICANCE:
        return None
    means = [math.fsum(group) / len(group) for group in groups]
    middle = math.fsum(means) / WEEK
    return tuple(means[(position - half) % WEEK] - middle for position in range(WEEK))


def _chance(values: Sequence[float], groups: Sequence[Sequence[float]]) -> float:
    """How likely groups are as different as these, or more so, by chance."""
    n = len(values)
    ranks = _ranks(values)
    ties = sum(count**3 - count for count in Counter(values).values())
    correction = 1 - ties / (n**3 - n)
    if correction <= 0:
        return 1.0
    spread = math.fsum(math.fsum(ranks[value] for value in group) ** 2 / len(group) for group in groups)
    x = max(0.0, (12 / (n * (n + 1)) * spread - 3 * (n + 1)) / correction)
    # Chi-squared with six degrees of freedom, one less than a week has days.
    return math.exp(-x / 2) * (1 + x / 2 + x * x / 8)


def _ranks(values: Sequence[float]) -> dict[float, float]:
    ranks: dict[float, float] = {}
    below = 0
    for value, count in sorted(Counter(values).items()):
        ranks[value] = below + (count + 1) / 2
        below += count
    return ranks
