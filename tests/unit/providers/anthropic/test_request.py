"""Chat requests as Messages requests (API reference, "Messages")."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.kernel.errors import GatewayError
from gateway.providers.anthropic import translator
from gateway.providers.base import Call, Question, Unsupported, Upstream, refuse_dropped

NEW, MIDDLE, OLD = "claude-opus-4-8", "claude-sonnet-4-5-20250929", "claude-3-5-haiku-20241022"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
FUNCTION = {"name": "f", "description": "does f", "parameters": {"type": "object", "properties": {}}, "strict": True}
TOOL: dict[str, Any] = {"type": "function", "function": FUNCTION}


def call(model: str = MIDDLE, *, api_key: str | None = "sk", limit: int | None = None, **chat: Any) -> Call:
    chat = {"model": "asked", "messages": HELLO, **chat}
    before = orjson.dumps(chat)
    made = translator().request(Question(chat, Upstream(model, "", api_key, limit), now=1_700_000_000.5))
    assert orjson.dumps(chat) == before, "the request was changed"
    return made


def body(model: str = MIDDLE, **chat: Any) -> dict[str, Any]:
    made = call(model, **chat)
    assert made.dropped == ()
    found: dict[str, Any] = orjson.loads(made.body)
    return found


def test_the_least() -> None:
    made = call()
    assert made.path == "/messages"
    assert dict(made.headers) == {"anthropic-version": "2023-06-01", "x-api-key": "sk"}
    assert orjson.loads(made.body) == {"model": MIDDLE, "max_tokens": 64_000, "messages": HELLO}
    assert dict(call(api_key=None).headers) == {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-5-sonnet-latest", 8_192),
        ("claude-3-7-sonnet-20250219", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-haiku-4-5", 64_000),
        ("claude-opus-4.6", 128_000),
        ("us.anthropic.claude-sonnet-5-v1:0", 128_000),
        ("an-alias", 128_000),
    ],
)
def test_the_models_limit_is_what_is_asked_for_by_default(model: str, most: int) -> None:
    assert body(model)["max_tokens"] == most
    assert body(model, limit=777)["max_tokens"] == 777
    assert body(model, max_tokens=5, limit=777)["max_tokens"] == 5
    assert body(model, max_completion_tokens=6)["max_tokens"] == 6


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
        ({"temperature": 1, "top_p": 1.0}, {}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "metadata": {"user_id": "v", "run": "7"}}, {"metadata": {"user_id": "v"}}),
        ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
        ({"provider_options": {"anthropic": {"container": "c"}}}, {"container": "c"}),
        (
            {"n": 1, "logprobs": False, "logit_bias": {}, "seed": None, "modalities": ["text"], "store": False},
            {},
        ),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, {}),
    ],
)
def test_fields(chat: dict[str, Any], expected: dict[str, Any]) -> None:
    assert body(**chat) == {"model": MIDDLE, "max_tokens": 64_000, "messages": HELLO, **expected}


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        ({}, {}),
        ({"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
        ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"tool_choice": {"type": "none"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "tool", "name": "f"}},
        ),
        ({"parallel_tool_calls": False}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ],
)
def test_tools(chat: dict[str, Any], expected: dict[str, Any]) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    bare = {"type": "function", "function": {"name": "g"}, "cache_control": {"type": "ephemeral"}}
    own = {"type": "function", "function": {"name": "h"}, "provider_options": {"anthropic": {"defer_loading": True}}}
    made = body(tools=[TOOL, bare, own, {"type": "server", "vendor": "anthropic", "tool": search}], **chat)
    empty = {"type": "object", "properties": {}}
    assert made["tools"] == [
        {"name": "f", "description": "does f", "input_schema": empty, "strict": True},
        {"name": "g", "input_schema": empty, "cache_control": {"type": "ephemeral"}},
        {"name": "h", "input_schema": empty, "defer_loading": True},
        search,
    ]
    assert {name: made[name] for name in ("tool_choice",) if name in made} == expected


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WANTED = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}


def test_structured_output() -> None:
    assert body(response_format={"type": "text"}).keys() == {"model", "max_tokens", "messages"}
    assert body(response_format=WANTED)["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert "tool_choice" not in body(response_format=WANTED, tools=[TOOL])
    for model, wanted, schema in ((OLD, WANTED, SCHEMA), (MIDDLE, {"type": "json_object"}, None)):
        made = body(model, response_format=wanted)
        assert made["tool_choice"] == {"type": "tool", "name": "structured_answer", "disable_parallel_tool_use": True}
        assert schema is None or made["tools"][0]["input_schema"] == schema
    assert call(OLD, response_format=WANTED, tools=[TOOL]).dropped == ("response_format",)
    assert call(reasoning_effort="low", response_format={"type": "json_object"}).dropped == ("response_format",)


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        (MIDDLE, "low", {"thinking": {"type": "enabled", "budget_tokens": 2_048}}),
        (MIDDLE, "high", {"thinking": {"type": "enabled", "budget_tokens": 24_576}}),
        (MIDDLE, "none", {}),
        (NEW, "minimal", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        (NEW, "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
        (NEW, "none", {"thinking": {"type": "disabled"}}),
        (OLD, "none", {}),
    ],
)
def test_effort(model: str, effort: str, expected: dict[str, Any]) -> None:
    made = body(model, reasoning_effort=effort)
    assert {name: made[name] for name in ("thinking", "output_config") if name in made} == expected


def test_thinking_as_it_is_told_goes_before_the_effort() -> None:
    thinking = {"type": "enabled", "budget_tokens": 5_000, "display": "omitted"}
    assert body(thinking=thinking, reasoning_effort="low")["thinking"] == thinking
    made = body(NEW, thinking={"type": "adaptive"}, reasoning_effort="max", response_format=WANTED)
    assert made["output_config"] == {"effort": "max", "format": {"type": "json_schema", "schema": SCHEMA}}


def test_a_budget_stays_below_the_limit_or_is_not_set() -> None:
    assert body(max_tokens=2_000, reasoning_effort="high")["thinking"]["budget_tokens"] == 1_999
    assert call(max_tokens=1_024, reasoning_effort="high").dropped == ("reasoning_effort",)
    assert call(OLD, reasoning_effort="high").dropped == ("reasoning_effort",)
    assert call(reasoning_effort="high", tools=[TOOL], tool_choice="required").dropped == ("reasoning_effort",)
    assert call(reasoning_effort="high", temperature=0.2).dropped == ("temperature",)


def test_a_turn_begun_without_thoughts_is_finished_without() -> None:
    asked = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [asked]}
    result = {"role": "tool", "tool_call_id": "c", "content": "1"}
    assert "thinking" not in body(messages=[*HELLO, turn, result], reasoning_effort="low")
    thought = {**turn, "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]}
    assert "thinking" in body(messages=[*HELLO, thought, result], reasoning_effort="low")
    over = [*HELLO, turn, result, {"role": "assistant", "content": "one"}, *HELLO]
    assert "thinking" in body(messages=over, reasoning_effort="low")


@pytest.mark.parametrize(
    ("chat", "names"),
    [
        ({"n": 2}, ("n",)),
        ({"seed": 1, "logprobs": True, "top_logprobs": 2}, ("seed", "logprobs", "top_logprobs")),
        ({"temperature": 1.7}, ("temperature",)),
        ({"service_tier": "flex"}, ("service_tier",)),
        ({"store": True}, ("store",)),
        ({"web_search_options": {}}, ("web_search_options",)),
        ({"provider_options": {"google": {"x": 1}}}, ("provider_options.google",)),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, ("tools.custom",)),
        ({"tools": [{"type": "server", "vendor": "openai", "tool": {}}]}, ("tools.openai",)),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, ("tool_choice",)),
        ({"functions": [FUNCTION]}, ("functions",)),
        (
            {"messages": [*HELLO, {"role": "function", "name": "f", "content": "1"}]},
            ("messages.name", "messages.role.function"),
        ),
        ({"messages": [{"role": "user", "name": "ann", "content": "x"}]}, ("messages.name",)),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            ("messages.content.input_audio",),
        ),
        ({"something_new": 1}, ("something_new",)),
    ],
)
def test_what_it_cannot_say_is_named(chat: dict[str, Any], names: tuple[str, ...]) -> None:
    assert call(**chat).dropped == names


def test_newer_models_do_not_sample() -> None:
    assert call(NEW, temperature=0.2, top_p=0.5, top_k=3).dropped == ("temperature", "top_p", "top_k")
    assert call(NEW, temperature=1).dropped == ()


def test_what_may_be_dropped() -> None:
    refuse_dropped(("n", "tools.custom"), ("n", "tools"), "p/m")
    refuse_dropped(("n", "seed"), ("*",), "p/m")
    refuse_dropped((), (), "p/m")
    with pytest.raises(Unsupported) as raised:
        refuse_dropped(("n", "seed"), ("n",), "p/m")
    assert (raised.value.field, raised.value.code) == ("seed", "unsupported_parameter")
    with pytest.raises(Unsupported):
        refuse_dropped(("toolsmith",), ("tools",), "p/m")


def test_a_conversation() -> None:
    def use(id: str) -> dict[str, Any]:
        return {"id": id, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}

    made = body(
        messages=[
            {"role": "system", "content": "One."},
            {
                "role": "developer",
                "content": [{"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}}],
            },
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "calling", "tool_calls": [use("a"), use("b")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}], "is_error": True},
            {"role": "user", "content": "go on"},
            {"role": "user", "content": "please"},
            {"role": "system", "content": "Late."},
            {"role": "assistant", "content": "", "refusal": "no"},
        ]
    )
    assert made["system"] == [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Late."},
    ]
    used = {"type": "tool_use", "name": "f", "input": {"a": 1}}
    assert made["messages"] == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "calling"}, {**used, "id": "a"}, {**used, "id": "b"}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [{"type": "text", "text": "2"}],
                    "is_error": True,
                },
                {"type": "text", "text": "go on"},
                {"type": "text", "text": "please"},
            ],
        },
        {"role": "assistant", "content": "no"},
    ]


def test_a_late_system_message_stays_for_models_that_take_it_there() -> None:
    messages = [*HELLO, {"role": "system", "content": "now"}, {"role": "assistant", "content": "x"}]
    assert body(NEW, messages=messages)["messages"][1] == {"role": "system", "content": "now"}
    after = [*HELLO, {"role": "assistant", "content": "x"}, {"role": "system", "content": "now"}, *HELLO]
    assert body(NEW, messages=after)["system"] == "now"  # only after the user's turn


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://e.x/a.png", "detail": "high"}},
            {"type": "image", "source": {"type": "url", "url": "https://e.x/a.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"file_id": "f"}},
            {"type": "image", "source": {"type": "file", "file_id": "f"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,aGk="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        ),
        (
            {
                "type": "file",
                "file": {"text": "t", "context": "c", "citations": {"enabled": True}},
                "cache_control": {"type": "ephemeral"},
            },
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "t"},
                "context": "c",
                "citations": {"enabled": True},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "file", "file": {"file_url": "https://e.x/a.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "https://e.x/a.pdf"}},
        ),
        ({"type": "file", "file": {"file_id": "f"}}, {"type": "document", "source": {"type": "file", "file_id": "f"}}),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": []},
            {"type": "search_result", "source": "s", "title": "t", "content": []},
        ),
        (
            {"type": "provider_block", "vendor": "anthropic", "block": {"type": "container_upload", "file_id": "f"}},
            {"type": "container_upload", "file_id": "f"},
        ),
    ],
)
def test_parts(part: dict[str, Any], block: dict[str, Any]) -> None:
    made = body(messages=[{"role": "user", "content": [part, {"type": "text", "text": ""}]}])
    assert made["messages"] == [{"role": "user", "content": [block]}]


def test_an_earlier_answer_goes_back_as_it_was_signed() -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    said = {"role": "assistant", "content": "x", "reasoning_content": "t", "thinking_blocks": [thought]}
    assert body(messages=[*HELLO, said])["messages"][1]["content"] == [thought, {"type": "text", "text": "x"}]
    blocks = [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"type": "text", "text": "x"}]
    own = {**said, "provider_blocks": {"vendor": "anthropic", "blocks": blocks}}
    assert body(messages=[*HELLO, own])["messages"][1]["content"] == blocks
    other = {**said, "provider_blocks": {"vendor": "google", "blocks": [{}]}}
    assert body(messages=[*HELLO, other])["messages"][1]["content"][0] == thought


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("text", "messages[0]"),
        ({"role": "user", "content": 7}, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content[0].image_url"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,xx"}}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,?"}}]},
            "messages[0].content[0].file.file_data",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[1"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_is_no_message_is_told(message: Any, field: str) -> None:
    with pytest.raises(GatewayError) as raised:
        call(messages=[message])
    assert raised.value.field == field


def test_thoughts_that_nobody_signed_stay_out() -> None:
    signed = {"type": "thinking", "thinking": "b", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "d"}
    blocks = [{"type": "thinking", "thinking": "a", "signature": ""}, {**signed, "index": 1}, hidden]
    said = {"role": "assistant", "content": "x", "thinking_blocks": blocks}
    assert body(messages=[*HELLO, said, *HELLO])["messages"][1]["content"] == [
        signed,
        hidden,
        {"type": "text", "text": "x"},
    ]
