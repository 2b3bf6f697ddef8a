"""Checks of what callers send."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import fields
from gateway.kernel.errors import GatewayError, Kind

NOW = datetime(2026, 3, 14, tzinfo=UTC)


@given(st.text())
def test_a_text_is_fit_for_a_database_or_refused(value: str) -> None:
    with contextlib.suppress(GatewayError):
        kept = fields.text(value, "name")
        assert 0 < len(kept) <= fields.LONGEST
        assert kept == kept.strip()
        assert "\0" not in kept
        assert kept.encode("utf-8")
        assert fields.text(kept, "name") == kept


@pytest.mark.parametrize("value", ["", " \n ", "x" * 201, "a\0b", "\x1b[31m", "\x7f", "\ud800"])
def test_an_unfit_text_is_refused_by_name(value: str) -> None:
    with pytest.raises(GatewayError) as caught:
        fields.text(value, "name")
    assert (caught.value.kind, caught.value.field) == (Kind.INVALID, "name")


def test_texts_of_all_languages_are_fine() -> None:
    for value in ("Żółć", "مفتاح", "鍵", "👩‍💻", "two\nlines", "a\u00a0b"):
        assert fields.text(value, "name") == value


def test_texts_keep_their_order_and_come_once() -> None:
    assert fields.texts([" b ", "a", "b"], "models") == ["b", "a"]
    with pytest.raises(GatewayError) as caught:
        fields.texts(["a", ""], "models")
    assert caught.value.field == "models[1]"
    with pytest.raises(GatewayError):
        fields.texts(["a"] * 3, "models", most=2)


@pytest.mark.parametrize("value", [-1, 2**53, -(10**30), 10**30])
def test_amounts_have_bounds(value: int) -> None:
    with pytest.raises(GatewayError) as caught:
        fields.amount(value, "limit")
    assert caught.value.field == "limit"
    assert [fields.amount(fit, "limit") for fit in (0, 2**53 - 1)] == [0, 2**53 - 1]


def test_times_are_in_the_future_wherever_one_is() -> None:
    tokyo = timezone(timedelta(hours=9))
    last = datetime(9999, 12, 31, 23, 59, 59)
    with pytest.raises(GatewayError, match="before the year 10000") as caught:
        fields.future(last.replace(tzinfo=timezone(timedelta(hours=-10))), NOW, "expires_at")
    assert caught.value.field == "expires_at"
    assert fields.future(last.replace(tzinfo=UTC), NOW, "expires_at") == last.replace(tzinfo=UTC)
    assert fields.future(None, NOW, "expires_at") is None
    later = datetime(2026, 3, 14, 9, 0, 1, tzinfo=tokyo)
    assert fields.future(later, NOW, "expires_at") == later
    for wrong in (NOW, datetime(2026, 3, 14, 9, tzinfo=tokyo), datetime(2999, 1, 1)):
        with pytest.raises(GatewayError) as caught:
            fields.future(wrong, NOW, "expires_at")
        assert caught.value.field == "expires_at"
