"""Agents and clients that speak the Responses API: Pydantic AI, LangChain, and OpenAI's SDK for Node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import SecretStr
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.scenarios.material import ADA, ASK_PERSON, ASK_TOOLS, Person
from tests.support.gateway import RunningGateway
from tests.support.node_client import node_client

GREETING = "Grüß Gott 👋"
SAID = f"1 messages; {GREETING}"


@pytest.fixture
async def model(gateway: RunningGateway) -> AsyncIterator[OpenAIResponsesModel]:
    """A model of Pydantic AI that speaks Responses."""
    async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=30) as client:
        yield OpenAIResponsesModel("fake-chat", provider=OpenAIProvider(openai_client=client))


def with_tools(model: OpenAIResponsesModel) -> Agent[None, str]:
    """An agent with two tools."""
    agent = Agent(model)

    @agent.tool_plain
    def get_weather(city: str, days: int) -> str:
        return f"{city}:{days}"

    @agent.tool_plain
    def get_time(zone: str) -> str:
        return zone

    return agent


async def test_pydantic_ai_asks_and_goes_on(model: OpenAIResponsesModel) -> None:
    agent = Agent(model)
    first = await agent.run(GREETING)
    assert first.output == SAID
    second = await agent.run("And?", message_history=first.all_messages())
    assert second.output == "3 messages; And?"
    async with agent.run_stream(GREETING) as streamed:
        pieces = [piece async for piece in streamed.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == SAID
    assert len(pieces) > 1


async def test_pydantic_ai_runs_tools(model: OpenAIResponsesModel) -> None:
    assert (await with_tools(model).run(ASK_TOOLS)).output == "Tools said: Zürich:3; Europe/Zurich"
    async with with_tools(model).run_stream(ASK_TOOLS) as streamed:
        assert await streamed.get_output() == "Tools said: Zürich:3; Europe/Zurich"


async def test_pydantic_ai_gets_structured_output(model: OpenAIResponsesModel) -> None:
    assert (await Agent(model, output_type=NativeOutput(Person)).run(ASK_PERSON)).output == ADA
    assert (await Agent(model, output_type=Person).run(ASK_PERSON)).output == ADA


def test_langchain(gateway: RunningGateway) -> None:
    key = SecretStr(gateway.key)
    chat = ChatOpenAI(model="fake-chat", base_url=gateway.base_url, api_key=key, use_responses_api=True, max_retries=0)
    assert chat.invoke(GREETING).text == SAID
    assert "".join(chunk.text for chunk in chat.stream(GREETING)) == SAID

    @tool
    def get_weather(city: str, days: int) -> str:
        """The weather."""
        return f"{city}:{days}"

    asked: Any = chat.bind_tools([get_weather]).invoke("get_weather city=Zürich days=3")
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [
        ("get_weather", {"city": "Zürich", "days": 3})
    ]


def test_node(gateway: RunningGateway) -> None:
    def run(scenario: str) -> Any:
        with node_client("openai_responses.mjs", scenario, gateway.base_url, gateway.key) as result:
            return result

    assert run("text and what follows") == {
        "first": f"2 messages; {GREETING}",
        "second": "3 messages; And?",
        "items": [GREETING],
    }
    ends = ["response.created", "response.completed"]
    assert run("stream") == {"kinds": ends, "text": SAID}
    assert run("streamed tools") == {
        "calls": [["get_weather", {"city": "Zürich", "days": 3}], ["get_time", {"zone": "Europe/Zurich"}]],
        "text": "Tools said: result of get_weather; result of get_time",
    }
    assert run("background") == {"status": "completed", "text": "1 messages; Hi"}
