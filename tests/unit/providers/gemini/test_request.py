"""Requests of the internal form as Gemini takes them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.kernel.errors import GatewayError
from gateway.providers.base import Call, Question, Upstream
from gateway.providers.gemini import Gemini
from tests.unit.providers.gemini.judge import check_request

PNG = "iVBORw0KGgo="
HELLO = [{"role": "user", "content": "Hi"}]


def asked(kind: str = "gemini", model: str = "gemini-2.5-flash", key: str | None = "k", **chat: Any) -> Call:
    chat.setdefault("messages", HELLO)
    return Gemini(kind).request(Question({"model": "m", **chat}, Upstream(model, api_key=key), now=1_700_000_000.5))


def body(**chat: Any) -> dict[str, Any]:
    call = asked(**chat)
    assert call.dropped == ()
    found: dict[str, Any] = orjson.loads(call.body)
    check_request(found)
    return found


def test_a_plain_question() -> None:
    call = asked(messages=[{"role": "developer", "content": "Be brief."}, *HELLO], temperature=0.5, max_tokens=20)

    assert call.path == "/models/gemini-2.5-flash:generateContent"
    assert call.headers == (("x-goog-api-key", "k"),)
    assert orjson.loads(call.body) == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 20},
    }


def test_a_stream_of_vertex() -> None:
    call = asked("vertex", key="token", stream=True, stream_options={"include_usage": True})

    assert call.path == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert call.headers == (("authorization", "Bearer token"),)
    assert call.dropped == ()


def test_the_same_question_is_the_same_call_and_is_not_changed() -> None:
    messages: list[dict[str, Any]] = [*HELLO, {"role": "user", "content": [{"type": "text", "text": "you"}]}]
    before = orjson.dumps(messages)

    assert asked(messages=messages) == asked(messages=messages)
    assert orjson.dumps(messages) == before


def test_every_parameter_with_a_place_of_its_own() -> None:
    made = body(
        top_p=0.9,
        top_k=40,
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        n=2,
        stop=["END", "STOP"],
        logprobs=True,
        top_logprobs=3,
        max_completion_tokens=9,
        modalities=["text", "image"],
    )

    assert made["generationConfig"] == {
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "candidateCount": 2,
        "stopSequences": ["END", "STOP"],
        "responseLogprobs": True,
        "logprobs": 3,
        "maxOutputTokens": 9,
        "responseModalities": ["TEXT", "IMAGE"],
    }


def test_what_asks_for_nothing_is_neither_sent_nor_dropped() -> None:
    made = body(n=1, presence_penalty=0, logprobs=False, logit_bias={}, user="u", store=False, service_tier="auto")

    assert "generationConfig" not in made


def test_what_gemini_has_no_word_for_is_named() -> None:
    call = asked(
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "search_result"}]}],
        logit_bias={"1": 5},
        parallel_tool_calls=False,
        tools=[{"type": "server", "vendor": "anthropic", "tool": {}}],
        provider_options={"anthropic": {"x": 1}},
    )

    fields = ("logit_bias", "parallel_tool_calls")
    assert call.dropped == (*fields, "messages.content.search_result", "tools.server", "provider_options.anthropic")


def test_images_sounds_and_documents() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": "https://example.com/a/cat.webp?size=2"},
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": PNG, "filename": "a.csv"}},
        {"type": "file", "file": {"file_url": "gs://bucket/b.pdf"}},
        {"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"type": "file", "file": {"text": "plain"}},
    ]

    assert body(messages=[{"role": "user", "content": content}])["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://example.com/a/cat.webp?size=2"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": PNG}},
        {"inlineData": {"mimeType": "application/pdf", "data": PNG}},
        {"inlineData": {"mimeType": "text/csv", "data": PNG}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/b.pdf"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"text": "plain"},
    ]


def _call(id: str, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


TURNS: list[dict[str, Any]] = [
    *HELLO,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [_call("a", "weather", '{"city": "Rome"}'), _call("b", "time", "")],
    },
    {"role": "tool", "tool_call_id": "b", "content": "noon"},
    {"role": "tool", "tool_call_id": "a", "content": '{"degrees": 20}'},
]


def test_parallel_calls_and_their_answers_are_one_turn_each() -> None:
    assert body(messages=TURNS)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
                {"functionCall": {"name": "time", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"degrees": 20}}},
                {"functionResponse": {"name": "time", "response": {"result": "noon"}}},
            ],
        },
    ]


def test_answers_of_calls_of_one_function_stand_in_the_order_of_the_calls() -> None:
    calls = [_call(id, "weather", "{}") for id in ("x", "y", "z")]
    answers = [{"role": "tool", "tool_call_id": id, "content": id} for id in ("z", "x", "y")]

    parts = body(messages=[*HELLO, {"role": "assistant", "tool_calls": calls}, *answers])["contents"][2]["parts"]
    assert [part["functionResponse"]["response"]["result"] for part in parts] == ["x", "y", "z"]


def test_a_tool_that_failed_and_one_that_gives_an_image() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    answers = [
        {"role": "tool", "tool_call_id": "a", "content": "no such city", "is_error": True},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "see"}, image]},
    ]

    assert body(messages=[*TURNS[:2], *answers])["contents"][2]["parts"] == [
        {"functionResponse": {"name": "weather", "response": {"error": "no such city"}}},
        {"functionResponse": {"name": "time", "response": {"result": "see"}}},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
    ]


def test_signatures_go_back_where_they_came_from() -> None:
    signed = {"google": {"thought_signature": "c2ln"}}
    turn = {
        "role": "assistant",
        "content": "Look:",
        "extra_content": {"google": {"thought_signature": "dGV4dA=="}},
        "tool_calls": [_call("a", "weather", "{}", extra_content=signed), _call("b", "time", "{}")],
    }

    for model in ("gemini-2.5-pro", "gemini-3-pro-preview"):
        parts = body(model=model, messages=[*HELLO, turn, *TURNS[2:]])["contents"][1]["parts"]
        assert parts == [
            {"text": "Look:", "thoughtSignature": "dGV4dA=="},
            {"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "time", "args": {}}},
        ]


def test_calls_of_another_model_pass_the_check_of_signatures() -> None:
    parts = body(model="gemini-3-pro-preview", messages=TURNS)["contents"][1]["parts"]

    assert [part.get("thoughtSignature") for part in parts] == ["skip_thought_signature_validator", None]


def test_the_vendors_own_blocks_go_before_what_chat_says_of_them() -> None:
    blocks = [{"executableCode": {"language": "PYTHON", "code": "1+1"}}, {"text": "2"}]
    turn = {"role": "assistant", "content": "2", "provider_blocks": {"vendor": "gemini", "blocks": blocks}}
    other = {"role": "assistant", "content": "2", "provider_blocks": {"vendor": "anthropic", "blocks": [{}]}}

    assert body(messages=[*HELLO, turn, *HELLO])["contents"][1]["parts"] == blocks
    assert body(messages=[*HELLO, other, *HELLO])["contents"][1]["parts"] == [{"text": "2"}]


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": ["string", "null"], "enum": ["C", "F"]}},
            "required": ["city"],
        },
    },
}


def test_tools_are_declared_by_the_reduced_schema() -> None:
    bare = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    own = {"type": "server", "vendor": "gemini", "tool": {"codeExecution": {}}}

    assert body(tools=[WEATHER, bare, own], web_search_options={"search_context_size": "low"})["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "Weather of a city.",
                    "parameters": {
                        "type": "OBJECT",
                        "properties": {
                            "city": {"type": "STRING"},
                            "unit": {"type": "STRING", "nullable": True, "enum": ["C", "F"]},
                        },
                        "required": ["city"],
                    },
                },
                {"name": "now"},
            ]
        },
        {"codeExecution": {}},
        {"googleSearch": {}},
    ]


def test_a_schema_that_can_not_be_reduced_stays_json_schema() -> None:
    strict = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
    }
    strict["properties"] = {"n": {"type": "integer", "exclusiveMinimum": 0}}
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": strict}}
    kept = {name: value for name, value in strict.items() if name != "$schema"}

    made = body(tools=[tool], response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": strict}})

    assert made["tools"][0]["functionDeclarations"] == [{"name": "f", "parametersJsonSchema": kept}]
    assert made["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": kept}


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "weather"}}, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
            },
            {"mode": "VALIDATED", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_tool_choice(choice: Any, calling: dict[str, Any]) -> None:
    assert body(tools=[WEATHER], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": calling}


@pytest.mark.parametrize(
    ("model", "told", "config"),
    [
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"reasoning_effort": "medium"}, {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-3-pro-preview", {"reasoning_effort": "high"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-flash-latest", {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0}),
        (
            "gemini-2.5-pro",
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "reasoning_effort": "low"},
            {"thinkingBudget": 2000, "includeThoughts": True},
        ),
        (
            "gemini-3-flash",
            {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"},
            {"thinkingLevel": "LOW", "includeThoughts": True},
        ),
        ("gemini-2.5-pro", {"google": {"thinking_config": {"thinking_budget": 5}}}, {"thinkingBudget": 5}),
    ],
)
def test_thinking(model: str, told: dict[str, Any], config: dict[str, Any]) -> None:
    assert body(model=model, **told)["generationConfig"]["thinkingConfig"] == config


def test_a_json_object_and_safety_settings() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    made = body(response_format={"type": "json_object"}, google={"safety_settings": settings, "cached_content": "c/1"})

    assert made["generationConfig"] == {"responseMimeType": "application/json"}
    assert made["safetySettings"] == settings
    assert made["cachedContent"] == "c/1"


def test_what_only_gemini_has() -> None:
    options = {"gemini": {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}, "cachedContent": "c/2"}}
    part = {"type": "provider_block", "vendor": "gemini", "block": {"text": "own"}}
    made = body(messages=[{"role": "user", "content": [part]}], seed=1, provider_options=options)

    assert made["generationConfig"] == {"seed": 1, "mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert made["cachedContent"] == "c/2"
    assert made["contents"][0]["parts"] == [{"text": "own"}]


@pytest.mark.parametrize(
    ("chat", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:;base64,§"}]}]},
            "messages[0].content[0]",
        ),
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "zz", "content": "x"}]}, "messages[1].tool_call_id"),
        (
            {"messages": [*HELLO, {"role": "assistant", "tool_calls": [_call("a", "f", "[1]")]}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [WEATHER], "tool_choice": "maybe"}, "tool_choice"),
        ({"stop": 5}, "stop"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(chat: dict[str, Any], field: str) -> None:
    with pytest.raises(GatewayError) as refused:
        asked(**chat)

    assert refused.value.field == field
