"""What batches leave of limits to live requests."""

from __future__ import annotations

import pytest

from gateway.contract.policy import LimitPolicy, Metric
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.batching.yielding import is_tight

NOW = 1_800_000_000.0


def counter(metric: Metric, window: str | None, limit: int, used: int, *, leased: bool = False) -> Counter:
    """A counter of which so much is used."""
    made = Counter(LimitPolicy("key", "k", metric, limit, window), leased=leased)
    if window is not None:
        made.roll(NOW)
    made.count.used = used
    return made


@pytest.mark.parametrize("metric", ["requests", "tokens", "cost"])
@pytest.mark.parametrize("window", ["10s", "minute"])
def test_a_quarter_of_a_short_window_is_left(metric: Metric, window: str) -> None:
    assert not is_tight(counter(metric, window, 100, 74), NOW)
    assert is_tight(counter(metric, window, 100, 75), NOW)
    assert not is_tight(counter(metric, window, 100, 75), NOW + 61)  # the window is over


def test_a_quarter_of_what_may_be_under_way_is_left() -> None:
    tight = counter("concurrency", None, 4, 0)
    tight.count.reserved = 2
    assert not is_tight(tight, NOW)
    tight.count.reserved = 3
    assert is_tight(tight, NOW)


def test_the_smallest_limit_lets_one_go() -> None:
    assert not is_tight(counter("concurrency", None, 1, 0), NOW)
    assert not is_tight(counter("requests", "minute", 1, 0), NOW)


@pytest.mark.parametrize("window", ["hour", "day", "month", "total"])
def test_quotas_may_be_used_up(window: str) -> None:
    assert not is_tight(counter("requests", window, 100, 99), NOW)


def test_of_a_shared_limit_nothing_is_known_before_some_is_leased() -> None:
    shared = counter("requests", "minute", 100, 1, leased=True)
    assert not is_tight(shared, NOW)
    shared.count.limit, shared.count.free = 10, 80
    assert not is_tight(shared, NOW)
    shared.count.limit, shared.count.free = 10, 0
    assert is_tight(shared, NOW)
