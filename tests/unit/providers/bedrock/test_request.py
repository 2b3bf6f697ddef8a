"""Requests of the internal form as Converse takes them, held against botocore's shapes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.kernel.errors import GatewayError
from gateway.providers.base import Call, Question, Upstream
from gateway.providers.bedrock import Bedrock
from gateway.providers.bedrock.messages import tool_id
from gateway.providers.bedrock.sigv4 import Signer
from tests.unit.providers.bedrock.shapes import check

PNG = "iVBORw0KGgo="
HELLO = [{"role": "user", "content": "Hi"}]
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
BASE = "https://bedrock-runtime.eu-central-1.amazonaws.com"
KEYS = {"access_key_id": "AKID", "secret_access_key": "secret"}


def asked(model: str = CLAUDE, upstream: dict[str, Any] | None = None, **chat: Any) -> Call:
    chat.setdefault("messages", HELLO)
    target = Upstream(model, **{"base_url": BASE, "options": KEYS, **(upstream or {})})
    return Bedrock().request(Question({"model": "m", **chat}, target, now=1_700_000_000.0))


def body(**chat: Any) -> dict[str, Any]:
    call = asked(**chat)
    assert call.dropped == ()
    made: dict[str, Any] = orjson.loads(call.body)
    check("ConverseRequest", made)
    return made


def test_a_plain_question() -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    call = asked(messages=messages, temperature=0.5, max_tokens=20, top_p=0.9, stop="END")

    assert call.path == "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/converse"
    assert orjson.loads(call.body) == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 20, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
    }


def test_the_call_is_signed_for_the_region_of_the_url() -> None:
    call = asked(upstream={"base_url": BASE + "/prefix", "options": {**KEYS, "session_token": "T"}}, stream=True)

    host = {"host": "bedrock-runtime.eu-central-1.amazonaws.com"}
    signer = Signer("AKID", "secret", "eu-central-1", session_token="T")
    assert call.path.endswith("/converse-stream")
    assert list(call.headers) == signer.sign("POST", "/prefix" + call.path, host, call.body, 1_700_000_000.0)


def test_a_port_that_is_not_the_schemes_is_signed_too() -> None:
    options = {**KEYS, "region": "us-east-1"}
    call = asked(upstream={"base_url": "http://127.0.0.1:8080", "options": options})

    signer = Signer("AKID", "secret", "us-east-1")
    assert list(call.headers) == signer.sign("POST", call.path, {"host": "127.0.0.1:8080"}, call.body, 1_700_000_000.0)


def test_an_api_key_is_a_bearer_token() -> None:
    assert asked(upstream={"api_key": "ABSK"}).headers == (("authorization", "Bearer ABSK"),)


@pytest.mark.parametrize(
    ("base_url", "options", "missing"),
    [("http://127.0.0.1", KEYS, "region"), (BASE, {"access_key_id": "AKID"}, "secret_access_key")],
)
def test_half_a_credential_is_refused(base_url: str, options: dict[str, str], missing: str) -> None:
    with pytest.raises(GatewayError, match=missing):
        asked(upstream={"base_url": base_url, "options": options})


def test_images_documents_sounds_and_what_is_cached() -> None:
    content = [
        {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "s3://bucket/a.png"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}", "filename": "My  file_1.pdf"}},
        {"type": "file", "file": {"text": "plain", "citations": {"enabled": True}}},
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
        {"type": "search_result", "source": "s", "title": "t", "content": [{"text": "c"}], "cache_control": None},
    ]

    assert body(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == [
        {"text": "Look"},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
        {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}},
        {"document": {"name": "My file 1", "format": "pdf", "source": {"bytes": PNG}}},
        {
            "document": {
                "name": "document",
                "format": "txt",
                "source": {"text": "plain"},
                "citations": {"enabled": True},
            }
        },
        {"audio": {"format": "mp3", "source": {"bytes": PNG}}},
        {"searchResult": {"source": "s", "title": "t", "content": [{"text": "c"}]}},
    ]


def _call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER = {
    "type": "function",
    "cache_control": {"type": "ephemeral"},
    "function": {"name": "weather", "description": "Weather.", "parameters": {"type": "object"}, "strict": True},
}
TIME = {"type": "function", "function": {"name": "time"}}
TURNS: list[dict[str, Any]] = [
    *HELLO,
    {
        "role": "assistant",
        "content": " ",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "thinking", "thinking": "unsigned"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        ],
        "tool_calls": [_call("a", "weather", '{"city": "Rome"}'), _call("b", "time", "")],
    },
    {"role": "tool", "tool_call_id": "b", "content": "noon"},
    {"role": "tool", "tool_call_id": "a", "content": "no such city", "is_error": True},
    {"role": "user", "content": "And now?"},
]


def test_thoughts_calls_and_their_answers() -> None:
    assert body(messages=TURNS, tools=[WEATHER, TIME])["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "ZGF0YQ=="}},
                {"toolUse": {"toolUseId": "a", "name": "weather", "input": {"city": "Rome"}}},
                {"toolUse": {"toolUseId": "b", "name": "time", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "b", "content": [{"text": "noon"}]}},
                {"toolResult": {"toolUseId": "a", "content": [{"text": "no such city"}], "status": "error"}},
                {"text": "And now?"},
            ],
        },
    ]


def test_tools_and_what_is_cached_of_them() -> None:
    assert body(tools=[WEATHER, TIME], tool_choice="required")["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "weather",
                    "description": "Weather.",
                    "inputSchema": {"json": {"type": "object"}},
                    "strict": True,
                }
            },
            {"cachePoint": {"type": "default"}},
            {"toolSpec": {"name": "time", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
        ],
        "toolChoice": {"any": {}},
    }


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, None),
        ("auto", {"auto": {}}),
        ({"type": "function", "function": {"name": "time"}}, {"tool": {"name": "time"}}),
    ],
)
def test_tool_choice(choice: Any, told: Any) -> None:
    assert body(tools=[WEATHER, TIME], tool_choice=choice)["toolConfig"].get("toolChoice") == told


def test_no_tool_may_be_called() -> None:
    assert "toolConfig" not in body(tools=[TIME], tool_choice="none")
    assert asked(messages=TURNS, tools=[WEATHER, TIME], tool_choice="none").dropped == ("tool_choice",)


def test_ids_of_other_providers_are_made_to_fit_alike() -> None:
    long = "call_" + "x" * 80
    turns = [
        *HELLO,
        {"role": "assistant", "tool_calls": [_call(long, "time", "")]},
        {"role": "tool", "tool_call_id": long, "content": ""},
    ]
    messages = body(messages=turns, tools=[TIME])["messages"]

    assert messages[1]["content"][0]["toolUse"]["toolUseId"] == messages[2]["content"][0]["toolResult"]["toolUseId"]
    assert tool_id("tooluse_abc-1") == "tooluse_abc-1"
    assert tool_id("") != ""


def test_a_json_schema_and_a_service_tier() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    made = body(response_format=wanted, service_tier="priority")

    assert made["outputConfig"]["textFormat"] == {
        "type": "json_schema",
        "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "x"}},
    }
    assert made["serviceTier"] == {"type": "priority"}


@pytest.mark.parametrize(
    ("model", "told", "more"),
    [
        (
            CLAUDE,
            {"reasoning_effort": "medium", "max_tokens": 9000},
            {"thinking": {"type": "enabled", "budget_tokens": 8192}},
        ),
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 5}, None),
        (
            "anthropic.claude-opus-4-6-v1",
            {"reasoning_effort": "minimal"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}),
        (
            "us.amazon.nova-2-lite-v1:0",
            {"reasoning_effort": "low", "top_k": 4},
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}, "inferenceConfig": {"topK": 4}},
        ),
        (CLAUDE, {"reasoning_effort": "none"}, {}),
    ],
)
def test_thinking_and_top_k_in_the_makers_words(model: str, told: dict[str, Any], more: dict[str, Any] | None) -> None:
    if more is None:
        more = {"top_k": 5, "thinking": told["thinking"]}

    assert body(model=model, **told).get("additionalModelRequestFields", {}) == more


def test_what_only_converse_has() -> None:
    guard = {"guardrailIdentifier": "abc", "guardrailVersion": "1", "trace": "enabled"}
    made = body(provider_options={"bedrock": {"guardrailConfig": guard, "additionalModelRequestFields": {"x": 1}}})

    assert made["guardrailConfig"] == guard
    assert made["additionalModelRequestFields"] == {"x": 1}


def test_what_converse_has_no_word_for_is_named() -> None:
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    call = asked(
        model="meta.llama3-70b-instruct-v1:0",
        messages=[{"role": "user", "content": content}],
        seed=0,
        n=2,
        top_k=1,
        parallel_tool_calls=False,
        reasoning_effort="low",
        response_format={"type": "json_object"},
        provider_options={"bedrock": {"other": 1}, "anthropic": {"x": 1}},
        tools=[{"type": "web_search"}],
    )

    assert set(call.dropped) == {
        "seed",
        "n",
        "top_k",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "messages.content.image_url",
        "provider_options.bedrock.other",
        "provider_options.anthropic",
        "tools.web_search",
    }


@pytest.mark.parametrize(
    ("chat", "field"),
    [
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/tiff;base64,"}]}
                ]
            },
            "messages[0].content[0].image_url",
        ),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "data:,"}]}, *HELLO]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:x/y,a"}}]}]},
            "messages[0].content[0].file",
        ),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}, "tools[0].function.parameters"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(chat: dict[str, Any], field: str) -> None:
    with pytest.raises(GatewayError) as refused:
        asked(**chat)

    assert refused.value.field == field
