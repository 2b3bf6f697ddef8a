"""Forecasts: known series go on as they must, what is promised is kept as often as promised, and no input breaks it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.forecasts.forecast import HORIZON, LEAST, Confidence, Forecast, _quantile, forecast
from gateway.domain.forecasts.methods import METHODS, Method
from gateway.domain.forecasts.series import Series

FIRST = date(2026, 1, 1)
EACH = pytest.mark.parametrize("method", METHODS)
DOLLAR = 1_000_000_000


def of(
    nanos: list[int], method: Method = "exponential_smoothing", *, horizon: int = HORIZON, skipped: int = 1
) -> Forecast:
    found = forecast(Series(FIRST, tuple(nanos)), method, horizon=horizon, skipped=skipped)
    assert found is not None
    return found


@EACH
def test_what_never_changes_stays_and_is_certain(method: Method) -> None:
    found = of([3 * DOLLAR] * 40, method)
    assert {(each.nanos, each.lower, each.upper) for each in found.predictions} == {(3 * DOLLAR,) * 3}
    assert (found.trend, found.seasonal) == ("stable", False)
    assert (found.accuracy.mape, found.accuracy.rmse, found.accuracy.mae) == (0.0, 0, 0)
    assert found.total == 90 * DOLLAR


def test_days_follow_one_another_behind_the_present_one() -> None:
    found = of([DOLLAR] * 20, horizon=5)
    assert (found.first, found.last) == (FIRST, FIRST + timedelta(days=19))
    assert [each.day for each in found.predictions] == [FIRST + timedelta(days=day) for day in range(21, 26)]
    at_once = of([DOLLAR] * 20, horizon=2, skipped=0)
    assert [each.day for each in at_once.predictions] == [FIRST + timedelta(days=day) for day in (20, 21)]


@pytest.mark.parametrize("method", ["linear", "exponential_smoothing"])
def test_a_line_goes_on(method: Method) -> None:
    found = of([(10 + day) * DOLLAR for day in range(30)], method)
    assert found.trend == "increasing"
    for day, each in enumerate(found.predictions, 31):
        assert each.nanos == pytest.approx((10 + day) * DOLLAR, abs=10)


def test_a_moving_average_is_the_mean_of_the_last_week() -> None:
    assert of([DOLLAR, *([0] * 12), *range(1, 8)], "moving_average").predictions[0].nanos == 4


@EACH
def test_a_week_goes_on(method: Method) -> None:
    week = [10, 12, 11, 12, 9, 1, 0]
    found = of([week[day % 7] * DOLLAR for day in range(56)], method)
    assert found.seasonal
    assert [each.nanos for each in found.predictions[:14]] == pytest.approx(
        [week[day % 7] * DOLLAR for day in range(57, 71)], abs=DOLLAR
    )


def test_errors_are_those_of_days_that_were_held_out() -> None:
    # The last five of twenty days cost two dollars instead of one.
    found = of([DOLLAR] * 15 + [2 * DOLLAR] * 5, "moving_average")
    assert (found.accuracy.mape, found.accuracy.rmse, found.accuracy.mae) == (50.0, DOLLAR, DOLLAR)
    assert of([DOLLAR] * 30 + [0] * 14).accuracy.mape is None


def test_too_few_days_are_told_nothing_of() -> None:
    assert forecast(Series(FIRST, (DOLLAR,) * (LEAST - 1))) is None
    assert forecast(Series(FIRST, ())) is None


@pytest.mark.parametrize("confidence", get_args(Confidence))
@pytest.mark.parametrize(
    ("method", "cost"),
    [
        ("linear", lambda day: 100 + day),
        ("moving_average", lambda day: 100),
        ("exponential_smoothing", lambda day: 100 + [20, 18, 16, 15, 10, -39, -40][day % 7]),
    ],
)
def test_intervals_hold_as_many_days_as_they_promise(
    method: Method, cost: Callable[[int], int], confidence: Confidence
) -> None:
    chance = random.Random(7)
    held: list[bool] = []
    for _ in range(40):
        days = [round((cost(day) + chance.gauss(0, 8)) * DOLLAR) for day in range(91)]
        found = forecast(Series(FIRST, tuple(days[:60])), method, confidence=confidence)
        assert found is not None
        held += [each.lower <= days[at] <= each.upper for at, each in enumerate(found.predictions, 61)]
    assert sum(held) / len(held) == pytest.approx(float(confidence), abs=0.06)


def test_quantiles_are_those_of_tables() -> None:
    assert _quantile("0.95", 10) == pytest.approx(2.228, abs=0.002)
    assert _quantile("0.90", 12) == pytest.approx(1.782, abs=0.002)
    assert _quantile("0.80", 60) == pytest.approx(1.296, abs=0.001)


@EACH
@given(st.lists(st.integers(0, 2**53), min_size=LEAST, max_size=90), st.integers(1, 90))
def test_any_days_are_told_within_their_intervals(method: Method, days: list[int], horizon: int) -> None:
    found = of(days, method, horizon=horizon)
    assert len(found.predictions) == horizon
    assert all(0 <= each.lower <= each.nanos <= each.upper for each in found.predictions)
    accuracy = found.accuracy
    assert 0 <= accuracy.mae <= accuracy.rmse + 1 + accuracy.mae * 1e-9
    assert accuracy.mape is None or math.isfinite(accuracy.mape)
