"""Another target is taken as often as is said, and the probabilities told are those that hold."""

from __future__ import annotations

import math
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.learned.exploring import drawn, explore, hopeful

PLACES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.4), st.floats(0, 2)), min_size=1, max_size=8)
"""Quality, cost and doubt."""
QUALITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(QUALITIES, st.data(), st.floats(0, 0.5), st.floats(0, 1), st.text(max_size=20))
def test_probabilities_add_up_and_no_other_target_is_taken(
    qualities: list[float], data: st.DataObject, share: float, margin: float, request_id: str
) -> None:
    best = data.draw(st.integers(0, len(qualities) - 1))
    place, propensities = explore(qualities, best, share, margin, request_id)
    assert math.isclose(sum(propensities), 1.0)
    assert len(propensities) == len(qualities)
    assert propensities[place] > 0.0
    for quality, chance in zip(qualities, propensities, strict=True):
        assert chance >= 0.0
        assert chance == 0.0 or quality >= qualities[best] - margin
    assert propensities[best] == max(propensities)
    assert explore(qualities, best, share, margin, request_id) == (place, propensities), "the same draw for the same id"


def test_what_is_taken_is_taken_as_often_as_is_told() -> None:
    qualities = [0.8, 0.79, 0.5, 0.78]
    counts = [0] * 4
    many = 20_000
    for number in range(many):
        place, propensities = explore(qualities, 0, 0.3, 0.05, f"req_{number}")
        counts[place] += 1
    assert propensities == pytest.approx([0.8, 0.1, 0.0, 0.1])
    for count, chance in zip(counts, propensities, strict=True):
        spread = math.sqrt(many * chance * (1 - chance))
        assert abs(count - many * chance) <= 5 * spread  # the ids are the same in every run


def test_nothing_is_explored_where_that_is_off_or_there_is_no_other() -> None:
    assert explore([0.5, 0.5], 1, 0.0, 1.0, "req_1") == (1, [0.0, 1.0])
    assert explore([0.9, 0.1], 0, 0.5, 0.1, "req_1") == (0, [1.0, 0.0])


@given(PLACES, st.floats(0, 1))
def test_what_most_can_be_hoped_of_is_never_far_behind(places: list[tuple[float, float, float]], margin: float) -> None:
    ranked = sorted(places, key=lambda each: each[1] - each[0])
    qualities, doubts = [each[0] for each in ranked], [each[2] for each in ranked]
    utilities = [quality - cost for quality, cost, _ in ranked]
    found = hopeful(qualities, utilities, doubts, margin)
    assert utilities[found] >= utilities[0] - margin
    assert doubts[found] > 0.0 or utilities[found] == pytest.approx(utilities[0], abs=1e-9)
    certain = hopeful(qualities, utilities, [0.0] * len(ranked), margin)
    assert utilities[certain] == pytest.approx(utilities[0], abs=1e-9)


def test_a_target_in_doubt_goes_before_one_that_is_known_and_hardly_better() -> None:
    assert hopeful([0.70, 0.69], [0.70, 0.69], [0.05, 0.05], 0.05) == 0
    assert hopeful([0.70, 0.69], [0.70, 0.69], [0.05, 0.4], 0.05) == 1
    assert hopeful([0.70, 0.69], [0.70, 0.69], [0.05, 0.4], 0.005) == 0, "it is expected to be worse by more"
    assert hopeful([0.70, 0.62], [0.70, 0.62], [0.05, 0.4], 0.1) == 0, "so much can't be hoped"
    assert hopeful([1.0, 0.0], [1.0, 0.0], [9.0, 9.0], 1.0) == 0


def test_the_draw_can_be_checked_by_anyone() -> None:
    number = int.from_bytes(blake2b(b"req_7", digest_size=8).digest(), "big")
    assert drawn("req_7") == (number >> 11) / 2**53
    assert 0.0 <= drawn("") < 1.0
