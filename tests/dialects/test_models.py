"""Wire models: times, names, renamed fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as some
from msgspec import UNSET
from pydantic import ValidationError

from gateway.dialects.common.fields import given, naming
from gateway.dialects.common.models import Answer, Asked, CamelAnswer, CamelAsked, Dollars, EndMoment, Instant, Moment
from gateway.dialects.llm_cost_ops.paging import CursorPaging, cursor_of
from gateway.kernel.errors import FieldFault, GatewayError, Kind


class Span(Asked):
    """Two times."""

    start: Moment
    end: EndMoment | None = None


class Inner(CamelAsked):
    """Below another."""

    app_name: str


class Outer(CamelAsked):
    """Above another."""

    max_items: int = 1
    inner: Inner | None = None


class Shown(Answer):
    """What is answered."""

    at: Instant
    money: Dollars


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-01", datetime(2025, 11, 1, tzinfo=UTC)),
        ("2025-11-01T10:00:00Z", datetime(2025, 11, 1, 10, tzinfo=UTC)),
        ("2025-11-01T10:00:00", datetime(2025, 11, 1, 10, tzinfo=UTC)),
        ("2025-11-01T10:00:00+02:00", datetime(2025, 11, 1, 8, tzinfo=UTC)),
        # As a plus in a query string comes that nobody encoded.
        ("2025-11-01T10:00:00 02:00", datetime(2025, 11, 1, 8, tzinfo=UTC)),
        ("2025-11-01T10:00 0200", datetime(2025, 11, 1, 8, tzinfo=UTC)),
        ("2025-11-01 10:00", datetime(2025, 11, 1, 10, tzinfo=UTC)),
        ("2025-11-01t10:00:00z", datetime(2025, 11, 1, 10, tzinfo=UTC)),
        ("2025-11-01T10:00:00.5Z", datetime(2025, 11, 1, 10, microsecond=500_000, tzinfo=UTC)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    assert Span.model_validate({"start": text}).start == expected


def test_a_day_ends_with_its_last_moment() -> None:
    span = Span.model_validate({"start": "2025-11-01", "end": "2025-11-01"})
    assert span.end == datetime(2025, 11, 1, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("value", ["", "soon", "2025-13-01", 1_700_000_000, True, None, "9999-12-31T23:00:00-05:00"])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValidationError, match="ISO 8601"):
        Span.model_validate({"start": value})


@drawn(some.text(max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        found = Span.model_validate({"start": text, "end": text})
    except ValidationError:
        return
    assert found.start.utcoffset() == datetime.now(UTC).utcoffset()
    assert found.end is not None
    assert found.end >= found.start


def test_nearest_names_are_told_at_every_depth_in_the_wires_spelling() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"max_items": 2, "inner": {"appname": "a", "other": 1}})
    told = {error["loc"]: error["msg"] for error in caught.value.errors()}
    assert told == {
        ("max_items",): "is not known; did you mean maxItems?",
        ("inner", "appName"): "Field required",
        ("inner", "appname"): "is not known; did you mean appName?",
        ("inner", "other"): "is not known; expected appName",
    }


def test_answers_are_written_as_documented() -> None:
    shown = Shown(at=datetime(2024, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), money=10_000_000_001)
    assert shown.model_dump(mode="json") == {"at": "2024-01-01T00:00:00Z", "money": 10.000000001}

    class Camel(CamelAnswer):
        app_name: str

    assert Camel(app_name="a").model_dump(mode="json") == {"appName": "a"}


def test_what_was_not_sent_is_not_set() -> None:
    asked = Outer.model_validate({"maxItems": 3})
    assert given(asked, "max_items", below="inner") == {"max_items": 3, "below": UNSET}


@pytest.mark.parametrize(
    ("field", "message", "expected"),
    [
        ("name", "name must not be empty.", ("key_name", "key_name must not be empty.")),
        ("name[1]", "name[1] must not be empty.", ("key_name[1]", "key_name[1] must not be empty.")),
        ("other", "other names are fine.", ("other", "other names are fine.")),
    ],
)
def test_faults_are_told_by_the_wires_names(field: str, message: str, expected: tuple[str, str]) -> None:
    faults = (FieldFault(field, message),)
    with pytest.raises(GatewayError) as caught, naming(name="key_name"):
        raise GatewayError(Kind.INVALID, "invalid_value", message, field, invalid=faults)
    assert (caught.value.field, caught.value.message) == expected
    assert [(fault.field, fault.message) for fault in caught.value.invalid] == [expected]


@drawn(some.integers(0, 2**63 - 1), some.sampled_from(["asc", "desc"]))
def test_a_cursor_leads_back(number: int, order: Any) -> None:
    assert CursorPaging(cursor=cursor_of(number, order), order=order).after == number


@drawn(some.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        paging = CursorPaging(cursor=text)
    except ValidationError:
        return
    try:
        number = paging.after
    except GatewayError as error:
        number, code = None, error.code
    else:
        code = ""
    assert (cursor_of(number, "desc") == text.rstrip("=")) != (code == "invalid_cursor")
