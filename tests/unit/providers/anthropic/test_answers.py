"""Messages, whole and streamed, and errors as OpenAI's API tells them ("Messages", "Streaming Messages", "Errors")."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.providers.anthropic import translator
from gateway.providers.anthropic.request import ANSWER_TOOL, Memo
from tests.support.fake_anthropic.events import events
from tests.support.fake_openai.behaviours import MODELS

MEMO = Memo(1_700_000_000)
USAGE = {
    "input_tokens": 5,
    "cache_creation_input_tokens": 7,
    "cache_read_input_tokens": 11,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 13,
    "output_tokens_details": {"thinking_tokens": 2},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    "service_tier": "standard",
}
THOUGHT = {"type": "thinking", "thinking": "so it is", "signature": "EqoB"}
SECRET = {"type": "redacted_thinking", "data": "EmwK"}
TEXT = {"type": "text", "text": "Hello there, 你好"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Zürich", "days": 3}}
IDLE = {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
CITED = {"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": None}
WEB = {
    "type": "web_search_result_location",
    "url": "https://e.x",
    "title": "E",
    "encrypted_index": "x",
    "cited_text": "c",
}


def message(*blocks: dict[str, Any], reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(blocks),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def completion(made: dict[str, Any], memo: Memo = MEMO) -> dict[str, Any]:
    told = translator().response(orjson.dumps(made), memo)
    ChatCompletion.model_validate(told)
    return told


def streamed(made: dict[str, Any], memo: Memo = MEMO) -> list[dict[str, Any]]:
    stream = translator().stream(memo)
    chunks = [chunk for event in events(MODELS["fake-chat"], made) for chunk in stream.feed(event)]
    assert stream.done
    assert stream.end() == []
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("msg_1", 1_700_000_000, "claude")
    return chunks


def joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client puts together."""
    said: dict[str, Any] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for call in value:
                        calls = said.setdefault(name, [])
                        if call["index"] == len(calls):
                            calls.append({"id": call["id"], "type": "function", "function": dict(call["function"])})
                        else:
                            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
                elif isinstance(value, list):
                    said.setdefault(name, []).extend(value)
                elif isinstance(value, str):
                    said[name] = said.get(name, "") + value
    return said


def test_a_text() -> None:
    told = completion(message(TEXT))
    assert told == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "claude",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there, 你好", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 23,
            "completion_tokens": 13,
            "total_tokens": 36,
            "prompt_tokens_details": {
                "cached_tokens": 11,
                "cache_write_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
            },
            "completion_tokens_details": {"reasoning_tokens": 2},
            "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
        },
        "service_tier": "default",
    }


def test_thoughts_texts_and_calls() -> None:
    said = completion(message(SECRET, THOUGHT, TEXT, USE, IDLE, reason="tool_use"))["choices"][0]
    assert said["finish_reason"] == "tool_calls"
    assert said["message"]["reasoning_content"] == "so it is"
    assert said["message"]["thinking_blocks"] == [SECRET, THOUGHT]
    assert "provider_blocks" not in said["message"]
    arguments = [call["function"]["arguments"] for call in said["message"]["tool_calls"]]
    assert [orjson.loads(each) for each in arguments] == [USE["input"], {}]


def test_what_chat_cannot_order_comes_as_it_was() -> None:
    for blocks in ((SEARCH, FOUND, TEXT), (TEXT, THOUGHT, USE), (USE, TEXT)):
        said = completion(message(*blocks))["choices"][0]["message"]
        assert said["provider_blocks"] == {"vendor": "anthropic", "blocks": list(blocks)}


def test_citations() -> None:
    first = {"type": "text", "text": "ab", "citations": [CITED]}
    second = {"type": "text", "text": "cde", "citations": [WEB]}
    said = completion(message(first, second))["choices"][0]["message"]
    assert said["content"] == "abcde"
    assert said["citations"] == [
        {"start_index": 0, "end_index": 2, "citation": CITED},
        {"start_index": 2, "end_index": 5, "citation": WEB},
    ]
    assert said["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 2, "end_index": 5, "url": "https://e.x", "title": "E"},
        },
    ]


@pytest.mark.parametrize(
    ("reason", "finish", "native"),
    [
        ("end_turn", "stop", None),
        ("max_tokens", "length", None),
        ("tool_use", "tool_calls", None),
        ("stop_sequence", "stop", "stop_sequence"),
        ("pause_turn", "stop", "pause_turn"),
        ("refusal", "content_filter", "refusal"),
        ("model_context_window_exceeded", "length", "model_context_window_exceeded"),
        ("something_new", "stop", "something_new"),
    ],
)
def test_why_it_ended(reason: str, finish: str, native: str | None) -> None:
    made = message(TEXT, reason=reason, stop_sequence="S" if reason == "stop_sequence" else None)
    whole = completion(made)["choices"][0]
    last = streamed(made)[-2]["choices"][0]
    for told in (whole, last):
        assert (told["finish_reason"], told.get("native_finish_reason")) == (finish, native)
        assert told.get("stop_sequence") == ("S" if reason == "stop_sequence" else None)


def test_a_refusal_says_why() -> None:
    made = message(reason="refusal", stop_details={"type": "refusal", "explanation": "no"})
    assert completion(made)["choices"][0]["message"]["refusal"] == "no"
    assert joined(streamed(made))["refusal"] == "no"


@pytest.mark.parametrize(
    "blocks",
    [(TEXT,), (THOUGHT, TEXT), (SECRET, THOUGHT, USE, IDLE), (TEXT, USE), (), (THOUGHT, SEARCH, FOUND, TEXT)],
    ids=lambda blocks: "+".join(block["type"] for block in blocks) or "nothing",
)
def test_a_stream_says_what_the_whole_does(blocks: tuple[dict[str, Any], ...]) -> None:
    made = message(*blocks)
    chunks = streamed(made)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"] == []
    whole = completion(made)
    assert chunks[-1]["usage"] == whole["usage"]
    said, expected = joined(chunks), whole["choices"][0]["message"]
    for name in ("reasoning_content", "thinking_blocks", "tool_calls"):
        assert orjson.dumps(said.get(name)).replace(b'\\": ', b'\\":').replace(b', \\"', b',\\"') == orjson.dumps(
            expected.get(name)
        )
    assert said["content"] == (expected["content"] or "")
    servers = [block for block in blocks if block["type"] in ("server_tool_use", "web_search_tool_result")]
    told = [
        each["delta"]["provider_blocks"]
        for chunk in chunks
        for each in chunk["choices"]
        if "provider_blocks" in each["delta"]
    ]
    assert [block for each in told for block in each["blocks"]] == servers


def test_json_by_a_tool_is_the_text() -> None:
    memo = Memo(1_700_000_000, ANSWER_TOOL)
    for wanted in ({"a": [1, "é"]}, {}):
        made = message({**USE, "name": ANSWER_TOOL, "input": wanted}, reason="tool_use")
        whole = completion(made, memo)["choices"][0]
        assert (orjson.loads(whole["message"]["content"]), whole["finish_reason"]) == (wanted, "stop")
        chunks = streamed(made, memo)
        assert orjson.loads(joined(chunks)["content"]) == wanted
        assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


def test_all_arguments_at_the_start_of_a_block() -> None:
    stream = translator().stream(MEMO)
    start = {"type": "content_block_start", "index": 0, "content_block": USE}
    for document in ({"type": "message_start", "message": message()}, start):
        stream.feed(b"data: " + orjson.dumps(document) + b"\n\n")
    (chunk,) = stream.feed(b'data: {"type":"content_block_stop","index":0}\n\n')
    assert orjson.loads(chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]) == USE["input"]


def test_what_is_not_known_yet_says_nothing() -> None:
    stream = translator().stream(MEMO)
    for event in (b'event: ping\ndata: {"type": "ping"}\n\n', b": comment\n\n", b'data: {"type":"new_event"}\n\n'):
        assert stream.feed(event) == []
    assert not stream.done


@pytest.mark.parametrize(
    "event", [b"data: {}\n\n", b"data: [1]\n\n", b'data: {"type":"content_block_stop","index":3}\n\n', b"data: {\n\n"]
)
def test_what_is_no_event_is_refused(event: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        translator().stream(MEMO).feed(event)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"content":"x"}', b"<html>"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        translator().response(body, MEMO)


@given(st.data())
def test_every_cut_of_the_bytes_says_the_same(data: st.DataObject) -> None:
    behaviour = MODELS[data.draw(st.sampled_from(["fake-chat", "crlf", "comments"]))]
    made = message(SECRET, THOUGHT, TEXT, USE, IDLE, reason="tool_use")
    whole = b"".join(events(behaviour, made))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=40)))
    frames, stream = translator().frames(), translator().stream(MEMO)
    chunks = []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        for event in frames.feed(whole[begin:end]):
            chunks += stream.feed(event)
    assert frames.end() == []
    assert chunks == streamed(made)


def test_a_last_event_without_its_blank_line() -> None:
    frames = translator().frames()
    assert frames.feed(b"data: 1\n\ndata: 2\n") == [b"data: 1\n\n"]
    assert frames.end() == [b"data: 2\n\n\n"]


def error(status: int, kind: str, text: str = "why") -> tuple[int, dict[str, Any]]:
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": text}, "request_id": "r"})
    told = translator().error(status, body)
    return told.status, told.envelope["error"]


@pytest.mark.parametrize(
    ("status", "kind", "meant", "type_"),
    [
        (400, "invalid_request_error", 400, "invalid_request_error"),
        (401, "authentication_error", 401, "authentication_error"),
        (402, "billing_error", 402, "insufficient_quota"),
        (403, "permission_error", 403, "permission_error"),
        (404, "not_found_error", 404, "invalid_request_error"),
        (413, "request_too_large", 413, "invalid_request_error"),
        (429, "rate_limit_error", 429, "rate_limit_error"),
        (500, "api_error", 500, "server_error"),
        (504, "timeout_error", 504, "timeout_error"),
        (529, "overloaded_error", 503, "service_unavailable_error"),
    ],
)
def test_errors(status: int, kind: str, meant: int, type_: str) -> None:
    assert error(status, kind) == (meant, {"message": "why", "type": type_, "param": None, "code": kind})


def test_errors_that_are_something_else() -> None:
    told = error(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")[1]
    assert told["code"] == "context_length_exceeded"
    assert error(422, "new_error")[1] == {
        "message": "why",
        "type": "invalid_request_error",
        "param": None,
        "code": "new_error",
    }
    page = translator().error(529, b"<html>busy</html>")
    assert (page.status, page.envelope["error"]["code"]) == (503, "upstream_error")
    assert "<html>busy" in page.envelope["error"]["message"]
    assert translator().error(500, b"[1]").status == 500


def test_an_error_within_a_stream() -> None:
    event = b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"slow"}}\n\n'
    (chunk,) = translator().stream(MEMO).feed(event)
    assert chunk == {"error": {"message": "slow", "type": "rate_limit_error", "param": None, "code": 429}}
