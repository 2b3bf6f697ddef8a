from __future__ import annotations

import pytest

from benchmarks.measures.latency import added


def test_what_is_added_is_the_difference_within_each_round() -> None:
    direct = [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    blocks = [[1.5, 1.5, 1.5], [2.2, 2.2, 2.2], [9.0, 9.0, 9.0]]
    delay = added(blocks, direct)
    assert (delay.p50.median, delay.p50.low, delay.p50.high) == pytest.approx((0.5, 0.2, 8.0))
    assert delay.p99.median == pytest.approx(0.5)
