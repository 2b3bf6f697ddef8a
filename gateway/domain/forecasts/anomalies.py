"""Days that cost what the days before them would not have led anyone to expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from gateway.domain.forecasts.series import Series

Severity: TypeAlias = Literal["low", "medium", "high"]

HISTORY: Final = 30
"""Days before a day that it is held against."""
LEAST: Final = 14
"""Of these, those that cost anything, without which none is held to be out of the ordinary."""
STEPS: Final[dict[Severity, float]] = {"high": 3.5, "medium": 3.0, "low": 2.5}
"""Standard deviations from which on a day is so severe."""
_NARROWEST: Final = 0.05  # of the mean: where days are all alike, not every cent is out of the ordinary


class Anomaly(Struct, frozen=True):
    """A day (UTC), what it cost and what was expected, in nano-dollars; ``deviation`` is percent of the latter."""

    day: date
    actual: int
    expected: int
    deviation: float
    severity: Severity
    zscore: float

    @property
    def description(self) -> str:
        """In words."""
        return "Cost spike detected" if self.zscore > 0 else "Cost drop detected"


def zscore(day: date, actual: int, history: Sequence[int], *, least: Severity = "medium") -> Anomaly | None:
    """A day held against those before it; None where it is not out of the ordinary, or where these are too few.

    ``least`` is the severity from which on it is told.
    """
    if sum(nanos > 0 for nanos in history) < LEAST:
        return None
    mean = math.fsum(history) / len(history)
    variance = math.fsum((nanos - mean) ** 2 for nanos in history) / (len(history) - 1)
    if mean <= 0:
        return None
    score = (actual - mean) / max(math.sqrt(variance), mean * _NARROWEST)
    severity = next((name for name, step in STEPS.items() if abs(score) >= step), None)
    if severity is None or abs(score) < STEPS[least]:
        return None
    return Anomaly(day, actual, round(mean), 100 * (actual - mean) / mean, severity, score)


def anomaly_on(series: Series, day: date) -> Anomaly | None:
    """The same of a day of a series."""
    actual = series.on(day)
    return None if actual is None else zscore(day, actual, series.before(day, HISTORY))
