"""Streams of Anthropic's API that are relayed as they come."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.usage import Tokens
from gateway.dataplane.native import MessageEvents
from gateway.dataplane.vendors import Vendor
from tests.support.fake_anthropic.events import events
from tests.support.fake_openai.behaviours import MODELS

USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 20,
    "cache_creation_input_tokens": 10,
    "output_tokens": 6,
    "output_tokens_details": {"thinking_tokens": 2},
}
WHOLE = Tokens(prompt=35, cached=20, completion=6, reasoning=2, cache_write=10)
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "content": [
        {"type": "thinking", "thinking": 'so it "is"', "signature": "s"},
        {"type": "text", "text": "Hello there, 你好"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}},
    ],
    "stop_reason": "end_turn",
    "usage": USAGE,
}


def stream() -> MessageEvents:
    return MessageEvents(Vendor("anthropic"), "messages")


def test_a_whole_stream() -> None:
    watched = stream()
    told = events(MODELS["fake-chat"], MESSAGE)
    for number, event in enumerate(told):
        assert watched.feed(event) == event
        assert watched.done is (number == len(told) - 1)
        assert watched.summed is (number >= len(told) - 2)
    assert watched.tokens == WHOLE
    assert watched.events == len(told)
    assert watched.unread() is None
    assert not watched.failed
    assert watched.partial == b""


@given(st.data())
def test_every_cut_of_the_bytes_is_passed_on_whole(data: st.DataObject) -> None:
    told = events(MODELS[data.draw(st.sampled_from(["fake-chat", "crlf"]))], MESSAGE)
    whole = b"".join(told)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=30)))
    watched = stream()
    passed = [watched.feed(whole[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join(passed) == whole
    assert all(piece == b"" or piece.endswith((b"\n\n", b"\r\n\r\n")) for piece in passed)
    assert (watched.tokens, watched.done, watched.events) == (WHOLE, True, len(told))


def test_what_came_before_the_usage_is_kept_to_be_counted() -> None:
    watched = stream()
    for event in events(MODELS["fake-chat"], MESSAGE)[:-2]:
        watched.feed(event)
    assert watched.tokens == Tokens(prompt=35, cached=20, completion=1, cache_write=10)
    produced = watched.unread()
    assert produced is not None
    assert orjson.loads(b'"' + produced.text + b'"') == 'Hello there, 你好{"a": "b"}'
    assert orjson.loads(b'"' + produced.thoughts + b'"') == 'so it "is"'
    assert (produced.events, produced.is_whole) == (b"", False)


def test_an_error() -> None:
    watched = stream()
    watched.feed(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n')
    assert watched.failed


@pytest.mark.parametrize(
    "event",
    [
        b'event: content_block_delta\ndata: {"delta":{"text":"event: message_stop"}}\n\n',
        b'event: content_block_delta\ndata: {"delta":{"text":"event: error \\"usage\\""}}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","usage":[1]}\n\n',
        b'event: message_delta\ndata: {"usage"\n\n',
        b': message_stop "usage"\n\n',
    ],
)
def test_what_looks_like_something_else(event: bytes) -> None:
    watched = stream()
    assert watched.feed(event) == event
    assert (watched.done, watched.failed, watched.tokens) == (False, False, None)
