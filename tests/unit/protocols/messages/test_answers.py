"""Completions, whole and streamed, as Anthropic's clients get them ("Messages", "Streaming Messages", "Errors")."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message
from hypothesis import given

from gateway.protocols.messages import MESSAGES
from tests.unit.protocols.chunks import answers

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def completion(finish: str = "stop", usage: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **said}, "finish_reason": finish}
    usage = usage or {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


def message(finish: str = "stop", **said: Any) -> dict[str, Any]:
    told = MESSAGES.response(completion(finish, **said), None)
    Message.model_validate(told)
    return told


def test_a_text() -> None:
    assert message(content="hi") == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 4,
        },
    }


def test_thoughts_and_calls() -> None:
    told = message("tool_calls", reasoning_content="hm", content="so", tool_calls=[CALL])
    assert told["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
    ]
    assert told["stop_reason"] == "tool_use"
    assert message(content="x", tool_calls=[CALL])["stop_reason"] == "tool_use"  # some servers say stop
    signed = {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert message(reasoning_content="hm", thinking_blocks=[signed])["content"] == [signed]


def test_arguments_that_are_no_object() -> None:
    for arguments, expected in (("", {}), ('{"a":', {"_unparsed": '{"a":'}), ("[1]", {"_unparsed": "[1]"})):
        call = {**CALL, "function": {"name": "f", "arguments": arguments}}
        assert message("length", tool_calls=[call])["content"][0]["input"] == expected


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "length"}, "max_tokens"),
        ({"finish_reason": "content_filter"}, "refusal"),
        ({"finish_reason": "stop", "stop_sequence": "S"}, "stop_sequence"),
        ({"finish_reason": "stop", "native_finish_reason": "pause_turn"}, "pause_turn"),
        ({"finish_reason": "stop", "native_finish_reason": "STOP"}, "end_turn"),
        ({"finish_reason": "something_new"}, "end_turn"),
    ],
)
def test_why_it_ended(choice: dict[str, Any], reason: str) -> None:
    made = completion(content="x")
    made["choices"][0] |= choice
    told = MESSAGES.response(made, None)
    assert (told["stop_reason"], told["stop_sequence"]) == (reason, choice.get("stop_sequence"))


def test_usage_takes_the_cache_out_of_the_input() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    told = MESSAGES.response({**completion(content="x"), "usage": usage, "service_tier": "default"}, None)["usage"]
    assert told == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 5},
        "service_tier": "standard",
    }


def chunk(**delta: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def finish(reason: str) -> list[dict[str, Any]]:
    last = {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
    return [last, {"id": "chatcmpl-1", "model": "m", "choices": [], "usage": usage}]


def call(index: int, arguments: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return chunk(tool_calls=[{"index": index, **more, "function": function}])


def told(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    encoder = MESSAGES.stream(None)
    out = b"".join(map(encoder.feed, chunks)) + encoder.end()
    events = []
    for event in out.removesuffix(b"\n\n").split(b"\n\n"):
        name, data = event.split(b"\n")
        document = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + document["type"].encode()
        events.append(document)
    return events


def put_together(events: list[dict[str, Any]]) -> Message:
    """What the SDK makes of the events."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)  # type: ignore[arg-type]
    assert isinstance(snapshot, Message)
    return snapshot


def order(events: list[dict[str, Any]]) -> list[str]:
    return [f"{event['type']} {event['index']}" if "index" in event else event["type"] for event in events]


def test_the_order_of_a_text() -> None:
    events = told(chunk(role="assistant", content=""), chunk(content="a"), chunk(content="b"), *finish("stop"))
    assert order(events) == [
        "message_start",
        "content_block_start 0",
        "content_block_delta 0",
        "content_block_delta 0",
        "content_block_stop 0",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["content"] == []
    assert events[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {
            "input_tokens": 7,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 4,
        },
    }


def test_thought_text_and_parallel_calls_are_blocks_one_after_another() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    events = told(
        chunk(role="assistant", content=""),
        chunk(reasoning_content="h"),
        chunk(reasoning_content="m"),
        chunk(thinking_blocks=[signed, {"type": "redacted_thinking", "data": "d"}]),
        chunk(content="so"),
        call(0, id="a", name="f", type="function"),
        call(0, '{"x":'),
        call(0, "1}"),
        call(1, "{}", id="b", name="g", type="function"),
        *finish("tool_calls"),
    )
    kinds = [line for line in order(events) if "delta" not in line]
    assert kinds[1:-1] == [f"content_block_{what} {index}" for index in range(5) for what in ("start", "stop")]
    made = put_together(events)
    assert [block.to_dict() for block in made.content] == [
        signed,
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}},
    ]
    assert made.stop_reason == "tool_use"


def test_a_call_whose_name_comes_late() -> None:
    events = told(call(0, '{"x"', id="a"), call(0, ":1}", name="f"), *finish("stop"))
    made = put_together(events)
    assert made.content[0].to_dict() == {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    assert made.stop_reason == "tool_use"


def test_calls_whose_pieces_come_in_turns_follow_one_another() -> None:
    events = told(
        call(0, '{"x"', id="a", name="f"),
        call(1, '{"y"', id="b", name="g"),
        chunk(content="so"),
        call(0, ":1}"),
        call(1, ":2}"),
        *finish("tool_calls"),
    )
    made = put_together(in_order(events))
    assert [block.to_dict() for block in made.content] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"y": 2}},
        {"type": "text", "text": "so"},
    ]


def test_whole_calls_under_one_index_are_several() -> None:
    events = told(call(0, "{}", id="a", name="f"), call(0, "{}", id="b", name="g"), *finish("tool_calls"))
    assert [block.to_dict()["id"] for block in put_together(in_order(events)).content] == ["a", "b"]


def test_a_call_without_an_id_gets_the_same_whole_and_streamed() -> None:
    function = {"name": "f", "arguments": "{}"}
    (whole,) = message("tool_calls", tool_calls=[{"type": "function", "function": function}])["content"]
    (streamed,) = put_together(in_order(told(call(0, "{}", name="f"), *finish("tool_calls")))).content
    assert whole == streamed.to_dict()
    assert whole["id"].startswith("toolu_")


def test_more_of_a_call_that_was_whole_is_a_fault_of_the_provider() -> None:
    encoder = MESSAGES.stream(None)
    for each in (call(0, "{}", id="a", name="f"), chunk(content="x"), call(0, " ")):
        encoder.feed(each)
    with pytest.raises(ValueError, match="complete"):
        encoder.feed(call(0, "{}"))


def test_nothing_follows_an_error() -> None:
    encoder = MESSAGES.stream(None)
    encoder.feed(chunk(content="x"))
    assert encoder.error(502, {"error": {"message": "Gone."}}, "r")
    assert encoder.feed(chunk(content="y")) + encoder.end() == b""


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events, which follow one another as the reference has it."""
    opened: int | None = None
    blocks = 0
    for event in events[1:-2]:
        kind = event["type"]
        if kind == "content_block_start":
            assert (opened, event["index"]) == (None, blocks)
            opened, blocks = event["index"], blocks + 1
        else:
            assert kind in ("content_block_delta", "content_block_stop")
            assert event["index"] == opened
            opened = None if kind == "content_block_stop" else opened
    assert opened is None
    assert [events[0]["type"], *(event["type"] for event in events[-2:])] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    return events


@given(answers())
def test_any_answer_keeps_the_order_and_loses_nothing(chunks: list[dict[str, Any]]) -> None:
    deltas: list[dict[str, Any]] = [each["choices"][0]["delta"] for each in chunks if each["choices"]]
    made = put_together(in_order(told(*chunks)))
    blocks: list[Any] = [block.to_dict() for block in made.content]
    texts: list[str] = [each.get("content") or each.get("refusal") or "" for each in deltas]
    assert "".join(block["text"] for block in blocks if block["type"] == "text") == "".join(texts)
    arguments: dict[str, str] = {}
    for each in deltas:
        for piece in each.get("tool_calls", ()):
            key = f"call{piece['index']}"
            arguments[key] = arguments.get(key, "") + piece["function"]["arguments"]
    calls = {block["id"]: block["input"] for block in blocks if block["type"] == "tool_use"}
    assert calls == {key: orjson.loads(value) for key, value in arguments.items()}
    signatures = [block["signature"] for block in blocks if block["type"] == "thinking" and block["signature"]]
    signed = [block["signature"] for each in deltas for block in each.get("thinking_blocks", ())]
    assert signatures == [each for each in signed if each]


def test_blocks_that_only_anthropic_has() -> None:
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    cited = {"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": None,
             "start_char_index": 0, "end_char_index": 1}  # fmt: skip
    events = told(
        chunk(provider_blocks={"vendor": "anthropic", "blocks": [use, found]}),
        chunk(content="x"),
        chunk(citations=[{"citation": cited, "start_index": 1, "end_index": 1}]),
        chunk(provider_blocks={"vendor": "google", "blocks": [{"thoughtSignature": "x"}]}),
        *finish("stop"),
    )
    made = put_together(events)
    assert [block.type for block in made.content] == ["server_tool_use", "web_search_tool_result", "text"]
    assert made.content[0].to_dict() == use
    text: Any = made.content[2]
    assert text.citations[0].cited_text == "c"


def test_a_stream_of_nothing_is_whole_all_the_same() -> None:
    assert order(told()) == ["message_start", "message_delta", "message_stop"]


def test_other_choices_are_passed_over() -> None:
    second = {**chunk(content="b"), "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]}
    events = told(chunk(content="a"), second, *finish("stop"))
    assert put_together(events).content[0].to_dict()["text"] == "a"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_errors(status: int, kind: str) -> None:
    envelope = {"error": {"message": "why", "type": "x", "param": "p", "code": "c", "details": {"limit": 3}}}
    expected = {
        "type": "error",
        "error": {"type": kind, "message": "why", "details": {"error_code": "c", "param": "p", "limit": 3}},
        "request_id": "r",
    }
    assert MESSAGES.error(status, envelope, "r") == expected
    event = MESSAGES.stream(None).error(status, envelope, "r")
    assert event.startswith(b"event: error\ndata: ")
    assert orjson.loads(event.removeprefix(b"event: error\ndata: ")) == expected


def test_an_error_that_is_a_text() -> None:
    told = MESSAGES.error(500, {"error": "broken"}, "r")
    assert told["error"] == {"type": "api_error", "message": "broken"}
