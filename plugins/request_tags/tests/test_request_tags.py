from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.load import PluginError
from tests.support.plugins import configured, make_request


async def tags(config: dict[str, Any], header: str | None = None, metadata: Any = None) -> dict[str, str]:
    headers = {} if header is None else {"x-gateway-tags": header}
    request = make_request({"metadata": metadata} if metadata is not None else {}, headers=headers)
    before = request.raw
    chain = configured("request_tags", config)
    assert await chain.request(request) is None
    assert request.raw is before
    return request.tags


async def test_tags_come_from_the_header_by_default() -> None:
    assert await tags({}, "team=search, feature = chat,,empty=") == {"team": "search", "feature": "chat", "empty": ""}
    assert await tags({}, "a=b=c") == {"a": "b=c"}
    assert await tags({}, None, {"team": "x"}) == {}


async def test_static_tags_win_over_the_header_and_that_over_metadata() -> None:
    config = {"static": {"env": "prod"}, "metadata": True}
    found = await tags(config, "env=dev,team=a", {"env": "test", "team": "b", "user": "u"})
    assert found == {"env": "prod", "team": "a", "user": "u"}


async def test_metadata_gives_scalars_that_fit() -> None:
    metadata = {"s": "x", "n": 1, "f": 1.5, "t": True, "o": {}, "none": None, "long": "x" * 200, "bad key": "x"}
    assert await tags({"metadata": True}, None, metadata) == {"s": "x", "n": "1", "f": "1.5", "t": "true"}
    assert await tags({"metadata": ["s"]}, None, metadata) == {"s": "x"}
    assert await tags({"metadata": True}, None, "text") == {}


async def test_the_header_can_be_another_or_none() -> None:
    assert await tags({"header": False}, "a=b") == {}
    request = make_request({}, headers={"x-tags": "a=b"})
    await configured("request_tags", {"header": "X-Tags"}).request(request)
    assert request.tags == {"a": "b"}


@pytest.mark.parametrize(
    ("config", "header", "expected"),
    [
        ({}, "team", "expected a=b,c=d"),
        ({}, "te am=x", "expected a=b,c=d"),
        ({}, "=x", "expected a=b,c=d"),
        ({}, "a" * 65 + "=x", "expected a=b,c=d"),
        ({"max_length": 3}, "a=1234", "the value of a is longer than 3 characters"),
        ({"max_tags": 2}, "a=1,b=2,c=3", "expected at most 2 tags, got 3"),
        ({"allow": ["team", "app"]}, "a=1", "a is not a known tag; expected one of app, team"),
    ],
)
async def test_a_bad_header_is_refused(config: dict[str, Any], header: str, expected: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await tags(config, header)
    assert (caught.value.kind, caught.value.code) == (Kind.INVALID, "invalid_tags")
    assert caught.value.message.startswith(f"Header x-gateway-tags: {expected}")
    assert caught.value.field == "x-gateway-tags"


async def test_metadata_makes_room_for_the_header() -> None:
    found = await tags({"metadata": True, "max_tags": 2}, "c=3", {"a": "1", "b": "2"})
    assert found == {"a": "1", "c": "3"}


@given(
    header=st.text(st.sampled_from("ab=, .-é"), max_size=40),
    metadata=st.dictionaries(st.text(max_size=3), st.text(max_size=9)),
)
async def test_tags_stay_within_their_bounds(header: str, metadata: dict[str, str]) -> None:
    with contextlib.suppress(GatewayError):
        found = await tags({"metadata": True, "max_tags": 3, "max_length": 5}, header, metadata)
        assert len(found) <= 3
        assert all(len(value) <= 5 for value in found.values())


async def test_a_body_that_is_not_json_can_be_tagged() -> None:
    request = make_request(None, headers={"x-gateway-tags": "a=b"})
    await configured("request_tags", {"metadata": True}).request(request)
    assert request.tags == {"a": "b"}


@pytest.mark.parametrize("config", [{"static": {"a b": "x"}}, {"max_tags": 0}, {"header": "a b"}, {"statics": {}}])
def test_a_bad_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match="request_tags"):
        configured("request_tags", config)
