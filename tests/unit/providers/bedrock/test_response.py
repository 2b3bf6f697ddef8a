"""Converse's answers, streams and errors in the internal form. The answers are held against botocore's shapes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.base import Question, Upstream
from gateway.providers.bedrock import Bedrock
from gateway.providers.bedrock.eventstream import encode
from gateway.providers.telling import Answer
from tests.unit.providers.bedrock.shapes import check

MEMO = Answer("chatcmpl-1", 1_700_000_000, "m")
USAGE = {
    "inputTokens": 10,
    "outputTokens": 5,
    "totalTokens": 35,
    "cacheReadInputTokens": 16,
    "cacheWriteInputTokens": 4,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 4}],
}


def told(content: list[dict[str, Any]], reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    answer = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": reason,
        "usage": USAGE,
        "metrics": {"latencyMs": 5},
        **more,
    }
    check("ConverseResponse", answer)
    return Bedrock().response(orjson.dumps(answer), MEMO)


def test_a_whole_answer() -> None:
    assert told([{"text": "It "}, {"text": "rains."}]) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "It rains."}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 30,
            "completion_tokens": 5,
            "total_tokens": 35,
            "prompt_tokens_details": {
                "cached_tokens": 16,
                "cache_write_tokens": 4,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 4},
            },
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


CONTENT: list[dict[str, Any]] = [
    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
    {"reasoningContent": {"redactedContent": "ZGF0YQ=="}},
    {"text": "Look."},
    {"toolUse": {"toolUseId": "a", "name": "weather", "input": {"city": "Rome"}}},
    {"toolUse": {"toolUseId": "b", "name": "time", "input": {}}},
]


def test_thoughts_and_calls_go_back_as_they_came() -> None:
    choice = told(CONTENT, "tool_use")["choices"][0]
    question = Question({"messages": [{"role": "user", "content": "?"}, choice["message"]]}, Upstream("claude-3-7-x"))

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["reasoning_content"] == "Hm."
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == ['{"city":"Rome"}', "{}"]
    assert orjson.loads(Bedrock().request(question).body)["messages"][1]["content"] == CONTENT


def test_citations() -> None:
    page = {"title": "T", "location": {"web": {"url": "https://example.com"}}}
    passage = {"title": "D", "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 5}}}
    content: list[dict[str, Any]] = [
        {"text": "So: "},
        {"citationsContent": {"content": [{"text": "it rains"}], "citations": [page, passage]}},
    ]
    message = told(content)["choices"][0]["message"]

    assert message["content"] == "So: it rains"
    assert message["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 4, "end_index": 12, "url": "https://example.com", "title": "T"},
        },
    ]
    assert message["citations"] == [
        {"start_index": 4, "end_index": 12, "citation": citation} for citation in (page, passage)
    ]
    assert message["provider_blocks"] == {"vendor": "bedrock", "blocks": content}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("max_tokens", {"finish_reason": "length"}),
        ("stop_sequence", {"finish_reason": "stop", "native_finish_reason": "stop_sequence"}),
        (
            "model_context_window_exceeded",
            {"finish_reason": "length", "native_finish_reason": "model_context_window_exceeded"},
        ),
        ("guardrail_intervened", {"finish_reason": "content_filter", "native_finish_reason": "guardrail_intervened"}),
        ("content_filtered", {"finish_reason": "content_filter", "native_finish_reason": "content_filtered"}),
        ("malformed_tool_use", {"finish_reason": "stop", "native_finish_reason": "malformed_tool_use"}),
    ],
)
def test_reasons_to_end(reason: str, finish: dict[str, str]) -> None:
    choice = told([{"text": "x"}], reason)["choices"][0]

    assert {name: value for name, value in choice.items() if name.endswith("finish_reason")} == finish


@pytest.mark.parametrize("body", [b"", b"{}", b'{"output": 5}', b'{"output":{"message":{"content":[5]}}}', b"<html>"])
def test_no_answer_at_all(body: bytes) -> None:
    with pytest.raises(ValueError):
        Bedrock().response(body, MEMO)


EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "H"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "m."}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "c2ln"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "Gr"}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "üß"}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"citation": {"title": "D"}}}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "a", "name": "weather"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"city":'}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '"Rome"}'}}}),
    ("contentBlockStop", {"contentBlockIndex": 2}),
    ("contentBlockStart", {"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "b", "name": "time"}}}),
    ("contentBlockStop", {"contentBlockIndex": 3}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 5}}),
]


def _stream(events: list[tuple[str, dict[str, Any]]]) -> bytes:
    return b"".join(
        encode({":message-type": "event", ":event-type": kind, ":content-type": "application/json"}, orjson.dumps(told))
        for kind, told in events
    )


def read(data: bytes, cuts: list[int] | None = None) -> tuple[list[dict[str, Any]], bool]:
    bedrock = Bedrock()
    frames, stream = bedrock.frames(), bedrock.stream(MEMO)
    found: list[dict[str, Any]] = []
    places = [0, *sorted(cuts or []), len(data)]
    for index in range(len(places) - 1):
        for event in frames.feed(data[places[index] : places[index + 1]]):
            found += stream.feed(event)
    for event in frames.end():
        found += stream.feed(event)
    return found + stream.end(), stream.done


def test_the_events_are_of_the_api() -> None:
    for kind, event in EVENTS:
        check("ConverseStreamOutput", {kind: event})


def test_event_by_event() -> None:
    chunks, done = read(_stream(EVENTS))

    assert done
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "H"},
        {"reasoning_content": "m."},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]},
        {"content": "Gr"},
        {"content": "üß"},
        {"citations": [{"start_index": 0, "end_index": 4, "citation": {"title": "D"}}]},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "time", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-2:] == [None, "tool_calls"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 30


def test_every_border() -> None:
    data = _stream(EVENTS)
    whole = read(data)

    assert all(read(data, [cut]) == whole for cut in range(len(data)))


@given(data=st.data())
def test_any_split_gives_the_same_chunks(data: st.DataObject) -> None:
    stream = _stream(EVENTS)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))

    assert read(stream, cuts) == read(stream)


@pytest.mark.parametrize("kept", range(len(EVENTS)))
def test_a_stream_that_breaks_off(kept: int) -> None:
    chunks, done = read(_stream(EVENTS[:kept]))

    finished = any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    assert done == finished == (kept > 15)


@pytest.mark.parametrize(
    ("headers", "payload", "status", "text"),
    [
        (
            {":message-type": "exception", ":exception-type": "throttlingException"},
            b'{"message": "Slow down."}',
            429,
            "Slow down.",
        ),
        (
            {":message-type": "exception", ":exception-type": "modelStreamErrorException"},
            b'{"originalMessage": "Broke."}',
            502,
            "Broke.",
        ),
        (
            {":message-type": "error", ":error-code": "InternalServerException", ":error-message": "Oh."},
            b"",
            500,
            "Oh.",
        ),
    ],
)
def test_an_error_within_the_stream(headers: dict[str, str], payload: bytes, status: int, text: str) -> None:
    chunks, done = read(_stream(EVENTS[:1]) + encode(headers, payload))

    assert not done
    assert chunks[-1]["error"]["code"] == status
    assert chunks[-1]["error"]["message"] == text


def test_an_event_that_is_none() -> None:
    for payload in (b"5", b"{}", b'{"contentBlockIndex": 0, "delta": 5}'):
        with pytest.raises(ValueError):
            read(encode({":message-type": "event", ":event-type": "contentBlockDelta"}, payload))


def test_an_event_that_is_not_known_says_nothing() -> None:
    assert read(encode({":message-type": "event", ":event-type": "later"}, b"{}")) == ([], False)


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (400, b'{"message": "Bad model."}', 400, None),
        (
            403,
            b'{"message": "The security token included in the request is invalid."}',
            401,
            "InvalidSignatureException",
        ),
        (403, b'{"__type": "com.amazon#ExpiredTokenException", "message": "x"}', 401, "ExpiredTokenException"),
        (403, b'{"Message": "You have no access to this model."}', 403, None),
        (424, b'{"message": "The model failed.", "originalStatusCode": 500}', 502, None),
        (429, b'{"message": "Too many requests."}', 429, None),
        (502, b"<html>", 502, "upstream_error"),
        (502, b"[]", 502, "upstream_error"),
    ],
)
def test_errors(status: int, body: bytes, expected: int, code: str | None) -> None:
    found = Bedrock().error(status, body)

    assert found.status == expected
    assert found.envelope["error"]["code"] == code
