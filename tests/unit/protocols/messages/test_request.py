"""Messages requests in the internal form (API reference, "Messages")."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.kernel.errors import GatewayError
from gateway.protocols.messages import COUNT_TOKENS, MESSAGES

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
EPHEMERAL = {"type": "ephemeral", "ttl": "1h"}


def chat(**body: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 9, "messages": HELLO, **body}
    before = orjson.dumps(body)
    made = MESSAGES.request(body).chat
    assert orjson.dumps(body) == before, "the request was changed"
    return made


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {}),
        ({"stream": True}, {"stream": True}),
        ({"stream": False}, {}),
        ({"stop_sequences": ["a"]}, {"stop": ["a"]}),
        ({"temperature": 0.0, "top_p": 0.5, "top_k": 3}, {"temperature": 0.0, "top_p": 0.5, "top_k": 3}),
        ({"metadata": {"user_id": "u"}}, {"metadata": {"user_id": "u"}}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"cache_control": EPHEMERAL}, {"cache_control": EPHEMERAL}),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        (
            {"output_config": {"task_budget": {"total": 1}}},
            {"provider_options": {"anthropic": {"output_config": {"task_budget": {"total": 1}}}}},
        ),
        ({"container": "c"}, {"provider_options": {"anthropic": {"container": "c"}}}),
        (
            {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
            {"tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"tool_choice": {"type": "tool", "name": "f"}},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
    ],
)
def test_fields(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert chat(**body) == {"model": "m", "messages": HELLO, "max_completion_tokens": 9, **expected}


def test_tools() -> None:
    schema = {"type": "object"}
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    made = chat(
        tools=[
            {"name": "f", "description": "d", "input_schema": schema, "strict": True, "cache_control": EPHEMERAL},
            {"type": "custom", "name": "g", "input_schema": schema, "defer_loading": True},
            search,
        ]
    )
    assert made["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "parameters": schema, "description": "d", "strict": True},
            "cache_control": EPHEMERAL,
        },
        {
            "type": "function",
            "function": {"name": "g", "parameters": schema},
            "provider_options": {"anthropic": {"defer_loading": True}},
        },
        {"type": "server", "vendor": "anthropic", "tool": search},
    ]


def test_a_conversation() -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": EPHEMERAL}]},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "so"}, use]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "here"},
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "1"}],
                    "is_error": True,
                },
            ],
        },
        {"role": "system", "content": "late"},
        {"role": "assistant", "content": "done"},
    ]
    assert chat(system="be brief", messages=messages)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": EPHEMERAL}]},
        {
            "role": "assistant",
            "content": "so",
            "reasoning_content": "t",
            "thinking_blocks": [thought],
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1", "is_error": True},
        {"role": "user", "content": "here"},
        {"role": "system", "content": "late"},
        {"role": "assistant", "content": "done"},
    ]


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"type": "text", "text": "x"}],
        [{"type": "text", "text": "x", "citations": [{"type": "char_location"}]}],
        [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}],
        [{"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "direct"}}],
    ],
)
def test_what_chat_cannot_say_is_kept_as_it_was(blocks: list[Any]) -> None:
    said = chat(messages=[*HELLO, {"role": "assistant", "content": blocks}])["messages"][1]
    assert said["provider_blocks"] == {"vendor": "anthropic", "blocks": blocks}


def test_documents_made_of_blocks_and_unknown_blocks_are_anthropics_own() -> None:
    blocks = [
        {"type": "document", "source": {"type": "content", "content": "x"}},
        {"type": "container_upload", "file_id": "f"},
    ]
    content = chat(messages=[{"role": "user", "content": blocks}])["messages"][0]["content"]
    assert content == [{"type": "provider_block", "vendor": "anthropic", "block": block} for block in blocks]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["x"]}, "messages.0"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages.0.content.0.source"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": "x"}]}]},
            "messages.0.content.input",
        ),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": ["x"]}, "tools.0"),
        ({"tool_choice": "auto"}, "tool_choice.type"),
        ({"thinking": "yes"}, "thinking"),
        ({"output_config": "x"}, "output_config"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"service_tier": "gold"}, "service_tier"),
    ],
)
def test_faults_name_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(GatewayError) as raised:
        chat(**body)
    assert raised.value.field == field


def test_counting_needs_no_limit() -> None:
    assert COUNT_TOKENS.request({"model": "m", "messages": HELLO}).chat["messages"] == HELLO
