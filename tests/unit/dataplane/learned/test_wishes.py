"""What clients want of a decision is read as it is meant, or refused with the name of what is wrong."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.dataplane.learned.wishes import NONE, READERS, Wish, spelt, wish_of
from gateway.kernel.errors import GatewayError, Kind
from gateway.routing.request import Constraints


def body(**fields: Any) -> Raw:
    return Raw(json.dumps(fields).encode())


def test_nothing_is_wanted_of_a_request_that_says_nothing() -> None:
    assert wish_of([(b"x-gateway-timeout", b"3"), (b"accept", b"*/*")], None) is NONE
    assert wish_of([], Raw(b"null")) is NONE
    assert wish_of([], Raw(b"{}")) is NONE


def test_the_same_wish_is_spelt_the_same() -> None:
    wishes = [Wish("speed", Constraints(max_cost=2.0, exclude_providers=frozenset(names))) for names in ("ab", "ba")]
    assert {spelt(wish) for wish in wishes} == {
        '["speed",{"exclude_providers":["a","b"],"max_cost":2.0,"max_response_time":null,"min_quality":null,'
        '"preferred_providers":[]}]'
    }


def test_headers_and_body_say_the_same() -> None:
    headers = [
        (b"x-gateway-optimize-for", b" Cost"),
        (b"x-gateway-max-cost", b"0.05"),
        (b"x-gateway-min-quality", b".8"),
        (b"x-gateway-max-response-time", b"3"),
        (b"x-gateway-preferred-providers", b"OpenAI, groq"),
        (b"x-gateway-exclude-providers", b"b"),
    ]
    raw = body(
        optimize_for="cost",
        max_cost=0.05,
        min_quality=0.8,
        max_response_time=3,
        preferred_providers=["openai", "Groq"],
        exclude_providers=["B"],
    )
    expected = Wish(
        "cost",
        Constraints(
            max_cost=0.05,
            min_quality=0.8,
            max_response_time=3.0,
            preferred_providers=frozenset({"openai", "groq"}),
            exclude_providers=frozenset({"b"}),
        ),
    )
    assert wish_of(headers, None) == expected
    assert wish_of([], raw) == expected


def test_the_body_goes_before_the_headers_field_by_field() -> None:
    found = wish_of([(b"x-gateway-max-cost", b"1"), (b"x-gateway-optimize-for", b"speed")], body(max_cost=2))
    assert found == Wish("speed", Constraints(max_cost=2.0))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"optimize_for": "best"}, "routing.optimize_for"),
        ({"optimize_for": 1}, "routing.optimize_for"),
        ({"max_cost": -0.1}, "routing.max_cost"),
        ({"max_cost": True}, "routing.max_cost"),
        ({"max_cost": [1]}, "routing.max_cost"),
        ({"min_quality": 1.1}, "routing.min_quality"),
        ({"max_response_time": 0}, "routing.max_response_time"),
        ({"max_response_time": 1e9}, "routing.max_response_time"),
        ({"preferred_providers": []}, "routing.preferred_providers"),
        ({"preferred_providers": [1]}, "routing.preferred_providers"),
        ({"exclude_providers": "a,,b"}, "routing.exclude_providers"),
        ({"exclude_providers": ["p"] * 65}, "routing.exclude_providers"),
        ({"maxCost": 1}, "routing.maxCost"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(GatewayError) as caught:
        wish_of([], body(**fields))
    assert (caught.value.kind, caught.value.field) == (Kind.INVALID, named)
    assert named in caught.value.message


@pytest.mark.parametrize("raw", [b"1", b'"cost"', b"[]", b"true"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(GatewayError, match="expected an object"):
        wish_of([], Raw(raw))


def outcome(headers: list[tuple[bytes, bytes]], raw: Raw | None) -> Wish | GatewayError:
    try:
        return wish_of(headers, raw)
    except GatewayError as error:
        return error


@given(st.sampled_from(sorted(READERS)), st.text(max_size=40))
def test_any_header_is_read_or_refused_with_its_name(name: str, value: str) -> None:
    header = b"x-gateway-" + name.replace("_", "-").encode()
    found = outcome([(header, value.encode("latin-1", "replace"))], None)
    if isinstance(found, GatewayError):
        assert (found.kind, found.field) == (Kind.INVALID, header.decode())
    else:
        is_sound(found)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(READERS)), VALUES))
def test_any_body_is_read_or_refused_with_a_fields_name(fields: dict[str, Any]) -> None:
    found = outcome([], Raw(json.dumps(fields).encode()))
    if isinstance(found, GatewayError):
        assert found.kind is Kind.INVALID
        assert (found.field or "").startswith("routing")
    else:
        is_sound(found)


def is_sound(found: Wish) -> None:
    limits = found.constraints
    assert found.goal in (None, "cost", "speed", "quality", "balanced")
    assert limits.max_cost is None or 0 <= limits.max_cost < math.inf
    assert limits.min_quality is None or 0 <= limits.min_quality <= 1
    assert limits.max_response_time is None or 0 < limits.max_response_time <= 86_400
    assert all(name == name.strip().lower() != "" for name in limits.preferred_providers | limits.exclude_providers)
