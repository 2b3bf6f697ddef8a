"""LangChain's OpenAI integration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from tests.scenarios.conftest import Endpoint
from tests.scenarios.material import (
    ADA,
    ASK_PERSON,
    ASK_TOOLS,
    CLOCK,
    WEATHER,
    Person,
    assert_closed_soon,
    leave,
    marker,
    until,
)
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai.endpoints import vector

CALLS = [("get_weather", {"city": "Zürich", "days": 3}), ("get_time", {"zone": "Europe/Zurich"})]


Make = Callable[..., ChatOpenAI]


@pytest.fixture
async def chat_model(endpoint: Endpoint) -> AsyncIterator[Make]:
    # Its own HTTP clients: the library's shared ones outlive the test's event loop.
    with httpx.Client(timeout=30) as plain:
        async with httpx.AsyncClient(timeout=30) as asynchronous:

            def make(model: str = "fake-chat") -> ChatOpenAI:
                return ChatOpenAI(
                    model=model,
                    base_url=endpoint.base_url,
                    api_key=SecretStr(endpoint.key),
                    max_retries=0,
                    stream_usage=True,
                    http_client=plain,
                    http_async_client=asynchronous,
                )

            yield make


def test_chat(chat_model: Make) -> None:
    answer = chat_model().invoke([SystemMessage("Be brief."), HumanMessage("Grüß Gott 👋")])
    assert answer.content == "2 messages; Grüß Gott 👋"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 10


def test_stream(chat_model: Make) -> None:
    chunks = list(chat_model("split").stream("Grüß Gott 👋"))
    assert "".join(str(chunk.content) for chunk in chunks) == "1 messages; Grüß Gott 👋"
    assert [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata] == [8]


async def test_asynchronous_stream(chat_model: Make) -> None:
    chunks = [chunk async for chunk in chat_model("crlf").astream("Grüß Gott 👋")]
    assert "".join(str(chunk.content) for chunk in chunks) == "1 messages; Grüß Gott 👋"


def test_tools_and_their_results(chat_model: Make) -> None:
    model = chat_model().bind_tools([WEATHER, CLOCK])
    asked = HumanMessage(ASK_TOOLS)
    first = model.invoke([asked])
    assert [(call["name"], call["args"]) for call in first.tool_calls] == CALLS
    results = [ToolMessage(f"r{i}", tool_call_id=call["id"]) for i, call in enumerate(first.tool_calls)]
    assert model.invoke([asked, first, *results]).content == "Tools said: r0; r1"


def test_streamed_tools(chat_model: Make) -> None:
    first, *others = chat_model().bind_tools([WEATHER, CLOCK]).stream(ASK_TOOLS)
    whole = first
    for chunk in others:
        whole = whole + chunk  # type: ignore[assignment]
    assert isinstance(whole, AIMessage)
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == CALLS


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat_model: Make, method: str) -> None:
    model = chat_model().with_structured_output(Person, method=method)  # type: ignore[arg-type]
    assert model.invoke(ASK_PERSON) == ADA


def test_embeddings(endpoint: Endpoint) -> None:
    with httpx.Client(timeout=30) as plain:
        embeddings = OpenAIEmbeddings(
            model="fake-embed",
            base_url=endpoint.base_url,
            api_key=SecretStr(endpoint.key),
            check_embedding_ctx_length=False,
            http_client=plain,
        )
        assert embeddings.embed_documents(["eins", "zwei"]) == [vector("eins", 8), vector("zwei", 8)]


def test_upstream_error(chat_model: Make) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        chat_model("error-429").invoke("hi")
    assert caught.value.code == "fake_429"


async def test_leaving_in_the_middle_of_a_stream(chat_model: Make, fake: FakeOpenAI) -> None:
    said = marker()
    seen = asyncio.Event()

    async def read() -> None:
        async for chunk in chat_model("endless").astream(said):
            if chunk.content:
                seen.set()

    reading = asyncio.ensure_future(read())
    await until(seen, reading)
    await leave(reading)
    left_at = time.monotonic()
    await asyncio.to_thread(assert_closed_soon, fake, said, left_at)


async def test_leaving_before_the_first_token(chat_model: Make, fake: FakeOpenAI) -> None:
    said = marker()
    waiting = asyncio.ensure_future(chat_model("never").ainvoke(said))
    await asyncio.to_thread(fake.recording.wait_request, said)
    await leave(waiting)
    left_at = time.monotonic()
    await asyncio.to_thread(assert_closed_soon, fake, said, left_at)
