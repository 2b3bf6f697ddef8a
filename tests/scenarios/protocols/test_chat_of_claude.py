"""OpenAI's SDK with Anthropic's models: what Chat can say of them, and what it can't."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import openai as sdk
import pytest
from openai import OpenAI

from tests.scenarios.material import ADA, ASK_PERSON, ASK_TOOLS, TOOLS, Person, assert_closed_soon, marker
from tests.scenarios.protocols.conftest import CACHED, CLAUDE, INPUT, OUTPUT, WRITTEN
from tests.support.fake_anthropic import FakeAnthropic

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_plain_and_stream(openai: OpenAI) -> None:
    asked: Any = {"model": CLAUDE, "messages": [{"role": "system", "content": "Be brief."}, *said("Grüß Gott 👋")]}
    answer = openai.chat.completions.create(**asked)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "[Be brief.] 1 turns; Grüß Gott 👋"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    with openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == answer.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == answer.usage
    assert len({chunk.id for chunk in chunks}) == 1
    with openai.chat.completions.create(**asked, stream=True) as stream:
        assert all(chunk.usage is None and chunk.choices for chunk in stream)


def test_tools_in_parallel_and_their_results(openai: OpenAI) -> None:
    messages: list[Any] = said(ASK_TOOLS)
    answer = openai.chat.completions.create(model=CLAUDE, messages=messages, tools=TOOLS)
    calls = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"] == [
        ("get_weather", {"city": "Zürich", "days": 3}),
        ("get_time", {"zone": "Europe/Zurich"}),
    ]
    with openai.chat.completions.stream(model=CLAUDE, messages=messages, tools=TOOLS) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [(call.id, call.function.name, json.loads(call.function.arguments)) for call in streamed] == [
        (call.id, call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"
    ]
    messages.append(answer.choices[0].message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"result {call.id[-2:]}"} for call in calls]
    final = openai.chat.completions.create(model=CLAUDE, messages=messages, tools=TOOLS)
    assert final.choices[0].message.content == "Tools said: " + "; ".join(f"result {call.id[-2:]}" for call in calls)


@pytest.mark.parametrize(
    ("choice", "parallel", "called"),
    [
        ("none", None, 0),
        ("required", None, 2),
        ("required", False, 1),
        ({"type": "function", "function": {"name": "get_time"}}, None, 1),
        ("auto", True, 2),
    ],
)
def test_tool_choice(openai: OpenAI, choice: Any, parallel: bool | None, called: int) -> None:
    asked: Any = {} if parallel is None else {"parallel_tool_calls": parallel}
    answer = openai.chat.completions.create(
        model=CLAUDE, messages=said(ASK_TOOLS), tools=TOOLS, tool_choice=choice, **asked
    )
    assert len(answer.choices[0].message.tool_calls or []) == called


def test_vision_and_documents(openai: OpenAI) -> None:
    pdf = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7").decode()
    content: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
    ]
    answer = openai.chat.completions.create(model=CLAUDE, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "1 turns, 2 images, 1 documents; What is it?"


@pytest.mark.parametrize("model", [CLAUDE, "claude-3-5-haiku-20241022"])
def test_structured_output_by_format_and_by_tool(openai: OpenAI, claude: FakeAnthropic, model: str) -> None:
    mark = claude.recording.mark()
    answer = openai.chat.completions.parse(model=model, messages=said(ASK_PERSON), response_format=Person)
    assert answer.choices[0].message.parsed == ADA
    assert answer.choices[0].finish_reason == "stop"
    sent = claude.recording.since(mark)[-1].json
    assert ("output_config" in sent) is (model == CLAUDE)
    with openai.chat.completions.stream(model=model, messages=said(ASK_PERSON), response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == ADA
    loose = openai.chat.completions.create(
        model=model, messages=said("some JSON"), response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(loose.choices[0].message.content or ""), dict)


def test_reasoning(openai: OpenAI, claude: FakeAnthropic) -> None:
    mark = claude.recording.mark()
    answer = openai.chat.completions.create(model=CLAUDE, messages=said("hard"), reasoning_effort="high")
    assert claude.recording.since(mark)[-1].json["thinking"] == {"type": "enabled", "budget_tokens": 24_576}
    message: Any = answer.choices[0].message
    assert message.reasoning_content == "About hard"
    assert message.thinking_blocks[0]["signature"].startswith("EqoB")
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    with openai.chat.completions.create(
        model="claude-sonnet-4-6", messages=said("hard"), reasoning_effort="low", stream=True
    ) as stream:
        deltas: list[Any] = [chunk.choices[0].delta for chunk in stream]
    assert claude.recording.since(mark)[-1].json["output_config"] == {"effort": "low"}
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "About hard"
    blocks = [block for delta in deltas for block in getattr(delta, "thinking_blocks", None) or ()]
    assert blocks[0]["thinking"] == "About hard"


def test_limits_stops_and_refusals(openai: OpenAI) -> None:
    def finish(**asked: Any) -> Any:
        return openai.chat.completions.create(model=CLAUDE, **asked).choices[0]

    assert finish(messages=said("a b c"), max_tokens=2).finish_reason == "length"
    assert finish(messages=said("a b c"), max_completion_tokens=2).finish_reason == "length"
    stopped = finish(messages=said("go STOP now"), stop="STOP")
    assert (stopped.finish_reason, stopped.stop_sequence) == ("stop", "STOP")
    refused = finish(messages=said("refuse it"))
    assert refused.finish_reason == "content_filter"
    assert refused.message.refusal == "That is against the rules."


def test_what_it_cannot_say_is_refused_by_name(openai: OpenAI) -> None:
    for name, value in {"n": 2, "logprobs": True, "seed": 7, "temperature": 1.5, "frequency_penalty": 0.5}.items():
        asked: Any = {name: value}
        with pytest.raises(sdk.BadRequestError) as raised:
            openai.chat.completions.create(model=CLAUDE, messages=said("x"), **asked)
        assert raised.value.param == name
        assert raised.value.code == "unsupported_parameter"
    sound: Any = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]
    with pytest.raises(sdk.BadRequestError) as raised:
        openai.chat.completions.create(model=CLAUDE, messages=sound)
    assert raised.value.param == "messages.content.input_audio"


def test_what_may_be_dropped_is_told(openai: OpenAI, claude: FakeAnthropic) -> None:
    mark = claude.recording.mark()
    asked: Any = {"seed": 7, "logit_bias": {"1": 2}, "messages": said("x")}
    answer = openai.chat.completions.with_raw_response.create(model="dropping", **asked)
    assert set(answer.headers["x-gateway-dropped"].split(", ")) == {"seed", "logit_bias"}
    assert not {"seed", "logit_bias"} & claude.recording.since(mark)[-1].json.keys()
    with pytest.raises(sdk.BadRequestError):
        openai.chat.completions.create(model="dropping", n=2, **asked)
    everything = openai.chat.completions.with_raw_response.create(model="lenient", n=2, **asked)
    assert set(everything.headers["x-gateway-dropped"].split(", ")) == {"seed", "logit_bias", "n"}
    plain = openai.chat.completions.with_raw_response.create(model="dropping", messages=said("x"))
    assert "x-gateway-dropped" not in plain.headers


@pytest.mark.parametrize("model", ["split", "crlf", "crlf-split", "joined", "comments", "gzip"])
def test_every_delivery_reads_the_same(openai: OpenAI, model: str) -> None:
    with openai.chat.completions.create(model=model, messages=said("Grüß 你好 👋"), stream=True) as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "1 turns; Grüß 你好 👋"


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("error-400", sdk.BadRequestError),
        ("error-429", sdk.RateLimitError),
        ("error-529", sdk.InternalServerError),
        ("error-html", sdk.InternalServerError),
    ],
)
def test_errors_are_the_sdks_own(openai: OpenAI, model: str, error: type[sdk.APIStatusError]) -> None:
    for stream in (False, True):
        with pytest.raises(error) as raised:
            openai.chat.completions.create(model=model, messages=said("x"), stream=stream)
        assert raised.value.type
        assert raised.value.status_code != 529
        assert raised.value.response.headers["x-gateway-target"] == f"ant/{model}"


def test_streams_that_break_end_in_an_error(openai: OpenAI) -> None:
    for model in ("cut", "no-done", "error-event"):
        with (
            pytest.raises(sdk.APIError),
            openai.chat.completions.create(model=model, messages=said("one two"), stream=True) as stream,
        ):
            list(stream)


def test_a_client_that_leaves_ends_the_call(openai: OpenAI, claude: FakeAnthropic) -> None:

    text = marker()
    stream = openai.chat.completions.create(model="endless", messages=said(text), stream=True)
    next(iter(stream))
    stream.close()
    assert_closed_soon(claude, text, time.monotonic())


def test_usage_and_cost(openai: OpenAI, event_of: Callable[[str], dict[str, Any]]) -> None:
    content: Any = [{"type": "text", "text": "count me", "cache_control": {"type": "ephemeral"}}]
    asked: Any = {"model": CLAUDE, "messages": [{"role": "user", "content": content}]}
    answer = openai.chat.completions.with_raw_response.create(**asked)
    usage = answer.parse().usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 20
    event = event_of(answer.headers["x-request-id"])
    tokens = event["tokens"]
    assert (event["endpoint"], event["provider"], event["target"]) == ("chat.completions", "ant", CLAUDE)
    assert tokens["prompt"] == usage.prompt_tokens
    assert (tokens["cached"], tokens["cache_write"], tokens["completion"]) == (20, 10, usage.completion_tokens)
    plain = usage.prompt_tokens - 30
    cost = plain * INPUT + 20 * CACHED + 10 * WRITTEN + usage.completion_tokens * OUTPUT
    assert event["cost_nanos"] == cost
    assert float(answer.headers["x-gateway-cost"]) == pytest.approx(cost / 1e9)
    assert not event["estimated"]
    with openai.chat.completions.with_streaming_response.create(**asked, stream=True) as raw:
        list(raw.iter_lines())
        streamed = event_of(raw.headers["x-request-id"])
    assert streamed["tokens"] == tokens
    assert streamed["cost_nanos"] == cost
