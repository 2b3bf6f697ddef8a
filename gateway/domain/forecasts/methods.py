"""Three ways to go on with a series. Each gives, by step, what is expected and its standard error.

===========================  =======================================================================================
``linear``                   the line of least squares
``moving_average``           the mean of the last seven values; its errors are taken not to grow with the steps
``exponential_smoothing``    the value smoothed so that single steps would have been told best, with a smoothed slope
                             (Holt) where there is a trend
===========================  =======================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.domain.forecasts.patterns import WEEK, trend

Method: TypeAlias = Literal["linear", "moving_average", "exponential_smoothing"]

LEAST: Final = 3
"""Values that a method needs."""
_LEVELS: Final = tuple(step / 20 for step in range(1, 20))
_SLOPES: Final = (0.0, 0.05, 0.1, 0.2, 0.4)


class Step(NamedTuple):
    """What is expected, and its standard error."""

    value: float
    error: float


def linear(values: Sequence[float], steps: int) -> list[Step]:
    """The line of least squares, and the errors of a prediction by it."""
    n = len(values)
    intercept, slope = _line(values)
    rest = math.fsum((value - intercept - slope * at) ** 2 for at, value in enumerate(values))
    deviation = math.sqrt(rest / (n - 2))
    middle, spread = (n - 1) / 2, n * (n * n - 1) / 12
    return [
        Step(intercept + slope * at, deviation * math.sqrt(1 + 1 / n + (at - middle) ** 2 / spread))
        for at in range(n, n + steps)
    ]


def moving_average(values: Sequence[float], steps: int) -> list[Step]:
    """The mean of the last week; the error is that of the days before, told in the same way."""
    width = min(WEEK, len(values) - 1)
    errors = [values[at] - _mean(values[at - width : at]) for at in range(width, len(values))]
    return [Step(_mean(values[-width:]), _deviation(errors, 0))] * steps


def exponential_smoothing(values: Sequence[float], steps: int) -> list[Step]:
    """Simple smoothing; Holt's where the values have a trend. Errors as the model's own theory has them."""
    smoothed: Iterable[_Smoothed]
    if trend(values) == "stable":
        smoothed = (_smooth(values, level, None) for level in _LEVELS)
    else:
        smoothed = (_smooth(values, level, slope) for level in _LEVELS for slope in _SLOPES)
    best = min(smoothed, key=lambda each: math.fsum(error * error for error in each.errors))
    deviation = _deviation(best.errors, 1 if best.by is None else 2)
    found: list[Step] = []
    squares = 1.0
    for step in range(1, steps + 1):
        found.append(Step(best.level + step * best.slope, deviation * math.sqrt(squares)))
        squares += (best.weight * (1 + step * (best.by or 0.0))) ** 2
    return found


METHODS: Final[dict[Method, Callable[[Sequence[float], int], list[Step]]]] = {
    "linear": linear,
    "moving_average": moving_average,
    "exponential_smoothing": exponential_smoothing,
}


class _Smoothed(NamedTuple):
    """Where smoothing by ``weight``, and of the slope by ``by``, ended, and how far single steps were off."""

    weight: float
    by: float | None
    level: float
    slope: float
    errors: list[float]


def _smooth(values: Sequence[float], weight: float, by: float | None) -> _Smoothed:
    begin = max(1, min(WEEK, len(values) // 2))  # what it begins with is known of these, and they are no test of it
    level, slope = _mean(values[:begin]), 0.0
    if by is not None:
        intercept, slope = _line(values[: max(2, begin)])
        level = intercept + slope * (begin - 1)
    errors = []
    for value in values[begin:]:
        expected = level + slope
        error = value - expected
        errors.append(error)
        level = expected + weight * error
        slope += weight * (by or 0.0) * error
    return _Smoothed(weight, by, level, slope, errors)


def _line(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    middle = (n - 1) / 2
    slope = math.fsum((at - middle) * value for at, value in enumerate(values)) / (n * (n * n - 1) / 12)
    return _mean(values) - slope * middle, slope


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(errors: Sequence[float], parameters: int) -> float:
    return math.sqrt(math.fsum(error * error for error in errors) / max(1, len(errors) - parameters))
