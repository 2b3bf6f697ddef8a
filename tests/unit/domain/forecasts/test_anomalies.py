"""Days out of the ordinary: those that are, and no others."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.forecasts.anomalies import STEPS, anomaly_on, zscore
from gateway.domain.forecasts.series import Series

DAY = date(2026, 1, 31)
EVEN = [90, 110] * 15  # mean 100, standard deviation 10.17


def test_a_day_is_told_by_its_distance_from_the_days_before() -> None:
    found = zscore(DAY, 150, EVEN)
    assert found is not None
    assert (found.actual, found.expected, found.deviation, found.severity) == (150, 100, 50.0, "high")
    assert found.zscore == pytest.approx(50 / (10 * math.sqrt(30 / 29)))
    assert found.description == "Cost spike detected"
    drop = zscore(DAY, 0, EVEN)
    assert drop is not None
    assert (drop.description, drop.deviation, drop.severity) == ("Cost drop detected", -100.0, "high")


@pytest.mark.parametrize(("actual", "severity"), [(125, None), (126, "low"), (131, "medium"), (136, "high")])
def test_severities(actual: int, severity: str | None) -> None:
    found = zscore(DAY, actual, EVEN, least="low")
    assert (found and found.severity) == severity
    if severity == "low":
        assert zscore(DAY, actual, EVEN) is None


def test_days_that_are_all_alike_leave_a_little_room() -> None:
    assert zscore(DAY, 114, [100] * 30) is None
    found = zscore(DAY, 115, [100] * 30)
    assert found is not None
    assert found.zscore == pytest.approx(3.0)


def test_too_little_is_known_of_who_hardly_used_anything() -> None:
    assert zscore(DAY, 10_000, [100] * 13) is None
    assert zscore(DAY, 10_000, [100] * 13 + [0] * 17) is None
    assert zscore(DAY, 10_000, [100] * 14) is not None


def test_weekends_are_not_out_of_the_ordinary() -> None:
    days = [(100, 110, 105, 95, 100, 0, 0)[day % 7] for day in range(60)]
    series = Series(DAY, tuple(days))
    assert not [found for day in range(60) if (found := anomaly_on(series, DAY + timedelta(days=day)))]


def test_a_day_is_held_against_the_thirty_before_it_alone() -> None:
    series = Series(DAY, (*([10_000] * 5), *EVEN, 150, 9_999))
    found = anomaly_on(series, DAY + timedelta(days=35))
    assert found == zscore(DAY + timedelta(days=35), 150, EVEN)
    assert anomaly_on(series, DAY + timedelta(days=37)) is None
    assert anomaly_on(series, DAY - timedelta(days=1)) is None


@given(st.integers(0, 2**53), st.lists(st.integers(0, 2**53), max_size=30))
def test_any_day_is_one_or_none(actual: int, history: list[int]) -> None:
    found = zscore(DAY, actual, history)
    if found is not None:
        assert math.isfinite(found.zscore)
        assert abs(found.zscore) >= STEPS[found.severity] >= STEPS["medium"]
        assert (found.zscore > 0) == (actual > found.expected) or abs(actual - found.expected) <= 1
