"""What clients carry for a vendor: through Messages and Responses, whole and streamed, and back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError
from gateway.plugin.sse import data_of, split_events
from gateway.protocols.messages import MESSAGES
from gateway.protocols.responses.protocol import RESPONSES
from gateway.protocols.sealed import carries, is_sealed, seal, unseal

SIGNED = {"google": {"thought_signature": "c2ln"}}
CALL: Any = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"a":1}'},
    "extra_content": SIGNED,
}
OTHER: Any = {**CALL, "id": "call_2"}
OTHER.pop("extra_content")
COMPLETION = {
    "id": "c1",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": "Hm", "tool_calls": [CALL, OTHER]},
        }
    ],
}


def chunks() -> list[dict[str, Any]]:
    """The same as a stream."""
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": "Hm"},
        {"tool_calls": [{"index": 0, **CALL}, {"index": 1, **OTHER}]},
    ]
    made = [{"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return [*made, {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}]


def documents(data: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(data_of(event) or b"null") for event in split_events(data)]


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.none()))
def test_what_is_sealed_comes_back(kept: dict[str, Any]) -> None:
    sealed = seal(kept)
    assert is_sealed(sealed)
    assert unseal(sealed) == kept
    with pytest.raises(ValueError, match="changed"):
        unseal(sealed + "-")


def of_messages(stream: bool) -> list[Any]:
    if not stream:
        content: list[Any] = MESSAGES.response(COMPLETION, None)["content"]
        return content
    encoder = MESSAGES.stream(None)
    events = documents(b"".join(encoder.feed(chunk) for chunk in chunks()) + encoder.end())
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    for event in events:
        delta = event.get("delta", {})
        if delta.get("type") == "input_json_delta":
            blocks[event["index"]]["input"] = orjson.loads(delta["partial_json"])
        elif delta.get("type") == "text_delta":
            blocks[event["index"]]["text"] += delta["text"]
    return blocks


@pytest.mark.parametrize("stream", [False, True])
def test_messages_carry_what_is_signed_of_calls(stream: bool) -> None:
    content = of_messages(stream)
    assert [block["type"] for block in content if block["type"] != "redacted_thinking"] == [
        "text",
        "tool_use",
        "tool_use",
    ]
    results = [{"type": "tool_result", "tool_use_id": f"call_{n}", "content": "x"} for n in (1, 2)]
    turns = [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    chat = MESSAGES.request({"model": "m", "max_tokens": 9, "messages": turns}).chat
    said = chat["messages"][0]
    assert [call.get("extra_content") for call in said["tool_calls"]] == [SIGNED, None]
    assert said.keys() == {"role", "content", "tool_calls"}


def of_responses(stream: bool) -> list[Any]:
    memo = RESPONSES.request({"model": "m", "input": "x", "stream": stream}).memo
    if not stream:
        output: list[Any] = RESPONSES.response(COMPLETION, memo)["output"]
        return output
    encoder = RESPONSES.stream(memo)
    events = documents(b"".join(encoder.feed(chunk) for chunk in chunks()) + encoder.end())
    output = events[-1]["response"]["output"]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == output
    return output


@pytest.mark.parametrize("stream", [False, True])
def test_responses_carry_what_is_signed_of_calls(stream: bool) -> None:
    output = of_responses(stream)
    results = [{"type": "function_call_output", "call_id": f"call_{n}", "output": "x"} for n in (1, 2)]
    said = RESPONSES.request({"model": "m", "input": [*output, *results]}).chat["messages"][0]
    assert [call.get("extra_content") for call in said["tool_calls"]] == [SIGNED, None]
    assert said.keys() == {"role", "content", "tool_calls"}


def test_a_changed_one_is_refused_by_name() -> None:
    block = {"type": "redacted_thinking", "data": seal({"calls": {}}) + "-"}
    turns: Any = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [block]}]
    with pytest.raises(GatewayError, match=r"messages\.1\.content\.data"):
        MESSAGES.request({"model": "m", "max_tokens": 9, "messages": turns})


@pytest.mark.parametrize(
    ("raw", "is_so"),
    [
        (orjson.dumps({"data": seal({})}), True),
        (b'{"thinking":"x","signature":""}', True),
        (b'{"thinking":"x","signature" : ""}', True),
        (b'{"thinking":"x","signature":"EqoB"}', False),
        (b'{"text":"a gw1. and a signature"}', False),
    ],
)
def test_what_only_another_vendor_reads_is_seen(raw: bytes, is_so: bool) -> None:
    assert carries(raw) is is_so
