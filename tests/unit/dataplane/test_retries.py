"""What upstreams ask for in headers, and the budget of retries."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.retries import RESERVE, RetryBudget, asked_pause


def asked(*headers: tuple[bytes, bytes], status: int = 429) -> float | None:
    return asked_pause(status, list(headers))


def http_date(seconds: float) -> bytes:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True).encode()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"3", 3.0),
        (b" 2.5 ", 2.5),
        (b"-1", None),
        (b"soon", None),
        (b"nan", None),
        (b"inf", None),
        (b"1e3", None),
        ("٣".encode(), None),
        (b"", None),
        (b"9" * 400, None),
        (b"Fri, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_in_seconds(value: bytes, seconds: float | None) -> None:
    assert asked((b"retry-after", value)) == seconds
    assert asked((b"retry-after", value), status=503) == seconds


def test_retry_after_as_a_date() -> None:
    found = asked((b"retry-after", http_date(20)))
    assert found is not None
    assert 17 <= found <= 20
    assert asked((b"retry-after", http_date(-20))) == 0.0


def test_a_date_counts_by_the_upstreams_own_clock() -> None:
    skewed = 86_400.0
    assert asked((b"date", http_date(skewed)), (b"retry-after", http_date(skewed + 7))) == 7.0
    odd = asked((b"date", b"yesterday"), (b"retry-after", http_date(20)))
    assert odd is not None
    assert 17 <= odd <= 20


def test_milliseconds_are_more_exact_and_count_first() -> None:
    assert asked((b"retry-after", b"1"), (b"retry-after-ms", b"250")) == 0.25


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1s", 1.0),
        (b"6m0s", 360.0),
        (b"120ms", 0.12),
        (b"1h2m3.5s", 3723.5),
        (b"12", 12.0),
        (b"1s!", None),
        (b"m", None),
        (b"later", None),
    ],
)
def test_the_forms_of_a_reset(text: bytes, seconds: float | None) -> None:
    assert asked((b"x-ratelimit-reset-requests", text)) == seconds
    assert asked((b"ratelimit-reset", text)) == seconds
    assert asked((b"x-ratelimit-reset-requests", text), status=503) is None, "only of a rate limit"


def test_a_reset_as_a_moment() -> None:
    moment = time.time() + 30
    rfc3339 = datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z").encode()
    for text in (b"%d" % moment, b"%d" % (moment * 1000), rfc3339):
        found = asked((b"anthropic-ratelimit-requests-reset", text))
        assert found is not None
        assert 25 <= found <= 31, text


def test_the_limit_that_is_used_up_counts() -> None:
    headers = [
        (b"x-ratelimit-remaining-requests", b"9"),
        (b"x-ratelimit-reset-requests", b"8h"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"2s"),
    ]
    assert asked(*headers) == 2.0
    assert asked(headers[1], headers[3]) == 8 * 3600
    assert asked() is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"retry-after", b"retry-after-ms", b"x-ratelimit-reset-tokens", b"date", b"ratelimit"]),
            st.binary(max_size=40) | st.text("0123456789smh.-:TZ, GMT", max_size=30).map(str.encode),
        ),
        max_size=5,
    )
)
def test_whatever_an_upstream_sends_gives_a_sound_number_or_none(headers: list[tuple[bytes, bytes]]) -> None:
    found = asked(*headers)
    assert found is None or 0 <= found < 1e16


def test_a_budget_is_a_share_of_the_calls_once_its_reserve_is_used_up() -> None:
    budget = RetryBudget(0.25)
    assert sum(budget.withdraw(0.0) for _ in range(1000)) == RESERVE
    assert budget.refused == 1000 - RESERVE
    for _ in range(40):
        budget.deposit()
    assert sum(budget.withdraw(0.0) for _ in range(100)) == 10
    assert sum(budget.withdraw(5.0) for _ in range(100)) == 5, "a second gives one, however few the calls"


def test_a_budget_holds_no_more_than_its_reserve() -> None:
    budget = RetryBudget(1.0)
    for _ in range(1000):
        budget.deposit()
    assert sum(budget.withdraw(1e6) for _ in range(1000)) == RESERVE
