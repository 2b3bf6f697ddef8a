"""The official OpenAI SDK for Node and the Vercel AI SDK with its OpenAI-compatible provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.conftest import Endpoint
from tests.scenarios.material import assert_closed_soon, marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai.endpoints import vector
from tests.support.node_client import node_client

Run = Callable[..., Any]
ADA = {"name": "Ada", "age": 36, "tags": ["math"]}
CALLS = [["get_weather", {"city": "Zürich", "days": 3}], ["get_time", {"zone": "Europe/Zurich"}]]
BOTH = pytest.mark.parametrize("script", ["openai_sdk.mjs", "ai_sdk.mjs"])


@pytest.fixture
def run(endpoint: Endpoint) -> Run:
    def call(script: str, scenario: str, said: str = "") -> Any:
        with node_client(script, scenario, endpoint.base_url, endpoint.key, said) as result:
            return result

    return call


@BOTH
def test_chat(run: Run, script: str) -> None:
    assert run(script, "chat") == "1 messages; Grüß Gott 👋"


@BOTH
def test_stream(run: Run, script: str) -> None:
    assert run(script, "stream") == {"text": "1 messages; Grüß Gott 👋", "total": 8}


def test_tools_of_the_openai_sdk(run: Run) -> None:
    assert run("openai_sdk.mjs", "tools") == CALLS
    assert run("openai_sdk.mjs", "streamed tools") == CALLS


def test_tools_of_the_ai_sdk(run: Run) -> None:
    expected = {"calls": CALLS, "text": "Tools said: Zürich:3; Europe/Zurich"}
    assert run("ai_sdk.mjs", "tools") == expected
    assert run("ai_sdk.mjs", "streamed tools") == expected


@BOTH
def test_structured_output(run: Run, script: str) -> None:
    assert run(script, "structured output") == ADA


def test_streamed_structured_output(run: Run) -> None:
    assert run("ai_sdk.mjs", "streamed structured output") == ADA


@BOTH
def test_embeddings(run: Run, script: str) -> None:
    assert run(script, "embeddings") == [vector("eins", 8), vector("zwei", 8)]


def test_models(run: Run) -> None:
    assert {"fake-chat", "fake-embed"} <= set(run("openai_sdk.mjs", "models"))


def test_errors_are_understood(run: Run) -> None:
    assert run("openai_sdk.mjs", "error") == {"kind": "RateLimitError", "code": "fake_429", "retry": "7"}
    error = run("ai_sdk.mjs", "error")
    assert (error["status"], error["retry"]) == (429, "7")
    assert error["message"] == "The fake provider answers 429 for 'error-429'."


@BOTH
def test_leaving_in_the_middle_of_a_stream(endpoint: Endpoint, fake: FakeOpenAI, script: str) -> None:
    said = marker()
    with node_client(script, "abort in the middle", endpoint.base_url, endpoint.key, said) as result:
        assert_closed_soon(fake, said, result["left"])


@BOTH
def test_leaving_before_the_first_token(endpoint: Endpoint, fake: FakeOpenAI, script: str) -> None:
    said = marker()

    def arrived() -> object:
        return fake.recording.wait_request(said)

    scenario = "abort before the first token"
    with node_client(script, scenario, endpoint.base_url, endpoint.key, said, abort_when=arrived) as result:
        assert_closed_soon(fake, said, result["left"])
