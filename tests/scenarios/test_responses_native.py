"""Responses that go to a provider which has them itself, through the official SDK."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.scenarios.material import marker
from tests.support.fake_openai.server import KEY
from tests.support.fake_responses import COUNTED, FAILS, FakeResponses
from tests.support.gateway import RunningGateway, running_gateway
from tests.unit.protocols.responses.grammar import events_of

SECRET = "gw_live_native_0123456789"
SEARCH: Any = [{"type": "web_search"}]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeResponses]:
    """The provider."""
    running = FakeResponses()
    with running:
        yield running


@pytest.fixture(scope="module")
def gateway(fake: FakeResponses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that knows the provider as one with Responses, and as one without."""
    provider = {"base_url": fake.base_url, "api_key": KEY, "retry": {"attempts": 1}, "breaker": {"failures": 1000}}
    own, plain = {"provider": "own", "model": "fake-chat"}, {"provider": "plain", "model": "fake-chat"}
    config: dict[str, Any] = {
        "server": {"port": 0},
        "data_dir": "data",
        "providers": [
            {"name": "own", "responses": True, **provider},
            {"name": "plain", **provider},
            {"name": "going-on", **provider},
            *(
                {"name": f"own-{name}", "responses": True, **provider, "breaker": {"failures": 1, "cooldown": 600}}
                for name in FAILS
            ),
        ],
        "models": [
            {"name": "own", "targets": [own]},
            {"name": "plain", "targets": [plain]},
            {"name": "short", "targets": [plain | {"model": "fake-other", "context_length": 400}]},
            {"name": "dropping", "drop_params": ["tools.web_search"], "targets": [plain]},
            {"name": "plain-first", "targets": [plain, own]},
            {"name": "cut", "targets": [{"provider": "own", "model": "cut"}]},
            {
                "name": "cut-on",
                "targets": [
                    {"provider": "own", "model": "cut"},
                    {"provider": "going-on", "model": "fake-chat", "prefill": "message"},
                ],
            },
            *({"name": name, "targets": [{"provider": f"own-{name}", "model": name}]} for name in FAILS),
            {"name": "fails-over", "targets": [{"provider": "own", "model": "fails"}, plain]},
            {"name": "falling", "targets": [{"provider": "own", "model": "broken"}, plain]},
        ],
        "keys": [{"key": SECRET, "name": "static"}],
    }
    with running_gateway(config, tmp_path_factory.mktemp("native"), command="proxy") as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    """The client."""
    with OpenAI(base_url=gateway.base_url, api_key=SECRET, max_retries=0, timeout=30) as made:
        yield made


def sent(fake: FakeResponses, said: str) -> tuple[str, dict[str, Any]]:
    """Path and body of the last request that holds ``said``."""
    request = fake.recording.wait_request(said)
    return request.path, request.json


def test_a_request_goes_as_it_came(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    made = client.responses.create(
        model="own", input=said, tools=SEARCH, truncation="auto", extra_body={"max_tokens": 9}, store=False
    )
    path, body = sent(fake, said)
    assert path == "/v1/responses"
    assert body == {
        "model": "fake-chat",
        "input": said,
        "tools": SEARCH,
        "truncation": "auto",
        "max_output_tokens": 9,
        "store": False,
    }
    assert [item.type for item in made.output] == ["web_search_call", "message"]
    assert made.id.startswith("resp_")


def test_the_gateway_keeps_what_the_provider_does_not(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    first = client.responses.create(model="own", input=said, tools=SEARCH, reasoning={"effort": "low"})
    read = client.responses.retrieve(first.id)
    assert read.output == first.output
    assert read.to_dict()["store"] is True
    second = client.responses.create(model="own", input="and?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    path, body = sent(fake, said)
    assert path == "/v1/responses"
    assert [item["type"] for item in body["input"][:-1]] == ["message", "reasoning", "web_search_call", "message"]
    assert body["input"][1]["encrypted_content"] == "gAAAA-encrypted"
    assert second.output_text == "5 items; and?"


def test_thoughts_that_only_a_store_would_know_stay_out(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    first = client.responses.create(model="plain", input=said)
    second = client.responses.create(model="own", input="and?", previous_response_id=first.id, reasoning={})
    assert second.output_text == "3 items; and?"


def test_a_stream(gateway: RunningGateway, client: OpenAI) -> None:
    said = marker()
    with client.responses.stream(model="own", input=said, tools=SEARCH) as stream:
        final = stream.get_final_response()
    assert final.output_text == f"1 items; {said}"
    assert client.responses.retrieve(final.id).output_text == final.output_text
    headers = {"authorization": f"Bearer {SECRET}"}
    body = {"model": "own", "input": said, "stream": True}
    answer = httpx.post(f"{gateway.base_url}/responses", json=body, headers=headers)
    events = events_of(answer.content)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    whole = [event["response"] for event in events if "response" in event]
    assert {(response["id"], response["store"]) for response in whole} == {(whole[0]["id"], True)}


@pytest.mark.parametrize("tools", [[], SEARCH])
def test_a_stream_that_breaks_off(gateway: RunningGateway, tools: Any) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    body = {"model": "cut", "input": "x", "stream": True, "tools": tools}
    answer = httpx.post(f"{gateway.base_url}/responses", json=body, headers=headers)
    events = events_of(answer.content)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "error"
    assert events[-1]["message"]


def test_a_stream_that_goes_on_elsewhere_is_kept_whole(client: OpenAI, fake: FakeResponses) -> None:
    said = f"{marker()} {'word ' * 300}"
    with client.responses.stream(model="cut-on", input=said, reasoning={"effort": "low"}) as stream:
        numbers = [event.sequence_number for event in stream]
        whole = stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    path, asked = sent(fake, said.split()[0])
    assert (path, asked["messages"][-1]["role"]) == ("/v1/chat/completions", "assistant")
    assert whole.output_text.startswith(asked["messages"][-1]["content"])
    assert len(whole.output_text) > len(asked["messages"][-1]["content"]) > len(said) // 4
    kept = client.responses.retrieve(whole.id)
    assert (kept.output_text, kept.status) == (whole.output_text, "completed")
    client.responses.create(model="own", input="and then?", previous_response_id=whole.id)


def test_another_target_is_asked_only_what_it_understands(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    made = client.responses.create(model="plain-first", input=said, tools=SEARCH)
    assert sent(fake, said)[0] == "/v1/responses"
    assert made.output[0].type == "web_search_call"
    simple = marker()
    client.responses.create(model="plain-first", input=simple)
    assert sent(fake, simple)[0] == "/v1/chat/completions"
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model="plain", input=said, tools=SEARCH)
    assert raised.value.param == "tools.web_search"


def test_what_is_too_long_loses_its_oldest_items(client: OpenAI, fake: FakeResponses) -> None:
    texts = [f"{marker()} {'one two three ' * 40}" for _ in range(3)]
    asked: dict[str, Any] = {"model": "short", "instructions": "Be brief.", "truncation": "auto"}
    first = client.responses.create(input=texts[0], **asked)
    second = client.responses.create(input=texts[1], previous_response_id=first.id, **asked)
    third = client.responses.create(input=texts[2], previous_response_id=second.id, **asked)
    assert third.truncation == "auto"
    messages = sent(fake, texts[2])[1]["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[-1] == {"role": "user", "content": texts[2]}
    assert texts[0] not in [message["content"] for message in messages]
    assert len(messages) < 6
    asked["truncation"] = "disabled"
    client.responses.create(input=(whole := marker()), previous_response_id=third.id, **asked)
    assert len(sent(fake, whole)[1]["messages"]) == 8


def test_a_built_in_tool_is_left_out_where_that_is_wanted(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    made = client.responses.with_raw_response.create(model="dropping", input=said, tools=SEARCH)
    assert made.headers["x-gateway-dropped"] == "tools.web_search"
    assert made.parse().output_text == f"1 messages; {said}"
    path, body = sent(fake, said)
    assert path == "/v1/chat/completions"
    assert "tools" not in body
    one: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
    client.responses.create(model="dropping", input=(again := marker()), tools=[*SEARCH, one], tool_choice="auto")
    assert [tool["function"]["name"] for tool in sent(fake, again)[1]["tools"]] == ["look"]


def test_a_target_without_responses_takes_over(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    made = client.responses.create(model="falling", input=said)
    assert made.output_text == f"1 messages; {said}"
    with pytest.raises(openai.InternalServerError):  # of the only one that could answer
        client.responses.create(model="falling", input=said, tools=SEARCH)


def test_tokens_are_counted_by_who_has_responses_and_else_by_the_gateway(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    assert client.responses.input_tokens.count(model="own", input=said, tools=SEARCH).input_tokens == COUNTED
    assert sent(fake, said)[0] == "/v1/responses/input_tokens"
    asked = "one two three " * 20
    counted = client.responses.input_tokens.count(model="plain", input=asked)
    assert counted.object == "response.input_tokens"
    assert 50 < counted.input_tokens < 100
    first = client.responses.create(model="plain", input=asked)
    more = client.responses.input_tokens.count(model="plain", input=asked, previous_response_id=first.id)
    assert more.input_tokens > 2 * counted.input_tokens
    assert client.responses.input_tokens.count(model="own", input="x", previous_response_id=first.id).input_tokens == (
        3 * COUNTED
    )


def test_what_was_said_is_summed_up(client: OpenAI, fake: FakeResponses) -> None:
    said, more = marker(), marker()
    first = client.responses.create(model="plain", input=said)
    raw = client.responses.with_raw_response.compact(model="plain", input=more, previous_response_id=first.id)
    made = raw.parse()
    path, body = sent(fake, more)
    assert path == "/v1/chat/completions"
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "user"]
    assert made.object == "response.compaction"
    output: Any = raw.http_response.json()["output"]  # the SDK knows no message of the user's there
    assert [item["type"] for item in output] == ["message", "message", "compaction"]
    assert [item["content"][0]["text"] for item in output[:2]] == [said, more]
    assert made.usage.output_tokens > 0
    for model in ("plain", "own"):
        last = marker()
        client.responses.create(model=model, input=[*output, {"role": "user", "content": last}])
        body = sent(fake, last)[1]
        told = body["messages" if model == "plain" else "input"][2]
        assert told["role"] == "system"
        assert told["content"].startswith("This is what was said before, summed up:\n4 messages; Sum up")


def test_who_has_responses_sums_up_itself(client: OpenAI, fake: FakeResponses) -> None:
    said = marker()
    made: Any = client.responses.compact(model="own", input=said)
    assert sent(fake, said) == ("/v1/responses/compact", {"model": "fake-chat", "input": said})
    assert made.output[0].encrypted_content == "gAAAA-compacted"
    asked: Any = [made.output[0].to_dict(), {"role": "user", "content": (last := marker())}]
    client.responses.create(model="own", input=asked)
    assert sent(fake, last)[1]["input"][0]["encrypted_content"] == "gAAAA-compacted"
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model="plain", input=asked)
    assert raised.value.param == "input[0].encrypted_content"
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.compact(model="plain", input="x", extra_body={"stream": True})
    assert raised.value.param == "stream"


def test_one_in_the_background_keeps_its_id(client: OpenAI) -> None:
    made = client.responses.create(model="own", input="Hi", tools=SEARCH, background=True)
    deadline = time.monotonic() + 40
    while (found := client.responses.retrieve(made.id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
    assert (found.id, found.status, found.background) == (made.id, "completed", True)
    assert found.output_text == "1 items; Hi"


def test_usage_is_read(gateway: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    for streamed in (False, True):
        body = {"model": "own", "input": "Hi", "stream": streamed}
        request_id = httpx.post(f"{gateway.base_url}/responses", json=body, headers=headers).headers["x-request-id"]
        deadline = time.monotonic() + 40
        while not (lines := [line for line in tuple(gateway.stderr) if request_id in line]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert '"prompt_tokens":40' in lines[0]
        assert '"completion_tokens":12' in lines[0]
        assert '"outcome":"ok"' in lines[0]


def outcome_of(gateway: RunningGateway, request_id: str) -> str:
    """How a request ended, as the access log has it."""
    deadline = time.monotonic() + 30
    while not (lines := [line for line in gateway.stderr if request_id in line and '"outcome"' in line]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return str(json.loads(lines[0])["outcome"])


@pytest.mark.parametrize(
    ("model", "outcome", "again"), [("fails", "cut", 503), ("fails-limited", "cut", 503), ("fails-asked", "error", 200)]
)
def test_one_that_fails_is_a_failure_of_its_provider(
    gateway: RunningGateway, client: OpenAI, model: str, outcome: str, again: int
) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    answer = httpx.post(
        f"{gateway.base_url}/responses", json={"model": model, "input": "x", "stream": True}, headers=headers
    )
    events = events_of(answer.content)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": FAILS[model], "message": "It failed."}
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert outcome_of(gateway, answer.headers["x-request-id"]) == outcome
    assert client.responses.retrieve(events[-1]["response"]["id"]).status == "failed"
    second = httpx.post(
        f"{gateway.base_url}/responses", json={"model": model, "input": "x", "stream": True}, headers=headers
    )
    assert second.status_code == again


def test_a_whole_one_that_fails_is_made_good_elsewhere(client: OpenAI) -> None:
    said = marker()
    assert client.responses.create(model="fails-over", input=said).output_text == f"1 messages; {said}"
