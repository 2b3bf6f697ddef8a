"""A forecast of daily costs: predictions with their intervals, what was seen in the past, and how good it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from gateway.domain.forecasts.methods import METHODS, Method, Step
from gateway.domain.forecasts.patterns import WEEK, Trend, trend, week_of
from gateway.domain.forecasts.series import Series

Confidence: TypeAlias = Literal["0.80", "0.90", "0.95"]

HISTORY: Final = 90
"""Days that are looked at."""
LEAST: Final = 14
"""Days, from the first that cost anything, without which nothing is foretold."""
HORIZON: Final = 30
"""Days that are foretold, unless another number is asked for."""
_HELD_OUT: Final = 14  # days
_QUANTILES: Final[dict[Confidence, float]] = {"0.80": 1.2815515655446004, "0.90": 1.6448536269514722,
                                              "0.95": 1.959963984540054}  # fmt: skip


class Prediction(Struct, frozen=True):
    """What a day is expected to cost, and between what, in nano-dollars."""

    day: date
    nanos: int
    lower: int
    upper: int


class Accuracy(Struct, frozen=True):
    """How far the last days were from what would have been foretold of them before: percent, and nano-dollars.

    ``mape`` leaves days out that cost nothing; it is None where none cost anything.
    """

    mape: float | None
    rmse: int
    mae: int


class Forecast(Struct, frozen=True):
    """``first`` and ``last`` are the days that it is made of."""

    method: Method
    confidence: Confidence
    first: date
    last: date
    predictions: tuple[Prediction, ...]
    trend: Trend
    seasonal: bool
    accuracy: Accuracy

    @property
    def total(self) -> int:
        """All predictions together, in nano-dollars."""
        return sum(prediction.nanos for prediction in self.predictions)


def forecast(
    series: Series,
    method: Method = "exponential_smoothing",
    *,
    horizon: int = HORIZON,
    confidence: Confidence = "0.95",
    skipped: int = 1,
) -> Forecast | None:
    """Foretell ``horizon`` days, from ``skipped`` days after the end of a series: the present day is not foretold.

    None for a series of less than :data:`LEAST` days.
    """
    values = [float(nanos) for nanos in series.nanos]
    if len(values) < LEAST:
        return None
    rest, week = _without_week(values)
    quantile = _quantile(confidence, len(values) - (2 if week is None else 2 + WEEK - 1))
    steps = _steps(rest, week, method, skipped + horizon)[skipped:]
    first = series.end + timedelta(days=skipped)
    return Forecast(
        method=method,
        confidence=confidence,
        first=series.first,
        last=series.end - timedelta(days=1),
        predictions=tuple(_prediction(first + timedelta(days=at), step, quantile) for at, step in enumerate(steps)),
        trend=trend(rest),
        seasonal=week is not None,
        accuracy=_accuracy(values, method),
    )


def _steps(rest: Sequence[float], week: tuple[float, ...] | None, method: Method, steps: int) -> list[Step]:
    found = METHODS[method](rest, steps)
    if week is None:
        return found
    # The week was made of the same days: they lie closer to it than others will, and it is itself not quite known.
    wider = math.sqrt((len(rest) + WEEK) / (len(rest) - WEEK + 1))
    return [Step(step.value + week[at % WEEK], step.error * wider) for at, step in enumerate(found, len(rest))]


def _without_week(values: Sequence[float]) -> tuple[Sequence[float], tuple[float, ...] | None]:
    week = week_of(values)
    return (values if week is None else [value - week[at % WEEK] for at, value in enumerate(values)]), week


def _accuracy(values: Sequence[float], method: Method) -> Accuracy:
    """Of the last two weeks, or the last quarter of a shorter series, foretold by the days before them."""
    held_out = min(_HELD_OUT, len(values) // 4)
    before, after = values[:-held_out], values[-held_out:]
    expected = [max(0.0, step.value) for step in _steps(*_without_week(before), method, held_out)]
    errors = [value - told for value, told in zip(after, expected, strict=True)]
    shares = [abs(error / value) for error, value in zip(errors, after, strict=True) if value]
    return Accuracy(
        mape=100 * math.fsum(shares) / len(shares) if shares else None,
        rmse=round(math.sqrt(math.fsum(error * error for error in errors) / held_out)),
        mae=round(math.fsum(map(abs, errors)) / held_out),
    )


def _prediction(day: date, step: Step, quantile: float) -> Prediction:
    """No day costs less than nothing."""
    half = quantile * step.error
    value, lower, upper = (max(0, round(each)) for each in (step.value, step.value - half, step.value + half))
    return Prediction(day, value, lower, upper)


def _quantile(confidence: Confidence, freedom: int) -> float:
    """Of Student's t, two-sided, by the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5)."""
    x = _QUANTILES[confidence]
    first = (x**3 + x) / 4
    second = (5 * x**5 + 16 * x**3 + 3 * x) / 96
    third = (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384
    return x + first / freedom + second / freedom**2 + third / freedom**3
