"""Anthropic's SDK: what it sees of the provider itself, of a relay and of a translation there and back is the same."""

from __future__ import annotations

import base64
from typing import Any

import anthropic as sdk
import pytest
from anthropic import Anthropic
from pydantic import BaseModel

from tests.scenarios.protocols.conftest import CLAUDE

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
CLOCK: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}}}
NOTHING: Any = {"name": "get_nothing", "input_schema": {"type": "object", "properties": {}}}
ASK = "get_weather city=Zürich days=3 and get_time zone=Europe/Zurich please"


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_plain(anthropic: Anthropic) -> None:
    answer = anthropic.messages.create(
        model=CLAUDE, max_tokens=100, system="Be brief.", messages=said("Grüß Gott 你好 👋")
    )
    assert answer.content[0].to_dict() == {"type": "text", "text": "[Be brief.] 1 turns; Grüß Gott 你好 👋"}
    assert (answer.stop_reason, answer.stop_sequence, answer.model, answer.role) == (
        "end_turn",
        None,
        CLAUDE,
        "assistant",
    )
    assert answer.id.startswith("msg_")
    assert answer.usage.input_tokens > 0
    assert answer.usage.service_tier == "standard"


def test_a_stream_says_the_same_in_the_right_order(anthropic: Anthropic) -> None:
    asked: Any = {"model": CLAUDE, "max_tokens": 100, "messages": said("hello there")}
    plain = anthropic.messages.create(**asked)
    with anthropic.messages.stream(**asked) as stream:
        events = [event.type for event in stream if event.type != "text"]
        final = stream.get_final_message()
    deltas = events.count("content_block_delta")
    assert events == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert deltas == 4
    assert final.content[0].to_dict()["text"] == plain.content[0].to_dict()["text"]
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        plain.usage.input_tokens,
        plain.usage.output_tokens,
    )


def test_tools_in_parallel_and_their_results(anthropic: Anthropic) -> None:
    asked: Any = {"model": CLAUDE, "max_tokens": 500, "tools": [WEATHER, CLOCK], "messages": said(ASK)}
    answer = anthropic.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Zürich", "days": 3}),
        ("get_time", {"zone": "Europe/Zurich"}),
    ]
    with anthropic.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in answer.content]
    results = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": calls[1].id,
            "is_error": True,
            "content": [{"type": "text", "text": "no"}],
        },
    ]
    history = [
        *asked["messages"],
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": results},
    ]
    final = anthropic.messages.create(**{**asked, "messages": history})
    assert final.content[0].to_dict()["text"] == "Tools said: sunny; failed: no"


def test_a_tool_without_arguments(anthropic: Anthropic) -> None:
    asked: Any = {"model": CLAUDE, "max_tokens": 500, "tools": [NOTHING], "messages": said("get_nothing")}
    assert anthropic.messages.create(**asked).content[0].to_dict()["input"] == {}
    with anthropic.messages.stream(**asked) as stream:
        assert stream.get_final_message().content[0].to_dict()["input"] == {}


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "none"}, []),
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, []),
    ],
)
def test_tool_choice(anthropic: Anthropic, choice: Any, called: list[str]) -> None:
    answer = anthropic.messages.create(
        model=CLAUDE, max_tokens=500, tools=[WEATHER, CLOCK], tool_choice=choice, messages=said("hello")
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == called


def test_thinking_comes_signed_and_goes_back(anthropic: Anthropic, claude: Any) -> None:
    asked: Any = {
        "model": CLAUDE,
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [WEATHER],
        "messages": said("secretly get_weather city=Bern days=1"),
    }
    answer = anthropic.messages.create(**asked)
    assert [block.type for block in answer.content] == ["redacted_thinking", "thinking", "tool_use"]
    assert answer.usage.output_tokens_details is not None
    with anthropic.messages.stream(**asked) as stream:
        kinds = [event.delta.type for event in stream if event.type == "content_block_delta"]
        streamed = stream.get_final_message()
    assert kinds.index("signature_delta") == kinds.index("thinking_delta") + kinds.count("thinking_delta")
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in answer.content]
    result = {"type": "tool_result", "tool_use_id": answer.content[-1].to_dict()["id"], "content": "rain"}
    history = [
        *asked["messages"],
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    mark = claude.recording.mark()
    anthropic.messages.create(**{**asked, "messages": history})
    sent = claude.recording.since(mark)[-1].json["messages"][1]["content"]
    assert sent[:2] == [block.to_dict() for block in answer.content[:2]]


def test_images_documents_and_citations(anthropic: Anthropic) -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1.7").decode()}
    content: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": pdf, "title": "A"},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
            "title": "B",
            "citations": {"enabled": True},
        },
        {"type": "text", "text": "What is green?", "cache_control": {"type": "ephemeral"}},
    ]
    asked: Any = {"model": CLAUDE, "max_tokens": 500, "messages": [{"role": "user", "content": content}]}
    answer = anthropic.messages.create(**asked)
    block = answer.content[0].to_dict()
    assert block["text"] == "1 turns, 2 images, 2 documents; What is green?"
    assert block["citations"][0]["cited_text"] == "The grass is"
    assert block["citations"][0]["document_title"] == "B"
    assert (answer.usage.cache_creation_input_tokens, answer.usage.cache_read_input_tokens) == (10, 20)
    assert answer.usage.cache_creation is not None
    assert answer.usage.cache_creation.ephemeral_5m_input_tokens == 10
    with anthropic.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert final.content[0].to_dict()["citations"] == block["citations"]
    assert final.usage.cache_read_input_tokens == 20


def test_a_server_tool(anthropic: Anthropic) -> None:
    tool: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    asked: Any = {"model": CLAUDE, "max_tokens": 500, "tools": [tool], "messages": said("search it")}
    answer = anthropic.messages.create(**asked)
    kinds = ["server_tool_use", "web_search_tool_result", "text"]
    assert [block.type for block in answer.content] == kinds
    with anthropic.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == kinds
    assert final.content[0].to_dict() == answer.content[0].to_dict()
    assert final.content[1].to_dict() == answer.content[1].to_dict()
    history = [*asked["messages"], {"role": "assistant", "content": answer.content}, *said("and now?")]
    assert anthropic.messages.create(**{**asked, "messages": history}).stop_reason == "end_turn"


def test_stop_sequences_limits_and_refusals(anthropic: Anthropic) -> None:
    answer = anthropic.messages.create(
        model=CLAUDE, max_tokens=50, stop_sequences=["STOP"], messages=said("go STOP now")
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "STOP")
    with anthropic.messages.stream(
        model=CLAUDE, max_tokens=50, stop_sequences=["STOP"], messages=said("go STOP now")
    ) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", "STOP")
    assert anthropic.messages.create(model=CLAUDE, max_tokens=2, messages=said("a b c")).stop_reason == "max_tokens"
    assert anthropic.messages.create(model=CLAUDE, max_tokens=9, messages=said("refuse this")).stop_reason == "refusal"


def test_structured_output(anthropic: Anthropic) -> None:
    class Person(BaseModel):
        name: str
        age: int

    answer = anthropic.messages.parse(
        model=CLAUDE, max_tokens=500, messages=said("name=Ada age=36"), output_format=Person
    )
    assert answer.parsed_output == Person(name="Ada", age=36)


@pytest.mark.parametrize("model", ["split", "crlf", "crlf-split", "joined", "comments", "gzip"])
def test_every_delivery_reads_the_same(anthropic: Anthropic, model: str) -> None:
    with anthropic.messages.stream(model=model, max_tokens=99, messages=said("Grüß Gott 你好 👋")) as stream:
        assert stream.get_final_message().content[0].to_dict()["text"] == "1 turns; Grüß Gott 你好 👋"


@pytest.mark.parametrize(
    ("model", "error"),
    [("error-400", sdk.BadRequestError), ("error-429", sdk.RateLimitError), ("error-529", sdk.InternalServerError)],
)
def test_errors_are_the_sdks_own(anthropic: Anthropic, model: str, error: type[sdk.APIStatusError]) -> None:
    for stream in (False, True):
        with pytest.raises(error) as raised:
            anthropic.messages.create(model=model, max_tokens=9, messages=said("x"), stream=stream)
        assert raised.value.request_id
        assert raised.value.type in ("invalid_request_error", "rate_limit_error", "overloaded_error")
        assert f"answers {model[-3:]}" in str(raised.value.api_message) or model == "error-529"


def test_an_error_within_a_stream(anthropic: Anthropic) -> None:
    with (
        pytest.raises(sdk.APIStatusError) as raised,
        anthropic.messages.stream(model="error-event", max_tokens=9, messages=said("one two")) as stream,
    ):
        for _ in stream:
            pass
    assert raised.value.type == "overloaded_error"


def test_tokens_are_counted(anthropic: Anthropic) -> None:
    few = anthropic.messages.count_tokens(model=CLAUDE, messages=said("one")).input_tokens
    assert 0 < few < anthropic.messages.count_tokens(model=CLAUDE, messages=said("one " * 50)).input_tokens
