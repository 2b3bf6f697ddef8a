"""Windows: their bounds, and what slides out of them."""

from __future__ import annotations

import calendar
from unittest.mock import patch

import limits
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

from gateway.contract.windows import is_window, slid, window_bounds


def at(*fields: int) -> float:
    """Unix seconds of a UTC date and time."""
    return float(calendar.timegm((*fields, *(0,) * (6 - len(fields)))))


@pytest.mark.parametrize(
    ("window", "now", "start", "end"),
    [
        ("10s", at(2024, 2, 29, 12, 0, 19), at(2024, 2, 29, 12, 0, 10), at(2024, 2, 29, 12, 0, 20)),
        ("second", at(2024, 1, 1), at(2024, 1, 1), at(2024, 1, 1, 0, 0, 1)),
        ("minute", at(2023, 12, 31, 23, 59, 59), at(2023, 12, 31, 23, 59), at(2024, 1, 1)),
        ("5m", at(2024, 1, 1, 0, 7), at(2024, 1, 1, 0, 5), at(2024, 1, 1, 0, 10)),
        ("hour", at(2024, 3, 10, 2, 30), at(2024, 3, 10, 2), at(2024, 3, 10, 3)),
        ("day", at(2024, 2, 29, 23), at(2024, 2, 29), at(2024, 3, 1)),
        ("week", at(2024, 2, 29), at(2024, 2, 26), at(2024, 3, 4)),
        ("week", at(2024, 2, 26), at(2024, 2, 26), at(2024, 3, 4)),
        ("week", at(2024, 3, 3, 23, 59, 59), at(2024, 2, 26), at(2024, 3, 4)),
        ("week", at(1970, 1, 6), at(1970, 1, 5), at(1970, 1, 12)),
        ("month", at(2024, 2, 29, 23, 59, 59), at(2024, 2, 1), at(2024, 3, 1)),
        ("month", at(2023, 2, 28), at(2023, 2, 1), at(2023, 3, 1)),
        ("month", at(2024, 12, 31, 23, 59, 59), at(2024, 12, 1), at(2025, 1, 1)),
        ("month", at(2024, 12, 1), at(2024, 12, 1), at(2025, 1, 1)),
        ("3month", at(2024, 5, 31), at(2024, 4, 1), at(2024, 7, 1)),
        ("6month", at(2024, 12, 31), at(2024, 7, 1), at(2025, 1, 1)),
        ("year", at(2024, 2, 29), at(2024, 1, 1), at(2025, 1, 1)),
        ("total", at(2024, 2, 29), 0.0, float("inf")),
    ],
)
def test_bounds(window: str, now: float, start: float, end: float) -> None:
    assert window_bounds(window, now) == (start, end)


@given(
    st.sampled_from(["10s", "minute", "90m", "hour", "day", "week", "month", "2month", "5month", "year"]),
    st.floats(0, at(2100, 1, 1)),
)
def test_a_window_holds_its_moment_and_touches_the_next(window: str, now: float) -> None:
    start, end = window_bounds(window, now)
    assert start <= now < end
    assert window_bounds(window, end)[0] == end
    assert window_bounds(window, start) == (start, end)


@pytest.mark.parametrize("window", ["999999month", "999999d", "999999s"])
def test_the_longest_windows_have_bounds(window: str) -> None:
    start, end = window_bounds(window, at(2024, 2, 29))
    assert start <= at(2024, 2, 29) < end


@pytest.mark.parametrize("window", ["", "0s", "01s", "1234567s", "s10", "fortnight", "2week", "-1s", "1.5h", "٣s"])
def test_what_is_no_window_is_refused(window: str) -> None:
    assert not is_window(window)
    with pytest.raises(ValueError, match="not a window"):
        window_bounds(window, 0.0)


@given(st.integers(0, 2**53), st.integers(0, 2**53), st.floats(0, 1, exclude_max=True))
def test_the_share_of_the_window_before_fades(used: int, previous: int, share: float) -> None:
    bounds = (600.0, 660.0)
    at_start, later = slid(used, previous, bounds, 600.0), slid(used, previous, bounds, 600.0 + 60 * share)
    assert at_start == used + previous
    assert used <= later <= at_start
    assert slid(used, previous, bounds, 660.0) == used


# A library of rate limits, as another opinion. It knows no calendar: its months have 30 days, and a fixed window of its
# begins with the first hit, so that one is made where ours begins.


class Clock:
    """In the place of the module ``time``."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


SPANS = [("10s", "10 second"), ("minute", "1 minute"), ("5m", "5 minute"), ("hour", "1 hour"), ("day", "1 day")]


@pytest.mark.parametrize(("window", "spoken"), SPANS)
@given(
    now=st.integers(1_000_000_000, 2_000_000_000),
    hits=st.lists(st.floats(0, 0.999), max_size=8),
    limit=st.integers(1, 6),
)
@settings(max_examples=15)
def test_a_fixed_window_agrees_with_another_library(
    window: str, spoken: str, now: int, hits: list[float], limit: int
) -> None:
    item = limits.parse(f"{limit} per {spoken}")
    start, end = window_bounds(window, now)
    assert end - start == item.get_expiry()
    clock = Clock(start)
    with patch("limits.storage.memory.time", clock):
        theirs = FixedWindowRateLimiter(MemoryStorage())
        ours = 1
        assert theirs.hit(item, "k")
        for share in sorted(hits):
            clock.now = start + share * (end - start)
            assert window_bounds(window, clock.now)[0] == pytest.approx(start)
            assert theirs.hit(item, "k") == (ours < limit)
            ours += 1
        assert theirs.get_window_stats(item, "k").reset_time == end
        clock.now = end
        assert theirs.get_window_stats(item, "k").remaining == limit
        assert window_bounds(window, clock.now)[0] == end


@pytest.mark.parametrize(("window", "spoken"), SPANS)
@given(
    now=st.integers(1_000_000_000, 2_000_000_000),
    previous=st.integers(0, 50),
    used=st.integers(0, 50),
    share=st.floats(0, 0.999),
)
@settings(max_examples=15)
def test_a_sliding_window_agrees_with_another_library(
    window: str, spoken: str, now: int, previous: int, used: int, share: float
) -> None:
    item = limits.parse(f"1000 per {spoken}")
    start, end = window_bounds(window, now)
    clock = Clock(start - 1)
    with patch("limits.storage.memory.time", clock):
        theirs = SlidingWindowCounterRateLimiter(MemoryStorage())
        for count, moment in ((previous, start - 1), (used, start)):
            clock.now = moment
            assert count == 0 or theirs.hit(item, "k", cost=count)
        clock.now = start + share * (end - start)
        left = theirs.get_window_stats(item, "k").remaining
    # Theirs rounds what slid out down, ours up: never more than is allowed.
    assert 0 <= slid(used, previous, (start, end), clock.now) - (1000 - left) <= 1
