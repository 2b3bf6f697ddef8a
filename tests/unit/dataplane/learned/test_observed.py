"""What is seen of a target's answers moves what is expected of it, and no single answer moves it far."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.learned.observed import Observed
from gateway.routing.candidates import FIRST_TOKEN, PER_TOKEN


def test_streams_tell_both_parts_of_the_time() -> None:
    seen = Observed()
    for _ in range(200):
        seen.answered(0.1 + 99 * 0.004, 100, 0.1)
    assert abs(seen.first_token - 0.1) < 0.01
    assert abs(seen.per_token - 0.004) < 0.0004
    assert seen.count == seen.version == 200


def test_whole_answers_tell_what_all_of_it_takes() -> None:
    seen = Observed()
    for _ in range(300):
        seen.answered(0.5, 50, None)
    assert abs(seen.first_token + 50 * seen.per_token - 0.5) < 0.02


def test_the_spread_is_what_95_of_100_stay_below() -> None:
    draw = random.Random(7)
    seen = Observed()
    over = 0
    for number in range(6_000):
        ratio = draw.lognormvariate(0.0, 0.5)
        expected = seen.first_token + seen.per_token * 100
        over += number >= 1_000 and ratio * 1.0 > seen.spread * expected
        seen.answered(ratio * 1.0, 100, None)
    assert 0.02 < over / 5_000 < 0.09


def test_cached_shares_are_followed() -> None:
    seen = Observed()
    for _ in range(200):
        seen.read(1_000, 400)
        seen.answered(1.0, 10, None)
    assert abs(seen.cached - 0.4) < 0.02
    seen.read(0, 0)
    assert abs(seen.cached - 0.4) < 0.02


@given(st.floats(0, 1e6), st.integers(0, 10**6), st.none() | st.floats(0, 1e6))
def test_one_answer_alone_stays_within_bounds(total: float, tokens: int, first: float | None) -> None:
    seen = Observed()
    seen.answered(total, tokens, first)
    assert 0 < seen.first_token <= 8 * FIRST_TOKEN
    assert 0 <= seen.per_token <= 8 * PER_TOKEN
    assert 1.0 < seen.spread <= 20.0
