"""Every kind's stream, as its fake tells it, cut anywhere: what comes out is the same."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataplane.streaming import EventStream
from gateway.dataplane.translating import Inbound
from gateway.dataplane.vendors import LOCAL, UNKNOWN
from gateway.providers.base import Question, Upstream
from gateway.providers.registry import translator_for
from tests.support.fake_anthropic import answers
from tests.support.fake_anthropic.events import events
from tests.support.fake_openai.behaviours import MODELS
from tests.support.fake_vendors import bedrock, cohere, gemini, openai_like

TOOL: Final = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
TIME: Final = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
CHATS: Final[dict[str, dict[str, Any]]] = {
    "thoughts and a text": {"reasoning_effort": "high"},
    "calls": {"tools": [TOOL, TIME]},
}
NAMES: Final = {
    "anthropic": "claude-opus-4-5",
    "bedrock": "eu.anthropic.claude-opus-4-5-20251101-v1:0",
    "cohere": "command-a-reasoning-08-2025",
    "gemini": "gemini-3-pro-preview",
    "mistral": "magistral-medium-latest",
    "vertex": "gemini-2.5-pro",
}
OPTIONS: Final = {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1", "project": "p"}


def chat(asked: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Grüße secretly weather time 👋"}]
    return {"messages": messages, "max_completion_tokens": 5_000, "stream": True, **CHATS[asked]}


def told(kind: str, body: dict[str, Any]) -> bytes:
    """What the fake streams in answer to a request."""
    if kind == "anthropic":
        return b"".join(events(MODELS["fake-chat"], answers.message(body)))
    if kind == "bedrock":
        return b"".join(bedrock.stream(body))
    if kind == "cohere":
        return b"".join(cohere.stream(body))
    if kind == "mistral":
        return b"".join(openai_like.stream(body, azure=False))
    return b"".join(gemini.stream(body, NAMES[kind]))


def fed(reader: Any, data: bytes, cuts: list[int]) -> bytes:
    pieces = (data[begin:end] for begin, end in pairwise([0, *sorted(cuts), len(data)]))
    return b"".join([reader.feed(piece) for piece in pieces])


@pytest.mark.parametrize("asked", CHATS)
@pytest.mark.parametrize("kind", NAMES)
@settings(max_examples=25)
@given(data=st.data())
def test_of_a_stream_that_is_translated(kind: str, asked: str, data: st.DataObject) -> None:
    translator = translator_for(kind)
    assert translator is not None
    upstream = Upstream(NAMES[kind], "http://host", None if kind == "bedrock" else "k", options=OPTIONS)
    call = translator.request(Question(chat(asked), upstream, now=1.0))
    wire = told(kind, orjson.loads(call.body))
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=30))
    whole, parts = Inbound(translator, call.memo), Inbound(translator, call.memo)
    expected = whole.feed(wire) + whole.end()
    assert fed(parts, wire, cuts) + parts.end() == expected
    assert b'"usage":{"prompt_tokens":' in expected
    assert (b'"tool_calls"' in expected) == (asked == "calls")


@pytest.mark.parametrize("asked", CHATS)
@pytest.mark.parametrize("vendor", [UNKNOWN, LOCAL])
@settings(max_examples=25)
@given(data=st.data())
def test_of_a_stream_that_is_relayed(vendor: Any, asked: str, data: st.DataObject) -> None:
    told = openai_like.stream({**chat(asked), "stream_options": {"include_usage": True}}, azure=True)
    counts = b': {"usage":{"prompt_tokens":11,"completion_tokens":1}}\n\n'
    wire = b"".join([event + counts for event in told]) if vendor is LOCAL else b"".join(told)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=30))
    whole, parts = EventStream(False, vendor, "chat.completions"), EventStream(False, vendor, "chat.completions")
    expected = whole.feed(wire)
    assert fed(parts, wire, cuts) == expected == b"".join(told)
    assert parts.done
    assert parts.tokens == whole.tokens
