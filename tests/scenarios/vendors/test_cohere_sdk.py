"""Cohere's own SDK asks the fake: it must not tell it apart, and ask as the gateway does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cohere import ClientV2, TooManyRequestsError, UnauthorizedError
from openai import OpenAI
from pydantic import BaseModel

from tests.scenarios.vendors.conftest import GATEWAY_KEY, HELLO, PARAMETERS, SAID, TOOLS
from tests.scenarios.vendors.judging import events_of, said_again, unknown, unread
from tests.support.fake_vendors import KEY, FakeVendors
from tests.support.fake_vendors.media import ASKED
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT
from tests.support.fake_vendors.server import BREAKS, FAILS
from tests.support.gateway import RunningGateway

MODEL = "cohere-model:1"
ONCE: Any = {"max_retries": 0}
ROME = '{"city":"Rome"}'


@pytest.fixture
def cohere(vendors: FakeVendors) -> Iterator[ClientV2]:
    """Cohere's SDK, for the fake."""
    with ClientV2(api_key=KEY, base_url=f"{vendors.root}/cohere", timeout=30) as client:
        yield client


def assert_is_read(told: Any, read: Any) -> None:
    """The SDK checks nothing of what it reads: here it does, and knows all of it."""
    assert isinstance(read, BaseModel)
    type(read).model_validate(told)
    assert list(unknown(read)) == []
    assert list(unread(told, read.model_dump(mode="json", by_alias=True))) == []


def test_a_whole_answer(cohere: ClientV2, vendors: FakeVendors) -> None:
    answer = cohere.chat(model=MODEL, messages=HELLO)

    content: Any = answer.message.content
    assert ([part.text for part in content], answer.finish_reason) == ([SAID], "COMPLETE")
    assert answer.usage is not None
    assert answer.usage.tokens is not None
    assert (answer.usage.tokens.input_tokens, answer.usage.tokens.output_tokens) == (PROMPT, COMPLETION)
    assert answer.usage.cached_tokens == CACHED
    assert_is_read(said_again(vendors).json(), answer)


def test_thoughts(cohere: ClientV2, vendors: FakeVendors) -> None:
    thinking: Any = {"type": "enabled", "token_budget": 500}
    answer = cohere.chat(model=MODEL, messages=HELLO, thinking=thinking)

    content: Any = answer.message.content
    assert [(part.type, getattr(part, part.type)) for part in content] == [("thinking", "Hm."), ("text", SAID)]
    assert_is_read(said_again(vendors).json(), answer)


PIECES = ["content-start", "content-delta", "content-delta", "content-end"]
CALLED = ["tool-call-start", "tool-call-delta", "tool-call-delta", "tool-call-end"]
STREAMS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "text": ({}, PIECES),
    "thoughts": ({"thinking": {"type": "enabled"}}, ["content-start", "content-delta", "content-end", *PIECES]),
    "calls": ({"tools": TOOLS}, ["tool-plan-delta", *CALLED, *CALLED]),
}
"""What is asked for beside the messages, and the events between the first and the last one."""


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream(cohere: ClientV2, vendors: FakeVendors, kind: str) -> None:
    more, between = STREAMS[kind]
    events: list[Any] = list(cohere.chat_stream(model=MODEL, messages=HELLO, **more))

    for told, read in zip(events_of(said_again(vendors)), events, strict=True):
        assert_is_read(told, read)
    assert [event.type for event in events] == ["message-start", *between, "message-end"]
    texts = [event.delta.message.content.text or "" for event in events if event.type == "content-delta"]
    calls = [
        event.delta.message.tool_calls.function
        for event in events
        if event.type.startswith("tool-call-") and event.type != "tool-call-end"
    ]
    end = events[-1].delta
    if kind == "calls":
        assert [call.name for call in calls if hasattr(call, "name")] == ["weather", "time"]
        assert ("".join(call.arguments for call in calls), end.finish_reason) == (ROME * 2, "TOOL_CALL")
    else:
        assert ("".join(texts), end.finish_reason) == (SAID, "COMPLETE")
    assert (end.usage.tokens.input_tokens, end.usage.tokens.output_tokens) == (PROMPT, COMPLETION)


def test_parallel_calls_and_their_answers(cohere: ClientV2, vendors: FakeVendors) -> None:
    answer = cohere.chat(model=MODEL, messages=HELLO, tools=TOOLS, tool_choice="REQUIRED")

    assert answer.finish_reason == "TOOL_CALL"
    calls: Any = answer.message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [("weather", ROME), ("time", ROME)]
    assert len({call.id for call in calls}) == 2
    assert_is_read(said_again(vendors).json(), answer)
    turn: Any = answer.message
    results: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": place} for call, place in zip(calls, "ab", strict=True)
    ]
    last: Any = cohere.chat(model=MODEL, messages=[*HELLO, turn, *results], tools=TOOLS)
    assert last.message.content[0].text == "Tools said: a, b"


def test_a_structured_answer(cohere: ClientV2, vendors: FakeVendors) -> None:
    form: Any = {"type": "json_object", "json_schema": PARAMETERS}
    answer: Any = cohere.chat(model=MODEL, messages=HELLO, response_format=form)

    assert answer.message.content[0].text.startswith('{"city": ')
    assert_is_read(said_again(vendors).json(), answer)


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_refusal(cohere: ClientV2, is_stream: bool) -> None:
    ask: Any = cohere.chat_stream if is_stream else cohere.chat
    with pytest.raises(TooManyRequestsError) as refused:
        list(ask(model=FAILS, messages=HELLO, request_options=ONCE))

    assert (refused.value.status_code, refused.value.body) == (429, {"message": "Too much."})


def test_a_stream_that_breaks_off(cohere: ClientV2) -> None:
    last: Any = list(cohere.chat_stream(model=BREAKS, messages=HELLO))[-1]

    assert (last.type, last.delta.finish_reason, last.delta.error) == ("message-end", "ERROR", "Broke off.")


def test_a_key_that_is_none(vendors: FakeVendors) -> None:
    with ClientV2(api_key="other", base_url=f"{vendors.root}/cohere") as client, pytest.raises(UnauthorizedError):
        client.chat(model=MODEL, messages=HELLO, request_options=ONCE)


def test_embed(cohere: ClientV2, vendors: FakeVendors) -> None:
    answer: Any = cohere.embed(model=MODEL, texts=["a", "abc"], input_type="search_document", embedding_types=["float"])

    assert answer.embeddings.float_ == [[1.0], [3.0]]
    assert answer.meta.billed_units.input_tokens == ASKED
    assert_is_read(said_again(vendors).json(), answer)


def test_rerank(cohere: ClientV2, vendors: FakeVendors) -> None:
    answer = cohere.rerank(model=MODEL, query="q", documents=["a", "abc", "ab"], top_n=2)

    assert [each.index for each in answer.results] == [1, 2]
    assert_is_read(said_again(vendors).json(), answer)


def test_the_list_of_models(cohere: ClientV2, vendors: FakeVendors) -> None:
    answer = cohere.models.list()

    assert [(model.name, model.context_length) for model in answer.models] == [
        ("cohere-model", 128_000),
        ("cohere-other", 128_000),
    ]
    assert_is_read(said_again(vendors).json(), answer)


CALL = {"id": "c0", "type": "function", "function": {"name": "weather", "arguments": ROME}}
TURNS: list[Any] = [
    {"role": "system", "content": "Be brief."},
    *HELLO,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c0", "content": "sunny"},
]
PICTURE: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        ],
    }
]
FORM: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": PARAMETERS}}
CHOSEN: Any = {"type": "function", "function": {"name": "weather"}}
QUESTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limits": (
        {"messages": HELLO, "max_tokens": 9, "stop_sequences": ["x"], "temperature": 0.5, "p": 0.5, "seed": 3},
        {"messages": HELLO, "max_completion_tokens": 9, "stop": "x", "temperature": 0.5, "top_p": 0.5, "seed": 3},
    ),
    "tools": (
        {"messages": TURNS, "tools": TOOLS, "tool_choice": "REQUIRED"},
        {"messages": TURNS, "tools": TOOLS, "tool_choice": "required"},
    ),
    "one tool": (
        {"messages": HELLO, "tools": TOOLS[:1], "tool_choice": "REQUIRED"},
        {"messages": HELLO, "tools": TOOLS, "tool_choice": CHOSEN},
    ),
    "form": (
        {"messages": HELLO, "response_format": {"type": "json_object", "json_schema": PARAMETERS}},
        {"messages": HELLO, "response_format": FORM},
    ),
    "picture": (
        {"messages": PICTURE, "thinking": {"type": "disabled"}},
        {"messages": PICTURE, "reasoning_effort": "none"},
    ),
}
"""What Cohere's SDK is asked, and OpenAI's for the same."""


@pytest.mark.parametrize("named", QUESTIONS)
def test_the_gateway_asks_as_the_sdk_does(cohere: ClientV2, openai: OpenAI, vendors: FakeVendors, named: str) -> None:
    for_cohere, for_openai = QUESTIONS[named]
    cohere.chat(model=MODEL, **for_cohere)
    theirs = vendors.asked[-1].body
    openai.chat.completions.create(model="cohere", **for_openai)

    assert vendors.asked[-1].path == "/cohere/v2/chat"
    assert {"stream": False, **vendors.asked[-1].body} == theirs


def test_the_gateway_asks_for_the_rest_as_the_sdk_does(
    cohere: ClientV2, openai: OpenAI, gateway: RunningGateway, vendors: FakeVendors
) -> None:
    cohere.embed(
        model=MODEL, texts=["a"], input_type="search_document", embedding_types=["float"], output_dimension=256
    )
    cohere.rerank(model=MODEL, query="q", documents=["a", "abc"], top_n=1)
    openai.embeddings.create(model="cohere", input=["a"], dimensions=256)
    body = {"model": "cohere", "query": "q", "documents": ["a", "abc"], "top_n": 1}
    headers = {"authorization": f"Bearer {GATEWAY_KEY}"}
    httpx.post(f"{gateway.base_url}/rerank", json=body, headers=headers, timeout=30).raise_for_status()
    told = [(each.path, each.body) for each in vendors.asked[-4:]]

    assert told[2:] == told[:2]
