"""The Responses API answered by a model on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from openai.types.responses import ResponseFunctionToolCall

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.local_engine import MODEL

KEY = "gw_live_local_0123456789"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with the local model alone."""
    config: dict[str, Any] = {
        "server": {"port": 0},
        "data_dir": "data",
        "providers": [{"name": "local", "kind": "llama_cpp", "model": MODEL, "llama_cpp": {"context_length": 1024}}],
        "models": [{"name": "small", "targets": [{"provider": "local", "model": MODEL}]}],
        "keys": [{"key": KEY, "name": "static"}],
    }
    with running_gateway(config, tmp_path_factory.mktemp("local"), command="proxy") as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    """The client."""
    with OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


def test_it_answers_streams_and_goes_on(client: OpenAI) -> None:
    first = client.responses.create(
        model="small", input="Say hello.", instructions="Be brief.", max_output_tokens=12, temperature=0
    )
    assert first.output_text
    assert first.usage is not None
    assert first.usage.output_tokens > 0
    with client.responses.stream(
        model="small", input="Once more.", previous_response_id=first.id, max_output_tokens=12, temperature=0
    ) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    last: Any = events[-1]  # completed, or cut off by the limit
    final = last.response
    assert "".join(deltas) == final.output_text
    assert final.usage is not None
    assert final.usage.input_tokens > first.usage.input_tokens


def test_it_calls_tools_and_keeps_to_a_schema(client: OpenAI) -> None:
    asked = client.responses.create(
        model="small",
        input="What is the weather in Oslo?",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
        temperature=0,
    )
    (call,) = [item for item in asked.output if isinstance(item, ResponseFunctionToolCall)]
    assert call.name == "get_weather"
    assert set(json.loads(call.arguments)) == {"city"}
    schema = WEATHER["parameters"]
    told: Any = {"format": {"type": "json_schema", "name": "place", "schema": schema, "strict": True}}
    answer = client.responses.create(model="small", input="Name a city.", text=told, temperature=0)
    assert set(json.loads(answer.output_text)) == {"city"}
