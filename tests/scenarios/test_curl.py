"""curl, as in the README's command."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.scenarios.conftest import Endpoint
from tests.scenarios.material import ADA, ASK_PERSON, ASK_TOOLS, WEATHER, Person, assert_closed_soon, marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai.endpoints import vector


@contextmanager
def started(endpoint: Endpoint, path: str, body: dict[str, Any], *options: str) -> Iterator[subprocess.Popen[str]]:
    """A curl that has been given its body; killed after the block if it still runs."""
    headers = [f"Authorization: Bearer {endpoint.key}", "Content-Type: application/json"]
    command = ["curl", "--silent", "--show-error", "--max-time", "60", *options, f"{endpoint.base_url}{path}"]
    command += [word for header in headers for word in ("--header", header)] + ["--data-binary", "@-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdin is not None
            json.dump(body, running.stdin)
            running.stdin.close()
            yield running
        finally:
            running.kill()


def curl(endpoint: Endpoint, path: str, body: dict[str, Any], *options: str) -> str:
    with started(endpoint, path, body, *options) as running:
        assert running.stdout is not None
        output = running.stdout.read()
        assert running.wait() == 0
        return output


def ask(text: str, model: str = "fake-chat", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def events(output: str) -> list[dict[str, Any]]:
    *data, done = [line.removeprefix("data: ") for line in output.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    return [json.loads(each) for each in data]


def test_chat(endpoint: Endpoint) -> None:
    answer = json.loads(curl(endpoint, "/chat/completions", ask("Grüß Gott 👋"), "--compressed"))
    assert answer["choices"][0]["message"]["content"] == "1 messages; Grüß Gott 👋"


def test_stream(endpoint: Endpoint) -> None:
    output = curl(endpoint, "/chat/completions", ask("Grüß Gott 👋", stream=True), "--no-buffer")
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events(output))
    assert text == "1 messages; Grüß Gott 👋"


def test_tools_plain_and_streamed(endpoint: Endpoint) -> None:
    plain = json.loads(curl(endpoint, "/chat/completions", ask(ASK_TOOLS, tools=[WEATHER])))
    call = plain["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Zürich", "days": 3})
    streamed = events(curl(endpoint, "/chat/completions", ask(ASK_TOOLS, tools=[WEATHER], stream=True)))
    deltas = [each for event in streamed for each in event["choices"][0]["delta"].get("tool_calls", [])]
    assert "".join(delta["function"]["arguments"] for delta in deltas) == call["arguments"]


def test_structured_output(endpoint: Endpoint) -> None:
    schema = {"name": "person", "strict": True, "schema": Person.model_json_schema()}
    wanted = {"type": "json_schema", "json_schema": schema}
    answer = json.loads(curl(endpoint, "/chat/completions", ask(ASK_PERSON, response_format=wanted)))
    assert Person.model_validate_json(answer["choices"][0]["message"]["content"]) == ADA


def test_embeddings(endpoint: Endpoint) -> None:
    answer = json.loads(curl(endpoint, "/embeddings", {"model": "fake-embed", "input": "eins"}))
    assert answer["data"][0]["embedding"] == vector("eins", 8)


def test_large_body_that_asks_to_continue_first(endpoint: Endpoint) -> None:
    text = "wörter " * 200_000
    answer = json.loads(curl(endpoint, "/chat/completions", ask(text), "--header", "Expect: 100-continue"))
    assert answer["choices"][0]["message"]["content"] == f"1 messages; {text}"


def test_leaving_in_the_middle_of_a_stream(endpoint: Endpoint, fake: FakeOpenAI) -> None:
    said = marker()
    with started(endpoint, "/chat/completions", ask(said, "endless", stream=True), "--no-buffer") as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("data: {")
        running.kill()
        left_at = time.monotonic()
    assert_closed_soon(fake, said, left_at)


def test_leaving_before_the_first_token(endpoint: Endpoint, fake: FakeOpenAI) -> None:
    said = marker()
    with started(endpoint, "/chat/completions", ask(said, "never")) as running:
        fake.recording.wait_request(said)
        running.kill()
        left_at = time.monotonic()
    assert_closed_soon(fake, said, left_at)
