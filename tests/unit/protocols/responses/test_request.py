"""Requests of the Responses API become requests of Chat Completions."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.kernel.errors import GatewayError, Kind
from gateway.protocols.responses.protocol import protocol
from gateway.providers import registry
from gateway.providers.base import Question, Upstream

Json = dict[str, Any]


def chat(**body: Any) -> Json:
    """The Chat request that a body makes."""
    return protocol().request({"model": "m", **body}).chat


def refused(**body: Any) -> GatewayError:
    """The refusal of a body."""
    with pytest.raises(GatewayError) as raised:
        chat(**body)
    assert raised.value.kind is Kind.INVALID
    return raised.value


def test_a_plain_text_is_a_user_message() -> None:
    assert chat(input="Hello") == {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def test_the_body_is_not_changed() -> None:
    body: Json = {
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    }
    before = repr(body)
    protocol().request(body)
    assert repr(body) == before


def test_gatewayz_example_is_understood() -> None:
    made = chat(input="Hello, world!", max_tokens=100, temperature=0.7, response_format={"type": "json_object"})
    assert made == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello, world!"}],
        "temperature": 0.7,
        "max_tokens": 100,
        "response_format": {"type": "json_object"},
    }


def test_instructions_come_first_and_developers_are_the_system() -> None:
    made = chat(
        instructions="Be brief.",
        input=[{"role": "developer", "content": "In French."}, {"type": "message", "role": "user", "content": "Hi"}],
    )
    assert made["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "In French."},
        {"role": "user", "content": "Hi"},
    ]


def test_parts_of_a_message() -> None:
    made = chat(
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What?"},
                    {"type": "input_image", "image_url": "https://a/b.png", "detail": "low"},
                    {"type": "input_image", "file_id": "file-2"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
                    {"type": "input_file", "file_url": "https://a/b.pdf"},
                    {"type": "input_file", "file_id": "file-1"},
                    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                ],
            }
        ]
    )
    assert made["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"file_id": "file-2"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_url": "https://a/b.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]


@pytest.mark.parametrize(("ttl", "kept"), [({}, {}), ({"ttl": "30m"}, {"ttl": "1h"})])
def test_a_breakpoint_of_the_prompt_cache(ttl: Json, kept: Json) -> None:
    part = {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", **ttl}}
    made = chat(input=[{"role": "user", "content": [part]}])
    assert made["messages"][0]["content"] == [
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", **kept}}
    ]


def test_a_turn_of_an_assistant_is_one_message() -> None:
    made = chat(
        input=[
            {"role": "user", "content": "Weather in Oslo and Rome?"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Two cities."}]},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
            },
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "w", "arguments": '{"c":"Oslo"}'},
            {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "w", "arguments": '{"c":"Rome"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "cold"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "warm"}]},
            {"role": "assistant", "content": "Oslo cold, Rome warm."},
        ]
    )
    assert made["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Two cities.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"c":"Oslo"}'}},
                {"id": "c2", "type": "function", "function": {"name": "w", "arguments": '{"c":"Rome"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "cold"},
        {"role": "tool", "tool_call_id": "c2", "content": "warm"},
        {"role": "assistant", "content": "Oslo cold, Rome warm."},
    ]


def test_text_after_a_tool_call_stays_before_its_output() -> None:
    made = chat(
        input=[
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"role": "assistant", "content": "One moment."},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ]
    )
    assert [message["role"] for message in made["messages"]] == ["assistant", "tool"]
    assert made["messages"][0]["content"] == "One moment."


def test_two_messages_of_an_assistant_stay_two() -> None:
    made = chat(input=[{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}])
    assert [message["content"] for message in made["messages"]] == ["a", "b"]


def test_a_refusal_and_an_empty_message() -> None:
    said = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert chat(input=[said])["messages"] == [{"role": "assistant", "content": None, "refusal": "No."}]
    assert chat(input=[{"role": "assistant", "content": []}])["messages"] == [{"role": "assistant", "content": ""}]


def test_thoughts_without_an_answer_say_nothing() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert chat(input=[thought, {"role": "user", "content": "x"}])["messages"] == [{"role": "user", "content": "x"}]


def test_custom_tools_are_called_with_text() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    made = chat(
        input=[
            {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
        ],
        tools=[{"type": "custom", "name": "patch", "description": "d", "format": grammar}],
    )
    assert made["messages"][0]["tool_calls"] == [
        {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    ]
    told = {"type": "grammar", "grammar": {"definition": "start: /a/", "syntax": "lark"}}
    assert made["tools"] == [{"type": "custom", "custom": {"name": "patch", "description": "d", "format": told}}]


def test_functions_are_nested() -> None:
    schema = {"type": "object", "properties": {}}
    flat = {"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": False}
    nested = {"type": "function", "function": {"name": "g", "parameters": schema}}
    made = chat(input="x", tools=[flat, nested], tool_choice="required", parallel_tool_calls=False)
    assert made["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": False}},
        {"type": "function", "function": {"name": "g", "parameters": schema}},
    ]
    assert made["tool_choice"] == "required"
    assert made["parallel_tool_calls"] is False


_TWO = [{"type": "function", "name": "f", "parameters": {}}, {"type": "function", "name": "g", "parameters": {}}]


@pytest.mark.parametrize(
    ("choice", "told", "left"),
    [
        ("auto", "auto", ["f", "g"]),
        ("none", "none", ["f", "g"]),
        ({"type": "function", "name": "g"}, {"type": "function", "function": {"name": "g"}}, ["f", "g"]),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
            "required",
            ["g"],
        ),
    ],
)
def test_the_choice_among_tools(choice: Any, told: Any, left: list[str]) -> None:
    made = chat(input="x", tools=_TWO, tool_choice=choice)
    assert made["tool_choice"] == told
    assert [tool["function"]["name"] for tool in made["tools"]] == left


def test_a_choice_among_no_tools_is_left_out() -> None:
    assert chat(input="x", tools=[], tool_choice="auto", parallel_tool_calls=True).keys() == {"model", "messages"}
    assert refused(input="x", tool_choice="required").field == "tool_choice"


def test_the_format_of_the_text() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    flat = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    told = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    assert chat(input="x", text={"format": flat, "verbosity": "low"}) == chat(input="x") | {
        "response_format": told,
        "verbosity": "low",
    }
    assert chat(input="x", response_format=told)["response_format"] == told
    assert "response_format" not in chat(input="x", text={"format": {"type": "text"}})


def test_the_rest_of_the_parameters() -> None:
    made = chat(
        input="x",
        max_output_tokens=50,
        reasoning={"effort": "high", "summary": "auto"},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=3,
        user="u",
        safety_identifier="s",
        prompt_cache_key="k",
        service_tier="flex",
        truncation="disabled",
        max_tool_calls=4,
        metadata={"a": "b"},
        store=False,
        stream=True,
        top_p=0.5,
        seed=7,
    )
    made.pop("messages")
    assert made == {
        "model": "m",
        "stream": True,
        "max_completion_tokens": 50,
        "reasoning_effort": "high",
        "logprobs": True,
        "top_logprobs": 3,
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "service_tier": "flex",
        "top_p": 0.5,
        "seed": 7,
    }


_USER = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": "x", "temprature": 1}, "temprature"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
        ({"input": [{"id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
        ({"input": "x", "instructions": 3}, "instructions"),
        ({"input": "x", "tools": {}}, "tools"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tools": [{"type": "hammer"}]}, "tools[0].type"),
        ({"input": "x", "tools": _TWO, "tool_choice": "any"}, "tool_choice"),
        ({"input": "x", "tools": _TWO, "tool_choice": {"type": "function", "name": "h"}}, "tool_choice.name"),
        ({"input": "x", "tools": _TWO, "tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"input": "x", "tools": _TWO, "parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        (
            {"input": "x", "text": {"format": {"type": "json_object"}}, "response_format": {"type": "json_object"}},
            "response_format",
        ),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "max_output_tokens": True}, "max_output_tokens"),
        ({"input": "x", "max_output_tokens": 5, "max_tokens": 5}, "max_tokens"),
        ({"input": "x", "truncation": "middle"}, "truncation"),
        ({"input": "x", "include": ["everything"]}, "include[0]"),
        ({"input": "x", "reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"input": "x", "reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"input": "x", "top_logprobs": 21}, "top_logprobs"),
        ({"input": "x", "store": "no"}, "store"),
        ({"input": "x", "store": False, "background": True}, "store"),
        ({"input": "x", "previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
        ({"input": "x", "conversation": {}}, "conversation.id"),
        ({"input": "x", "metadata": {"a": 1}}, "metadata.a"),
        ({"input": "x", "metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"input": "x", "prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": "x", "context_management": [{"type": "compaction"}]}, "context_management"),
        ({"input": "x", "stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation"),
    ],
)
def test_what_is_refused_is_named(body: Json, field: str) -> None:
    error = refused(**body)
    assert error.field == field
    assert error.message.endswith(".")


def test_items_of_stored_responses_come_before() -> None:
    before: list[Json] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "1"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    body = {
        "model": "m",
        "previous_response_id": "resp_1",
        "instructions": "New.",
        "input": [{"type": "function_call_output", "call_id": "c", "output": "x"}],
    }
    made = protocol().request(body, before).chat
    assert [message["role"] for message in made["messages"]] == ["system", "user", "assistant", "tool"]
    with pytest.raises(GatewayError) as raised:
        protocol().request(body | {"input": [{"type": "function_call_output", "call_id": "d", "output": "x"}]}, before)
    assert raised.value.field == "input"
    with pytest.raises(GatewayError) as raised:
        protocol().request(body | {"input": [{"role": "user"}]}, before)
    assert raised.value.field == "input[0].content"


def test_built_in_tools_are_told_to_whoever_translates_on() -> None:
    tools = [{"type": "web_search", "search_context_size": "low"}, {"type": "function", "name": "f"}]
    made = chat(input="x", tools=tools)
    assert made["tools"][0] == {"type": "web_search", "web_search": {"search_context_size": "low"}}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}
    assert chat(input="x", tools=tools, tool_choice=allowed)["tools"] == made["tools"][:1]


@pytest.mark.parametrize("kind", ["anthropic", "gemini", "bedrock", "cohere", "mistral"])
def test_built_in_tools_are_dropped_by_name_everywhere(kind: str) -> None:
    made = chat(input="x", tools=[{"type": "web_search"}], tool_choice="auto")
    translator = registry.translator_for(kind)
    assert translator is not None
    call = translator.request(Question(made, Upstream("m", "https://example.com")))
    assert call.dropped == ("tools.web_search",)
    assert b"tool" not in call.body.lower()
