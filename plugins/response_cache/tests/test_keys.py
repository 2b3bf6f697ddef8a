from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.plugin.api import Request
from plugins.response_cache.keys import Wish, key_of, wish_of
from tests.support.plugins import make_request

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
STREAM = {**BODY, "stream": True}


def key(body: dict[str, Any], **more: Any) -> str:
    return key_of(make_request(body, **more))


def test_the_key_is_that_of_the_canonical_request() -> None:
    same = [
        {"temperature": 0.5, "messages": [{"content": "hi", "role": "user"}], "model": "m"},
        {**BODY, "user": "u", "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k"},
        {**BODY, "stream": False, "stream_options": {"include_usage": True}},
    ]
    assert {key(body) for body in same} == {key(BODY)}
    others = [
        {**BODY, "model": "n"},
        {**BODY, "temperature": 0.6},
        {**BODY, "unknown_to_us": 1},
        {**BODY, "messages": []},
        STREAM,
        {**STREAM, "stream_options": {"include_usage": True}},
    ]
    keys = [key(BODY), *map(key, others), key(BODY, organization="b"), key(BODY, endpoint="completions")]
    assert len(set(keys)) == len(keys)


def test_the_model_that_a_plugin_set_counts() -> None:
    request = make_request(BODY)
    request.model = "other"
    assert key_of(request) == key({**BODY, "model": "other"})


def test_what_a_learned_route_decides_by_counts() -> None:
    plain = make_request(BODY)
    assert plain.route_wish == ""
    told = {name: getattr(plain, name) for name in ("organization", "endpoint", "stream", "body", "model")}
    keys = {key_of(cast("Request", SimpleNamespace(**told, route_wish=wish))) for wish in ("", "a", "b")}
    assert len(keys) == 3
    assert key_of(plain) in keys


@given(text=st.text(st.sampled_from('no-store,cahemx=0123 "é'), max_size=40))
def test_any_cache_control_can_be_read(text: str) -> None:
    wish = wish_of(text)
    assert wish.max_age is None or wish.max_age >= 0


def test_directives_are_read_as_the_standard_says() -> None:
    assert wish_of(None) == wish_of("") == wish_of("public, x=y") == Wish()
    assert wish_of('NO-CACHE , max-age="5"') == Wish(read=False, max_age=5)
    assert wish_of("no-store") == Wish(read=False, write=False)
    assert wish_of("max-age=soon").max_age == wish_of("max-age").max_age == wish_of("max-age=-1").max_age == 0
