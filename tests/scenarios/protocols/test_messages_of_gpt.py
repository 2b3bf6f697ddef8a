"""Anthropic's SDK with models of an API like OpenAI's: agents of the one with models of the other."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import anthropic as sdk
import httpx
import pytest
from anthropic import Anthropic
from pydantic import BaseModel

from tests.scenarios.material import assert_closed_soon, marker
from tests.scenarios.protocols.test_messages_sdk import ASK, CLOCK, PIXEL, WEATHER
from tests.support.fake_openai import FakeOpenAI

GPT = "fake-chat"


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_plain_and_stream(messages: Anthropic) -> None:
    asked: Any = {"model": GPT, "max_tokens": 100, "system": "Be brief.", "messages": said("Grüß Gott 你好 👋")}
    answer = messages.messages.create(**asked)
    assert answer.content[0].to_dict() == {"type": "text", "text": "2 messages; Grüß Gott 你好 👋"}
    assert (answer.stop_reason, answer.model) == ("end_turn", GPT)
    assert answer.id.startswith("msg_")
    with messages.messages.stream(**asked) as stream:
        kinds = [event.type for event in stream if event.type != "text"]
        final = stream.get_final_message()
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert final.content[0].to_dict()["text"] == "2 messages; Grüß Gott 你好 👋"
    read = answer.usage.cache_read_input_tokens or 0
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (
        answer.usage.input_tokens,
        read,
        answer.usage.output_tokens,
    )


def test_an_agents_turn(messages: Anthropic) -> None:
    asked: Any = {"model": GPT, "max_tokens": 500, "tools": [WEATHER, CLOCK], "messages": said(ASK)}
    answer = messages.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Zürich", "days": 3}),
        ("get_time", {"zone": "Europe/Zurich"}),
    ]
    with messages.messages.stream(**asked) as stream:
        order = [(event.type, getattr(event, "index", None)) for event in stream if "block_st" in event.type]
        final = stream.get_final_message()
    assert order == [(f"content_block_{what}", index) for index in (0, 1) for what in ("start", "stop")]
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in answer.content]
    assert final.stop_reason == "tool_use"
    shown: Any = [
        {"type": "text", "text": "a picture"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": shown},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": "late", "is_error": True},
        {"type": "text", "text": "What now?"},
    ]
    history = [
        *asked["messages"],
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": results},
    ]
    told = messages.messages.create(**{**asked, "messages": history}).content[0].to_dict()["text"]
    assert told.endswith("What now?")
    assert "1 images" in told


def test_what_the_provider_is_sent(messages: Anthropic, gpt: FakeOpenAI) -> None:
    mark = gpt.recording.mark()
    content: Any = [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "notes"}, "title": "N"},
    ]
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    asked: Any = {
        "model": GPT,
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": content},
            {"role": "assistant", "content": [thought, {"type": "text", "text": "seen"}]},
            {"role": "user", "content": "and?"},
        ],
        "stop_sequences": ["\n\n"],
        "metadata": {"user_id": "u-1"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "tools": [WEATHER],
    }
    messages.messages.create(**asked)
    sent = gpt.recording.since(mark)[-1].json
    assert sent == {
        "model": GPT,
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "text", "text": "N\nnotes"},
                ],
            },
            {"role": "assistant", "content": "seen", "reasoning_content": "hm"},
            {"role": "user", "content": "and?"},
        ],
        "stop": ["\n\n"],
        "user": "u-1",
        "reasoning_effort": "low",
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "parameters": WEATHER["input_schema"],
                    "description": "The weather",
                },
            }
        ],
    }


def test_structured_output(messages: Anthropic) -> None:
    class Person(BaseModel):
        name: str
        age: int

    answer = messages.messages.parse(model=GPT, max_tokens=500, messages=said("name=Ada age=36"), output_format=Person)
    assert answer.parsed_output == Person(name="Ada", age=36)


def test_what_it_cannot_say_is_refused_by_name(messages: Anthropic) -> None:
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    upload: Any = [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"tools": [search]}, "tools.anthropic"),
        ({"messages": upload}, "messages.content.container_upload"),
        ({"extra_body": {"container": "c-1"}}, "provider_options.anthropic"),
    ]
    for more, name in cases:
        with pytest.raises(sdk.BadRequestError) as raised:
            messages.messages.create(**{"model": GPT, "max_tokens": 9, "messages": said("x"), **more})
        assert raised.value.type == "invalid_request_error"
        assert raised.value.error_code == "unsupported_parameter"
        assert f"'{name}'" in str(raised.value.api_message)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": 1}]}]}, "messages.0.content.0.source"),
        ({"tools": [{"name": "x"}]}, "tools.0.input_schema"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"model": None}, "model"),
        ({"model": "no-such-model"}, "model"),
    ],
)
def test_bad_requests_name_the_field(messages: Anthropic, body: dict[str, Any], field: str) -> None:
    asked = {"model": GPT, "max_tokens": 9, "messages": said("x"), **body}
    with pytest.raises(sdk.APIStatusError) as raised:
        messages.post("/v1/messages", body={k: v for k, v in asked.items() if v is not None}, cast_to=object)
    assert raised.value.status_code in (400, 404)
    assert raised.value.request_id == raised.value.response.headers["x-request-id"]
    told: Any = raised.value.body
    assert told["error"]["details"]["param"] == field


def test_a_wrong_key_is_told_in_anthropics_words(messages: Anthropic) -> None:
    with pytest.raises(sdk.AuthenticationError) as raised:
        messages.with_options(api_key="gw_live_wrong").messages.create(model=GPT, max_tokens=9, messages=said("x"))
    assert raised.value.type == "authentication_error"


def test_the_key_as_x_api_key(messages: Anthropic) -> None:

    answer = httpx.post(
        f"{str(messages.base_url).rstrip('/')}/v1/messages",
        headers={"x-api-key": str(messages.api_key), "anthropic-version": "2023-06-01"},
        json={"model": GPT, "max_tokens": 9, "messages": said("x")},
    )
    assert answer.status_code == 200
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


def test_a_version_that_is_none(messages: Anthropic) -> None:
    asked: dict[str, Any] = {"max_tokens": 9, "messages": said("x")}
    with pytest.raises(sdk.BadRequestError) as raised:
        messages.messages.create(model=GPT, extra_headers={"anthropic-version": "latest"}, **asked)
    assert raised.value.type == "invalid_request_error"
    told: Any = raised.value.body
    assert told["error"]["details"]["param"] == "anthropic-version"
    answer = httpx.post(
        f"{str(messages.base_url).rstrip('/')}/v1/messages",
        headers={"x-api-key": str(messages.api_key)},
        json={"model": GPT, **asked},
    )
    assert answer.status_code == 200


def test_errors_of_the_provider(messages: Anthropic) -> None:
    with pytest.raises(sdk.BadRequestError) as raised:
        messages.messages.create(model="gpt-error", max_tokens=9, messages=said("x"))
    assert raised.value.type == "invalid_request_error"
    assert raised.value.error_code == "fake_400"
    assert str(raised.value.api_message).startswith("The fake provider answers 400")


def test_a_stream_that_breaks_ends_in_an_error(messages: Anthropic) -> None:
    with (
        pytest.raises(sdk.APIStatusError) as raised,
        messages.messages.stream(model="gpt-cut", max_tokens=99, messages=said("one two three")) as stream,
    ):
        for _ in stream:
            pass
    assert raised.value.type == "api_error"


def test_counting_without_the_provider(messages: Anthropic, event_of: Callable[[str], dict[str, Any]]) -> None:
    counted = messages.messages.with_raw_response.count_tokens(model=GPT, messages=said("one two three " * 20))
    assert 50 < counted.parse().input_tokens < 100
    event = event_of(counted.headers["x-request-id"])
    assert event["endpoint"] == "messages.count_tokens"
    assert event["tokens"] == {}


@pytest.mark.parametrize(
    ("model", "target"), [("ant-then-oai", "oai/fake-chat"), ("oai-then-ant", "ant/claude-opus-4-5")]
)
def test_one_provider_stands_in_for_the_other(
    messages: Anthropic, event_of: Callable[[str], dict[str, Any]], model: str, target: str
) -> None:
    asked: Any = {"model": model, "max_tokens": 500, "tools": [WEATHER, CLOCK], "messages": said(ASK)}
    answer = messages.messages.with_raw_response.create(**asked)
    assert answer.headers["x-gateway-target"] == target
    assert answer.headers["x-gateway-attempts"] == "2"
    assert [block.name for block in answer.parse().content if block.type == "tool_use"] == ["get_weather", "get_time"]
    event = event_of(answer.headers["x-request-id"])
    assert [attempt["reason"] for attempt in event["attempts"]][-1] == "ok"
    assert len(event["attempts"]) == 2
    assert event["endpoint"] == "messages"
    assert event["tokens"]["prompt"] > 0
    with messages.messages.stream(**asked) as stream:
        assert stream.get_final_message().stop_reason == "tool_use"


def test_a_target_that_cannot_say_it_is_passed_over(messages: Anthropic) -> None:
    pdf = base64.b64encode(b"%PDF").decode()
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}}
    asked: Any = {
        "model": "oai-then-ant",
        "max_tokens": 50,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "messages": [{"role": "user", "content": [document, {"type": "text", "text": "search"}]}],
    }
    answer = messages.messages.with_raw_response.create(**asked)
    assert answer.headers["x-gateway-target"] == "ant/claude-opus-4-5"
    assert answer.headers["x-gateway-attempts"] == "1"


def test_retries_and_deadlines(messages: Anthropic) -> None:
    retried = messages.messages.with_raw_response.create(model="retried", max_tokens=9, messages=said(marker()))
    assert retried.headers["x-gateway-attempts"] == "2"
    with pytest.raises(sdk.APIStatusError) as raised:
        messages.messages.create(model="impatient", max_tokens=9, messages=said("x"))
    assert (raised.value.status_code, raised.value.type) == (504, "timeout_error")


def test_a_client_that_leaves_ends_the_call_and_pays_for_what_came(
    messages: Anthropic, claude: Any, event_of: Callable[[str], dict[str, Any]]
) -> None:
    text = marker()
    with messages.messages.with_streaming_response.create(
        model="endless", max_tokens=99, messages=said(text), stream=True
    ) as raw:
        lines = raw.iter_lines()
        while "text_delta" not in next(lines):
            pass
        id = raw.headers["x-request-id"]
    assert_closed_soon(claude, text, time.monotonic())
    event = event_of(id)
    assert event["outcome"] == "cancelled"
    assert event["tokens"]["prompt"] > 0
    assert event["tokens"]["completion"] > 0


def test_the_models_in_anthropics_list(messages: Anthropic) -> None:
    page = messages.models.list(limit=3)
    assert len(page.data) == 3
    assert page.has_more
    names = [model.id for model in messages.models.list(limit=3)]
    assert {GPT, "ant-then-oai", "lenient"} <= set(names)
    assert len(names) == len(set(names))
    one = messages.models.retrieve(GPT)
    assert (one.id, one.type, one.display_name) == (GPT, "model", GPT)
    with pytest.raises(sdk.NotFoundError) as raised:
        messages.models.retrieve("no-such-model")
    assert raised.value.type == "not_found_error"


def test_a_relay_changes_nothing_but_the_model(relaying: Any, claude: Any) -> None:

    mark = claude.recording.mark()
    body = b'{ "max_tokens":9, "model":"ant-or-oai","messages":[{"role":"user","content":"\\u00e9 1.0"}],"top_k":1.50 }'
    headers = {"x-api-key": relaying.key, "anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    answer = httpx.post(
        f"{relaying.base_url}/messages", content=body, headers={**headers, "content-type": "application/json"}
    )
    assert answer.status_code == 200
    sent = claude.recording.since(mark)[-1]
    assert sent.body == (
        b'{"max_tokens":9,"model":"claude-opus-4-5","messages":[{"role":"user","content":"\\u00e9 1.0"}],"top_k":1.50}'
    )
    assert sent.header("anthropic-beta") == "a,b"
    assert sent.header("authorization") is None
    assert json.loads(answer.content)["content"][0]["text"].endswith("é 1.0")
