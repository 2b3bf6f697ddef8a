"""Trends and weeks: seen where they are, and hardly ever in noise."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.forecasts.patterns import SIGNIFICANCE, trend, week_of

WORK = (10.0, 12.0, 11.0, 12.0, 9.0, 1.0, 0.0)
COSTS = st.lists(st.integers(0, 2**53).map(float), max_size=60)


def noise(seed: int, days: int) -> list[float]:
    """Costs without a pattern, some of them far larger than others."""
    chance = random.Random(seed)
    return [chance.lognormvariate(0, 0.7) for _ in range(days)]


def test_a_series_that_only_rises_or_falls_has_a_trend() -> None:
    rising = [float(day) for day in range(14)]
    assert (trend(rising), trend(rising[::-1]), trend([5.0] * 14)) == ("increasing", "decreasing", "stable")


def test_a_single_dear_day_is_no_trend() -> None:
    assert trend([1.0, 2.0, 1.5, 1.0, 2.0, 1.2, 1.9, 1.1, 1.0, 2.0, 1.5, 1.0, 1.4, 1_000.0]) == "stable"


def test_mann_and_kendalls_statistic_is_that_of_a_known_series() -> None:
    # S = 24 of at most 28 (two pairs fall): z = 23 / sqrt(65.33) = 2.846, of which chance makes 0.44 %.
    assert trend([1, 2, 3, 5, 4, 6, 8, 7]) == "increasing"
    # S = 20: z = 19 / sqrt(65.33) = 2.351, of which chance makes 1.9 %.
    assert trend([1, 3, 2, 5, 4, 7, 8, 6]) == "stable"


def test_a_week_is_seen_whichever_day_it_begins_with_and_beside_a_trend() -> None:
    for begin in range(7):
        week = [*WORK[begin:], *WORK[:begin]]
        found = week_of([week[day % 7] + 0.3 * day + day * day % 5 / 10 for day in range(42)])
        assert found is not None
        assert abs(sum(found)) < 1e-9
        mean = sum(week) / 7
        assert all(abs(seen - (value - mean)) < 1 for seen, value in zip(found, week, strict=True))


def test_three_weeks_are_too_few() -> None:
    assert week_of([*WORK, *WORK, *WORK]) is None
    assert week_of([*WORK] * 4) is not None


def test_noise_has_neither_but_for_the_share_that_is_allowed() -> None:
    series = [noise(seed, 56) for seed in range(400)]
    assert sum(trend(each) != "stable" for each in series) <= 3 * SIGNIFICANCE * len(series)
    assert sum(week_of(each) is not None for each in series) <= 3 * SIGNIFICANCE * len(series)


@given(COSTS)
def test_any_costs_have_a_trend_or_none(values: Sequence[float]) -> None:
    assert {trend(values), trend(values[::-1])} in ({"stable"}, {"increasing", "decreasing"})


@given(COSTS)
def test_a_week_adds_up_to_nothing(values: Sequence[float]) -> None:
    found = week_of(values)
    assert found is None or (len(found) == 7 and abs(sum(found)) <= 1e-6 * (1 + max(values)))


@given(st.integers(0, 10**15), st.integers(28, 90))
def test_days_that_are_all_alike_have_neither(nanos: int, days: int) -> None:
    values = [float(nanos)] * days
    assert (trend(values), week_of(values)) == ("stable", None)
