from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.routing.training.metrics import apgr, calibration_error, cpt, gains, interval

OUTCOMES = st.lists(
    st.tuples(st.floats(-1, 1), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=40,
)


def columns(given_: list[tuple[float, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    preference, strong, weak = (np.array(column) for column in zip(*given_, strict=True))
    assume(abs((strong - weak).sum()) > 1e-9)
    return preference, strong, weak


def quality(given_: list[tuple[float, float, float]], calls: float) -> float:
    """The mean score where the ``calls`` prompts of highest preference go to the strong model, the last one in part."""
    ranked = sorted(given_, key=lambda each: -each[0])
    total = 0.0
    for place, (_, strong, weak) in enumerate(ranked):
        part = min(max(calls - place, 0.0), 1.0)
        total += part * strong + (1 - part) * weak
    return total / len(ranked)


@given(OUTCOMES)
def test_apgr_is_the_mean_of_what_is_recovered_at_eleven_shares(given_: list[tuple[float, float, float]]) -> None:
    preference, strong, weak = columns(given_)
    low, high = weak.mean(), strong.mean()
    recovered = [(quality(given_, share / 10 * len(given_)) - low) / (high - low) for share in range(11)]
    expected = sum((first + second) / 2 for first, second in pairwise(recovered)) / 10
    assert apgr(gains(preference, strong, weak)) == pytest.approx(expected, abs=1e-9)


@given(OUTCOMES, st.sampled_from([0.5, 0.8, 1.0]))
def test_cpt_is_the_fewest_calls_that_recover_enough(given_: list[tuple[float, float, float]], share: float) -> None:
    preference, strong, weak = columns(given_)
    low, high = weak.mean(), strong.mean()
    enough = [
        calls for calls in range(len(given_) + 1) if (quality(given_, calls) - low) / (high - low) >= share - 1e-9
    ]
    found = cpt(gains(preference, strong, weak), share)
    assert found == pytest.approx(enough[0] / len(given_))


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60))
def test_calibration_error_is_the_weighted_distance_of_ten_bins(given_: list[tuple[float, float]]) -> None:
    bins: dict[int, list[tuple[float, float]]] = {}
    for rate, score in given_:
        bins.setdefault(min(int(rate * 10), 9), []).append((rate, score))
    expected = sum(
        abs(sum(rate for rate, _ in each) - sum(score for _, score in each)) / len(given_) for each in bins.values()
    )
    rates, scores = (np.array(column) for column in zip(*given_, strict=True))
    assert calibration_error(rates, scores) == pytest.approx(expected, abs=1e-9)


def test_a_perfect_order_needs_few_calls_and_a_random_one_half() -> None:
    weak = np.array([0.0] * 20 + [1.0] * 80)
    strong = np.ones(100)
    assert cpt(gains(strong - weak, strong, weak), 1.0) == pytest.approx(0.2)
    generator = np.random.default_rng(1)
    random = np.mean([apgr(gains(generator.random(100), strong, weak)) for _ in range(300)])
    assert random == pytest.approx(0.5, abs=0.01)


def test_models_that_are_equal_have_no_gain() -> None:
    same = np.ones(5)
    curve = gains(np.arange(5.0), same, same)
    assert math.isnan(apgr(curve))
    assert math.isnan(cpt(curve, 0.5))


def test_an_interval_holds_the_mean_of_most_samples() -> None:
    values = np.random.default_rng(2).normal(0.3, 1.0, 400)
    found = interval(len(values), lambda rows: float(values[rows].mean()))
    assert found.value == pytest.approx(values.mean())
    spread = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * spread, abs=0.35 * spread)
    assert found.high == pytest.approx(values.mean() + 1.96 * spread, abs=0.35 * spread)
