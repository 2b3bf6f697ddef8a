"""Pydantic AI with its OpenAI models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, Embedder, NativeOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.scenarios.conftest import Endpoint
from tests.scenarios.material import ADA, ASK_PERSON, ASK_TOOLS, Person, assert_closed_soon, leave, marker, until
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai.endpoints import vector


@pytest.fixture
async def provider(endpoint: Endpoint) -> AsyncIterator[OpenAIProvider]:
    # Its own client: the library's shared one outlives the test's event loop.
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.key, max_retries=0, timeout=30) as client:
        yield OpenAIProvider(openai_client=client)


def chat_model(provider: OpenAIProvider, model: str = "fake-chat") -> OpenAIChatModel:
    return OpenAIChatModel(model, provider=provider)


def agent_with_tools(provider: OpenAIProvider) -> Agent[None, str]:
    agent = Agent(chat_model(provider))

    @agent.tool_plain
    def get_weather(city: str, days: int) -> str:
        return f"{city}:{days}"

    @agent.tool_plain
    def get_time(zone: str) -> str:
        return zone

    return agent


async def test_chat(provider: OpenAIProvider) -> None:
    answer = await Agent(chat_model(provider)).run("Grüß Gott 👋")
    assert answer.output == "1 messages; Grüß Gott 👋"


async def test_stream(provider: OpenAIProvider) -> None:
    async with Agent(chat_model(provider, "split")).run_stream("Grüß Gott 👋") as answer:
        pieces = [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == "1 messages; Grüß Gott 👋"
    assert len(pieces) > 1


async def test_tools_are_run_and_their_results_sent(provider: OpenAIProvider) -> None:
    answer = await agent_with_tools(provider).run(ASK_TOOLS)
    assert answer.output == "Tools said: Zürich:3; Europe/Zurich"


async def test_streamed_tools(provider: OpenAIProvider) -> None:
    async with agent_with_tools(provider).run_stream(ASK_TOOLS) as answer:
        assert await answer.get_output() == "Tools said: Zürich:3; Europe/Zurich"


async def test_structured_output_by_tool_and_by_schema(provider: OpenAIProvider) -> None:
    by_tool = await Agent(chat_model(provider), output_type=Person).run(ASK_PERSON)
    by_schema = await Agent(chat_model(provider), output_type=NativeOutput(Person)).run(ASK_PERSON)
    assert by_tool.output == by_schema.output == ADA


async def test_streamed_structured_output(provider: OpenAIProvider) -> None:
    async with Agent(chat_model(provider), output_type=Person).run_stream(ASK_PERSON) as answer:
        assert await answer.get_output() == ADA


async def test_embeddings(provider: OpenAIProvider) -> None:
    embedder = Embedder(OpenAIEmbeddingModel("fake-embed", provider=provider))
    answer = await embedder.embed_documents(["eins", "zwei"])
    assert list(map(list, answer.embeddings)) == [vector("eins", 8), vector("zwei", 8)]


async def test_upstream_error(provider: OpenAIProvider) -> None:
    with pytest.raises(ModelHTTPError) as caught:
        await Agent(chat_model(provider, "error-400")).run("hi")
    assert caught.value.status_code == 400
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "fake_400"


async def test_leaving_in_the_middle_of_a_stream(provider: OpenAIProvider, fake: FakeOpenAI) -> None:
    said = marker()
    seen = asyncio.Event()

    async def read() -> None:
        async with Agent(chat_model(provider, "endless")).run_stream(said) as answer:
            async for _ in answer.stream_text(delta=True, debounce_by=None):
                seen.set()

    reading = asyncio.ensure_future(read())
    await until(seen, reading)
    await leave(reading)
    left_at = time.monotonic()
    await asyncio.to_thread(assert_closed_soon, fake, said, left_at)


async def test_leaving_before_the_first_token(provider: OpenAIProvider, fake: FakeOpenAI) -> None:
    said = marker()
    waiting = asyncio.ensure_future(Agent(chat_model(provider, "never")).run(said))
    await asyncio.to_thread(fake.recording.wait_request, said)
    await leave(waiting)
    left_at = time.monotonic()
    await asyncio.to_thread(assert_closed_soon, fake, said, left_at)
