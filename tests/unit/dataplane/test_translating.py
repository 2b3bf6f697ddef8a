"""What makes answers of other APIs ones of OpenAI's, and streams for clients of other protocols."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.interpreting import Interpreter
from gateway.dataplane.streaming import EventStream
from gateway.dataplane.translating import Inbound, translate_whole, translated
from gateway.plugin.sse import split_events
from gateway.protocols.messages import MESSAGES
from gateway.providers.anthropic import translator
from gateway.providers.anthropic.request import Memo
from tests.support.fake_anthropic.events import events
from tests.support.fake_openai.behaviours import MODELS

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "so it is", "signature": "s"},
        {"type": "text", "text": "Hello there, 你好"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 6},
}
WHOLE = b"".join(events(MODELS["fake-chat"], MESSAGE))
EXCHANGE: Any = SimpleNamespace(id="req_1")


def inbound() -> Inbound:
    return Inbound(translator(), Memo(1))


def test_a_stream_is_one_of_openais() -> None:
    out = inbound().feed(WHOLE)
    watched = EventStream(False)
    assert watched.feed(out) == out
    assert watched.done
    assert watched.tokens is not None
    assert (watched.tokens.prompt, watched.tokens.completion) == (5, 6)
    assert out.endswith(b"data: [DONE]\n\n")
    assert out.count(b"[DONE]") == 1


@given(st.sets(st.integers(0, len(WHOLE)), max_size=40))
def test_every_cut_of_the_bytes_says_the_same_to_every_client(cuts: set[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]
    reading, client = inbound(), Interpreter(MESSAGES)
    chat = [reading.feed(WHOLE[begin:end]) for begin, end in pairwise(places)]
    assert reading.end() == b""
    assert b"".join(chat) == inbound().feed(WHOLE)
    told = b"".join(client.events(EXCHANGE, piece) for piece in chat)
    assert told == Interpreter(MESSAGES).events(EXCHANGE, inbound().feed(WHOLE))


def test_there_and_back_the_events_are_anthropics_own() -> None:
    told = Interpreter(MESSAGES).events(EXCHANGE, inbound().feed(WHOLE))

    def kinds(block: bytes) -> list[bytes]:
        found = [event.partition(b"\n")[0] for event in split_events(block)]
        return [kind for kind in found if kind not in (b"event: ping", b"event: content_block_delta")]

    assert kinds(told) == kinds(WHOLE)


def test_nothing_is_read_behind_an_error() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    reading = inbound()
    out = reading.feed(error + WHOLE)
    assert out.startswith(b'data: {"error":{"message":"busy"')
    assert out.count(b"\n\n") == 1
    assert reading.end() == b""


def test_a_stream_that_is_cut_has_no_end() -> None:
    reading = inbound()
    out = reading.feed(WHOLE[: len(WHOLE) // 2]) + reading.end()
    assert b"[DONE]" not in out
    assert b'finish_reason":"' not in out


def test_an_answer_that_ended_without_its_last_event_tells_its_usage() -> None:
    reading = inbound()
    reading.feed(b"".join(events(MODELS["fake-chat"], MESSAGE)[:-1]))
    assert b'"usage":{"prompt_tokens":5' in reading.end()


def test_whole_answers_and_errors() -> None:
    status, body = inbound().whole(200, orjson.dumps(MESSAGE))
    assert (status, orjson.loads(body)["object"]) == (200, "chat.completion")
    busy = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
    status, body = inbound().whole(529, busy)
    assert (status, orjson.loads(body)["error"]["type"]) == (503, "service_unavailable_error")
    assert inbound().whole(302, b"moved") == (302, b"moved")
    for wrong in (b"[]", b'{"content":[1]}', b'{"content":[{"type":"text"}]}', b"no JSON"):
        with pytest.raises(ValueError, match=r"."):
            inbound().whole(200, wrong)


def test_what_a_client_of_another_protocol_gets() -> None:
    client = Interpreter(MESSAGES)
    envelope = b'{"error":{"message":"m","type":"rate_limit_error","param":null,"code":"c"}}'
    told = orjson.loads(client.whole(EXCHANGE, 429, envelope))
    assert (told["type"], told["error"]["type"], told["request_id"]) == ("error", "rate_limit_error", "req_1")
    native = b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}'
    assert client.whole(EXCHANGE, 429, native) == native
    for odd in (b"plain text", b"[1]", b'{"input_tokens":3}'):
        assert client.whole(EXCHANGE, 200, odd) == odd
    event = client.events(EXCHANGE, b"data: " + envelope + b"\n\n")
    assert event.startswith(b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error"')
    assert client.events(EXCHANGE, b": a comment\n\n") == b""


def test_a_native_stream_is_not_touched_but_our_own_errors_are_translated() -> None:
    client = Interpreter(MESSAGES)
    client.native = True
    assert client.events(EXCHANGE, WHOLE) is WHOLE
    ours = b'data: {"error":{"message":"cut","type":"upstream_error","param":null,"code":"upstream_reset"}}\n\n'
    assert client.events(EXCHANGE, ours).startswith(b'event: error\ndata: {"type":"error","error":{"type":"api_error"')
    assert client.whole(EXCHANGE, 200, b'{"choices":[]}') == b'{"choices":[]}'


@pytest.mark.parametrize("wrong", [b"data: {}\n\n", b"data: no JSON\n\n", b'data: {"type":"message_start"}\n\n'])
def test_what_cannot_be_read_fails_the_attempt(wrong: bytes) -> None:
    told: list[str] = []
    attempt: Any = SimpleNamespace(inbound=inbound(), fail=told.append, replace=None, status=200, body=lambda: wrong)
    assert translated(attempt, wrong) == b""
    assert not translate_whole(attempt)
    assert [message.partition(":")[0] for message in told] == [
        "The upstream's stream can't be read",
        "The upstream's answer can't be read",
    ]
