"""The fake provider is a faithful one: the official SDK reads it, and what it records is what came."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel

from tests.scenarios.material import ASK_TOOLS, TOOLS, marker
from tests.support.fake_openai import KEY, MODELS, FakeOpenAI

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Grüß Gott 👋"}]
QUIET = {"never", "gated", "gated-head", "flaky", "failing"}
ANSWERING = [name for name, each in MODELS.items() if each.status == 200 and each.ends == "well" and name not in QUIET]


@pytest.fixture
def client(fake: FakeOpenAI) -> Iterator[OpenAI]:
    with OpenAI(base_url=fake.base_url, api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


def extras(value: object) -> list[str]:
    """Members anywhere in ``value`` that the SDK's types don't know."""
    if isinstance(value, BaseModel):
        own = list(value.model_extra or {})
        return own + [name for field in type(value).model_fields for name in extras(getattr(value, field))]
    return [name for each in value for name in extras(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("model", ANSWERING)
def test_the_sdk_reads_every_delivery(client: OpenAI, model: str) -> None:
    plain = client.chat.completions.create(model=model, messages=HI)
    assert plain.choices[0].message.content == "1 messages; Grüß Gott 👋"
    with client.chat.completions.create(model=model, messages=HI, stream=True) as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "1 messages; Grüß Gott 👋"


def test_objects_hold_what_the_sdk_knows_and_nothing_else(client: OpenAI) -> None:
    options: Any = {"n": 2, "logprobs": True, "top_logprobs": 2}
    plain = client.chat.completions.create(model="fake-chat", messages=HI, **options)
    tools = client.chat.completions.create(
        model="fake-chat",
        messages=[{"role": "user", "content": ASK_TOOLS}],
        tools=TOOLS,
    )
    text = client.completions.create(model="fake-chat", prompt="hi")
    vectors = client.embeddings.create(model="fake-embed", input="hi")
    known: list[tuple[type[BaseModel], BaseModel]] = [
        (ChatCompletion, plain),
        (ChatCompletion, tools),
        (Completion, text),
        (CreateEmbeddingResponse, vectors),
    ]
    for kind, value in known:
        kind.model_validate(value.model_dump(), strict=True)
        assert extras(value) == []


def test_chunks_hold_what_the_sdk_knows_and_nothing_else(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="fake-chat",
        messages=[{"role": "user", "content": ASK_TOOLS}],
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.model_dump(), strict=True)
        assert extras(chunk) == []
    *others, last = chunks
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in others)
    assert last.usage is not None
    indexes = [call.index for chunk in others for call in chunk.choices[0].delta.tool_calls or []]
    assert sorted(set(indexes)) == [0, 1]


def test_usage_is_not_mentioned_unless_asked_for(client: OpenAI) -> None:
    with client.chat.completions.create(model="fake-chat", messages=HI, stream=True) as stream:
        assert not any("usage" in chunk.model_fields_set for chunk in stream)


def test_a_wrong_key_and_wrong_bodies_are_refused(fake: FakeOpenAI, client: OpenAI) -> None:
    with (
        OpenAI(base_url=fake.base_url, api_key="sk-wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", cast_to=ChatCompletion, body={"model": "fake-chat"})
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_breaking_connection_breaks(client: OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="cut", messages=HI)


def test_gates_hold_and_release(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    answers: list[str | None] = []

    def ask() -> None:
        answer = client.chat.completions.create(
            model="gated-head", messages=[{"role": "user", "content": said}], metadata={"gate": said}
        )
        answers.append(answer.choices[0].message.content)

    asking = threading.Thread(target=ask)
    asking.start()
    fake.recording.wait_request(said)
    assert answers == []
    fake.gates.release(said)
    asking.join(30)
    assert answers == [f"1 messages; {said}"]


def test_requests_and_connections_are_recorded(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    before = time.monotonic()
    stream = client.chat.completions.create(
        model="endless", messages=[{"role": "user", "content": said}], stream=True, extra_headers={"x-mine": "1"}
    )
    next(stream)
    seen = fake.recording.wait_request(said)
    assert (seen.method, seen.path, seen.complete) == ("POST", "/v1/chat/completions", True)
    assert seen.header("x-mine") == "1"
    assert seen.json["messages"] == [{"role": "user", "content": said}]
    assert seen.connection.closed_at is None
    stream.close()
    left = time.monotonic()
    closed = fake.recording.wait_closed(seen)
    assert seen.connection.closed_by_peer
    assert before < seen.started_at < closed < left + 5
