"""A chat completion becomes a Response."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from gateway.kernel.errors import GatewayError
from gateway.protocols.responses import thoughts
from gateway.protocols.responses.protocol import protocol
from gateway.protocols.responses.response import response_id_of

Json = dict[str, Any]


def answered(message: Json, reason: str = "stop", more: Json | None = None, **body: Any) -> Json:
    """The Response that a message makes, which the official client's types must allow."""
    api = protocol()
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason, **(more or {})}
    completion = {"id": "c", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice]}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    made = api.response(completion | {"usage": usage}, api.request({"model": "m", "input": "x", **body}).memo)
    Response.model_validate(made, strict=True)
    return made


def test_a_text() -> None:
    made = answered({"content": "Hello"}, metadata={"a": "b"}, instructions="I", temperature=0.5, user="u")
    assert made["object"] == "response"
    assert made["status"] == "completed"
    assert made["id"].startswith("resp_")
    assert made["model"] == "m-1"
    assert made["output"] == [
        {
            "id": made["output"][0]["id"],
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}],
        }
    ]
    assert response_id_of(made["output"][0]["id"]) == made["id"]
    shown = {name: made[name] for name in ("metadata", "instructions", "temperature", "user", "store", "tool_choice")}
    assert shown == {
        "metadata": {"a": "b"},
        "instructions": "I",
        "temperature": 0.5,
        "user": "u",
        "store": True,
        "tool_choice": "auto",
    }


def test_what_gatewayz_documents_stands_beside() -> None:
    made = answered({"content": "Hello"})
    assert made["output_text"] == "Hello"
    assert made["created"] == made["created_at"]
    assert {name: made["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")} == {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
    }


def test_thoughts_text_and_calls() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "t"}},
    ]
    made = answered(
        {"reasoning_content": "Hm", "content": "Look", "refusal": "no", "tool_calls": calls}, reason="tool_calls"
    )
    assert [item["type"] for item in made["output"]] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert made["output"][0]["content"] == [{"type": "reasoning_text", "text": "Hm"}]
    assert [part["type"] for part in made["output"][1]["content"]] == ["output_text", "refusal"]
    assert (made["output"][2]["call_id"], made["output"][3]["input"]) == ("a", "t")
    assert len({item["id"] for item in made["output"]}) == 4


def test_a_summary_where_one_was_asked_for() -> None:
    (item, _) = answered({"reasoning": "Hm", "content": "x"}, reasoning={"summary": "auto"})["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "Hm"}]


def test_an_answer_that_is_cut_off() -> None:
    made = answered({"content": "x"}, "length", max_output_tokens=3)
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert made["max_output_tokens"] == 3
    assert made["output"][0]["status"] == "incomplete"


def test_an_older_function_call() -> None:
    (item,) = answered({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call")["output"]
    assert (item["name"], item["type"]) == ("f", "function_call")


def test_the_format_is_shown_flat() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    made = answered({"content": "{}"}, response_format=form)
    assert made["text"] == {"format": {"type": "json_schema", "name": "n", "schema": schema}}


def test_errors_name_the_clients_own_parameters() -> None:
    api = protocol()

    def named(param: str | None) -> Any:
        return api.error(400, {"error": {"message": "m", "type": "t", "param": param, "code": None}}, "r")["error"][
            "param"
        ]

    assert named("messages.[0].content") == "input"
    assert named("max_completion_tokens") == "max_output_tokens"
    assert named("temperature") == "temperature"
    assert named(None) is None


@given(st.text(alphabet=string.printable, max_size=40))
def test_sealed_thoughts_of_others_are_left_and_damaged_ones_refused(text: str) -> None:
    if text.startswith("gw1."):
        return
    assert thoughts.unseal(text, "w") == {}
    with pytest.raises(GatewayError) as raised:
        thoughts.unseal(f"gw1.!{text}", "input[0].encrypted_content")
    assert raised.value.field == "input[0].encrypted_content"


_MESSAGE = st.fixed_dictionaries(
    {"content": st.text(min_size=1)},
    optional={
        "reasoning_content": st.text(min_size=1),
        "refusal": st.text(min_size=1),
        "thinking_blocks": st.lists(
            st.fixed_dictionaries({"type": st.just("thinking"), "thinking": st.text(), "signature": st.text()}),
            min_size=1,
            max_size=3,
        ),
        "tool_calls": st.integers(1, 3).map(
            lambda n: [
                {"id": f"c{i}", "type": "function", "function": {"name": f"f{i}", "arguments": "{}"}} for i in range(n)
            ]
        ),
    },
)


@given(_MESSAGE, st.sampled_from([None, "auto"]))
def test_a_message_comes_back_as_it_was(message: Json, summary: str | None) -> None:
    output = answered(message, reasoning={"summary": summary})["output"]
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "r"}
        for item in output
        if item["type"] == "function_call"
    ]
    body = {"model": "m", "input": [{"role": "user", "content": "x"}, *output, *results]}
    assert protocol().request(body).chat["messages"][1] == {"role": "assistant", **message}
