"""The rate-limit headers: what each is, in which unit, and when it is left out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.contract.envelopes.rates import rate_headers

MARCH = datetime(2024, 3, 1, tzinfo=UTC).timestamp()


def test_every_header_of_every_reference() -> None:
    assert rate_headers(1000, 999, 1_700_000_000.2, "hour") == [
        (b"x-ratelimit-limit", b"1000"),
        (b"x-ratelimit-remaining", b"999"),
        (b"x-ratelimit-reset", b"1700000001"),
        (b"x-ratelimit-period", b"hour"),
        (b"x-ratelimit-window", b"3600"),
    ]


def test_a_refusal_says_when_to_come_back() -> None:
    headers = dict(rate_headers(10, -3, MARCH, "month", retry_after=0.2))
    assert headers[b"retry-after"] == headers[b"x-ratelimit-retry-after"] == b"1"
    assert headers[b"x-ratelimit-remaining"] == b"0"


@pytest.mark.parametrize(
    ("window", "resets_at", "seconds"),
    [
        ("10s", 1_700_000_000.0, b"10"),
        ("minute", 1_700_000_000.0, b"60"),
        ("day", MARCH, b"86400"),
        ("week", MARCH, b"604800"),
        ("month", MARCH, b"2505600"),  # February of a leap year
        ("year", datetime(2025, 1, 1, tzinfo=UTC).timestamp(), b"31622400"),
    ],
)
def test_the_window_is_as_long_as_the_calendar_has_it(window: str, resets_at: float, seconds: bytes) -> None:
    assert dict(rate_headers(1, 1, resets_at, window))[b"x-ratelimit-window"] == seconds


def test_what_a_limit_has_not_is_left_out() -> None:
    assert [name for name, _ in rate_headers(5, 4, None, None)] == [b"x-ratelimit-limit", b"x-ratelimit-remaining"]
    total = dict(rate_headers(5, 4, float("inf"), "total"))
    assert total[b"x-ratelimit-period"] == b"total"
    assert not {b"x-ratelimit-reset", b"x-ratelimit-window"} & set(total)


def test_money_is_dollars() -> None:
    headers = dict(rate_headers(10_000_000_000, 1, MARCH, "month", metric="cost"))
    assert headers[b"x-ratelimit-limit"] == b"10"
    assert headers[b"x-ratelimit-remaining"] == b"0.000000001"
