"""What the routing API is asked is read as the reference has it, or refused with the field's name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.learned import asking
from gateway.dataplane.learned.asking import Asked, AskedBatch, read_batch, read_one
from gateway.kernel.errors import GatewayError, Kind
from gateway.routing.request import Constraints

HELLO: list[dict[str, Any]] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]


def one(**fields: Any) -> bytes:
    return json.dumps({"messages": HELLO, **fields}).encode()


def test_a_whole_request() -> None:
    asked = read_one(
        one(
            optimizeFor="speed",
            constraints={
                "maxCost": 0.05,
                "minQuality": 0.8,
                "maxResponseTime": 3000,
                "preferredProviders": ["OPENAI", "ANTHROPIC"],
                "excludeProviders": [],
            },
            metadata={"appVersion": "1.2.0", "more": {"any": [1]}},
        )
    )
    limits = asked.constraints
    assert (asked.prompt, asked.goal) == ("Hello", "speed")
    assert (limits.max_cost, limits.min_quality, limits.max_response_time) == (0.05, 0.8, 3.0)
    assert limits.preferred_providers == {"openai", "anthropic"}
    assert limits.exclude_providers == frozenset()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": 1, "content": ""}]}, "messages[0].role"),
        ({"optimizeFor": "best"}, "optimizeFor"),
        ({"optimizeFor": 1}, "optimizeFor"),
        ({"constraints": []}, "constraints"),
        ({"constraints": {"max_cost": 1}}, "constraints.max_cost"),
        ({"constraints": {"maxCost": -1}}, "constraints.maxCost"),
        ({"constraints": {"maxResponseTime": 0}}, "constraints.maxResponseTime"),
        ({"constraints": {"preferredProviders": [1]}}, "constraints.preferredProviders"),
        ({"metadata": 1}, "metadata"),
        ({"model": "m"}, "model"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_one(one(**fields))
    assert (caught.value.kind, _numbered(caught.value.field)) == (Kind.INVALID, named)
    with pytest.raises(GatewayError) as caught:
        read_batch(json.dumps({"requests": [{"messages": HELLO}, {"messages": HELLO, **fields}]}).encode())
    assert _numbered(caught.value.field) == f"requests[1].{named}"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (b'{"maxCost":"\xff"}', "body"),
        (b'{"maxCost":1', "body"),
        (b"0", "constraints"),
        (b'{"excludeProviders":[[]]}', "constraints.excludeProviders"),
    ],
)
def test_bad_constraints_are_refused_each_time(written: bytes, named: str) -> None:
    for _ in range(2):
        with pytest.raises(GatewayError) as caught:
            read_one(b'{"messages":[{"role":"user","content":"Hello"}],"constraints":' + written + b"}")
        assert caught.value.kind is Kind.INVALID
        assert caught.value.field in (named, "constraints" if named == "body" else named)


def test_constraints_are_read_alike_each_time_and_few_are_kept() -> None:
    for number in range(2 * asking.KNOWN):
        for _ in range(2):
            asked = read_one(one(constraints={"maxCost": number / 100}))
            assert asked.constraints == Constraints(max_cost=number / 100)
    assert len(asking._known) == asking.KNOWN
    asked = read_one(one(constraints={"excludeProviders": ["x" * 2_000]}))
    assert asked.constraints.exclude_providers == {"x" * 2_000}
    assert len(asking._known) == asking.KNOWN
    assert read_one(one(constraints=None)).constraints == read_one(one(constraints={})).constraints == Constraints()


def _numbered(field: str | None) -> str:
    """msgspec tells the place in a list as ``[...]``."""
    return (field or "").replace("messages[...]", "messages[0]")


def test_a_batch_is_ordered_by_priority() -> None:
    asked = read_batch(
        json.dumps(
            {
                "requests": [{"messages": HELLO}] * 4,
                "batchOptimization": {"optimizeFor": "cost", "loadBalance": True, "priorityOrder": [2, 0]},
            }
        ).encode()
    )
    assert (asked.goal, asked.balance, asked.order) == ("cost", True, [2, 0, 1, 3])
    assert len(asked.requests) == 4


def batch(**how: Any) -> dict[str, Any]:
    return {"requests": [{"messages": HELLO}], "batchOptimization": how}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"requests": []}, "requests"),
        ({"requests": [{"messages": HELLO}] * 101}, "requests"),
        ({}, "requests"),
        (batch(priorityOrder=[1]), "batchOptimization.priorityOrder"),
        (batch(priorityOrder=[0, 0]), "batchOptimization.priorityOrder"),
        (batch(optimizeFor="all"), "batchOptimization.optimizeFor"),
        (batch(loadBalance=1), "batchOptimization.loadBalance"),
    ],
)
def test_a_bad_batch_is_named(body: dict[str, Any], named: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_batch(json.dumps(body).encode())
    assert (caught.value.kind, caught.value.field) == (Kind.INVALID, named)


def outcome(body: bytes) -> Asked | AskedBatch | GatewayError:
    try:
        return read_one(body)
    except GatewayError as error:
        return error


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**7) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("messages", "role", "content", "optimizeFor", "constraints", "maxCost")), inner
        )
    ),
    max_leaves=8,
)


@given(_JSON)
def test_any_document_is_read_or_refused(document: Any) -> None:
    found = outcome(json.dumps(document).encode())
    assert isinstance(found, Asked) or (isinstance(found, GatewayError) and found.kind is Kind.INVALID and found.field)


@given(st.binary(max_size=64))
def test_any_bytes_are_refused(body: bytes) -> None:
    found = outcome(body)
    assert isinstance(found, GatewayError)
    assert found.kind is Kind.INVALID
