"""The comparison finds what differs, or every test that uses it would prove nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.shape import differences, example, same_shape

DOCUMENTED: dict[str, Any] = {
    "success": True,
    "at": "2024-01-01T00:00:00Z",
    "day": "2024-01-01",
    "price": 10.0,
    "count": 1,
    "nothing": None,
    "rows": [{"id": 1, "tags": ["a"]}],
}
RIGHT: dict[str, Any] = {
    "success": False,
    "at": "2026-11-22T06:00:00Z",
    "day": "2026-11-22",
    "price": 3,
    "count": 7,
    "nothing": {"a": 1},
    "rows": [{"id": 2, "tags": ["b", "c"]}, {"id": 3, "tags": ["d"]}],
}


def test_what_is_alike_is_accepted() -> None:
    same_shape(DOCUMENTED, RIGHT)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"success": 1}, "success: expected a boolean"),
        ({"at": "2026-11-22 06:00:00"}, "at: expected the format of '2024-01-01T00:00:00Z'"),
        ({"at": "2026-11-22T06:00:00.123456Z"}, "at: expected the format"),
        ({"at": "2026-11-22T06:00:00+00:00"}, "at: expected the format"),
        ({"day": "22.11.2026"}, "day: expected the format"),
        ({"price": "3"}, "price: expected a number"),
        ({"price": True}, "price: expected a number"),
        ({"count": 7.5}, "count: expected a whole number"),
        ({"count": None}, "count: expected a whole number"),
        ({"count": False}, "count: expected a whole number"),
        ({"rows": []}, "rows: expected at least one element"),
        ({"rows": {}}, "rows: expected a list"),
        ({"rows": [{"id": 1, "tags": ["a"]}, {"id": "2", "tags": ["a"]}]}, "rows[].id: expected a whole number"),
        ({"rows": [{"id": 1, "tags": [1]}]}, "rows[].tags[]: expected a text"),
        ({"rows": [{"tags": ["a"]}]}, "rows[]: id is missing"),
        ({"more": 1}, "the answer: more is not documented"),
    ],
)
def test_what_differs_is_told(change: dict[str, Any], told: str) -> None:
    (line,) = differences(DOCUMENTED, RIGHT | change)
    assert line.startswith(told)
    with pytest.raises(AssertionError, match=r"expected|missing|documented"):
        same_shape(DOCUMENTED, RIGHT | change)


def test_exceptions_are_named() -> None:
    same_shape(
        DOCUMENTED, RIGHT | {"count": None, "more": 1, "rows": "x"}, nullable={"count"}, more={""}, free={"rows"}
    )


def test_an_example_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        example("gatewayz", "GET", "/nothing")
