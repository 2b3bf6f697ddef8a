"""The official OpenAI SDK for Python, asynchronous."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from tests.scenarios.conftest import Endpoint
from tests.scenarios.material import ADA, ASK_PERSON, ASK_TOOLS, TOOLS, Person, assert_closed_soon, marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai.endpoints import vector


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.key, max_retries=0, timeout=30) as made:
        yield made


async def test_chats_at_once_each_get_their_own_answer(client: AsyncOpenAI) -> None:
    async def ask(text: str) -> str | None:
        answer = await client.chat.completions.create(model="fake-chat", messages=[{"role": "user", "content": text}])
        return answer.choices[0].message.content

    texts = [marker() for _ in range(40)]
    assert await asyncio.gather(*map(ask, texts)) == [f"1 messages; {text}" for text in texts]


async def test_streams_at_once_each_get_their_own_events(client: AsyncOpenAI) -> None:
    async def ask(text: str) -> str:
        stream = await client.chat.completions.create(
            model="fake-chat", messages=[{"role": "user", "content": f"{text} repeat=20"}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    texts = [marker() for _ in range(20)]
    assert await asyncio.gather(*map(ask, texts)) == [
        "1 messages; " + " ".join([f"{text} repeat=20"] * 20) for text in texts
    ]


async def test_streamed_tools(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="fake-chat",
        messages=[{"role": "user", "content": ASK_TOOLS}],
        tools=TOOLS,
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", {"city": "Zürich", "days": 3}),
        ("get_time", {"zone": "Europe/Zurich"}),
    ]


async def test_structured_output(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(
        model="fake-chat", messages=[{"role": "user", "content": ASK_PERSON}], response_format=Person
    )
    assert answer.choices[0].message.parsed == ADA


async def test_embeddings(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="fake-embed", input=["eins", "zwei"])
    assert [each.embedding for each in answer.data] == [vector("eins", 8), vector("zwei", 8)]


async def test_leaving_in_the_middle_of_a_stream(client: AsyncOpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    stream = await client.chat.completions.create(
        model="stuck", messages=[{"role": "user", "content": said}], stream=True
    )
    async for chunk in stream:
        if chunk.choices[0].finish_reason:
            break
    await stream.close()
    left_at = time.monotonic()
    await asyncio.to_thread(assert_closed_soon, fake, said, left_at)


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_the_first_token(client: AsyncOpenAI, fake: FakeOpenAI, stream: bool) -> None:
    said = marker()
    waiting = asyncio.ensure_future(
        client.chat.completions.create(model="never", messages=[{"role": "user", "content": said}], stream=stream)
    )
    await asyncio.to_thread(fake.recording.wait_request, said)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    left_at = time.monotonic()
    await asyncio.to_thread(assert_closed_soon, fake, said, left_at)
