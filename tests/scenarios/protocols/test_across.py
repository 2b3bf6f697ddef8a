"""What the gateway does for every request, where client and target speak different APIs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic as sdk
import httpx
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.scenarios.material import marker
from tests.scenarios.protocols.conftest import CLAUDE, POOR_KEY, config
from tests.support.fake_anthropic import FakeAnthropic
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def text_of(message: Any) -> str:
    return str(message.content[0].text)


def test_limits_refuse_in_anthropics_words(messages: Anthropic) -> None:
    with pytest.raises(sdk.RateLimitError) as raised:
        messages.with_options(api_key=POOR_KEY).messages.create(model=CLAUDE, max_tokens=9, messages=said("x"))
    assert raised.value.type == "rate_limit_error"
    told: Any = raised.value.body
    assert told["error"]["details"]["metric"] == "requests"
    assert raised.value.response.headers["retry-after"]


def test_a_chat_that_breaks_off_is_gone_on_with_elsewhere(
    openai: OpenAI, event_of: Callable[[str], dict[str, Any]]
) -> None:
    with openai.chat.completions.with_streaming_response.create(
        model="breaks", messages=said("one two"), stream=True
    ) as raw:
        lines = [line.removeprefix("data: ") for line in raw.iter_lines() if line.startswith("data: {")]
        event = event_of(raw.headers["x-request-id"])
    texts = [choice["delta"].get("content") or "" for line in lines for choice in json.loads(line)["choices"]]
    # The part that broke off, and what the other model makes of a conversation with one turn more.
    assert "".join(texts) == "1 turns; one two2 turns; one two"
    assert [attempt["reason"] for attempt in event["attempts"]] == ["reset", "ok"]
    assert event["target"] == "claude-3-5-haiku-20241022"


def test_a_message_that_breaks_off_is_gone_on_with_where_it_is_translated(translating: RunningGateway) -> None:
    with (
        Anthropic(base_url=translating.root, api_key=translating.key, max_retries=0) as client,
        client.messages.stream(model="breaks", max_tokens=50, messages=said("one two")) as stream,
    ):
        final = stream.get_final_message()
    assert final.content[0].to_dict()["text"] == "1 turns; one two2 turns; one two"


def test_a_relayed_message_that_breaks_off_is_gone_on_with_too(relaying: RunningGateway) -> None:
    with (
        Anthropic(base_url=relaying.root, api_key=relaying.key, max_retries=0) as client,
        client.messages.stream(model="breaks", max_tokens=50, messages=said("one two")) as stream,
    ):
        final = stream.get_final_message()
    # The block had ended: what follows is one of its own.
    assert [block.to_dict()["text"] for block in final.content] == ["1 turns; one two", "2 turns; one two"]
    assert final.stop_reason == "end_turn"


def test_a_late_target_is_raced_by_one_of_another_api(messages: Anthropic, openai: OpenAI) -> None:
    answer = messages.messages.with_raw_response.create(model="hedged", max_tokens=50, messages=said("quick"))
    assert answer.headers["x-gateway-target"] == "oai/fake-other"
    assert text_of(answer.parse()).endswith("quick")
    with messages.messages.stream(model="hedged", max_tokens=50, messages=said("quick")) as stream:
        assert text_of(stream.get_final_message()).endswith("quick")
    chat = openai.chat.completions.create(model="hedged", messages=said("quick"))
    assert (chat.choices[0].message.content or "").endswith("quick")


def shadow_of(gateway: RunningGateway, id: str) -> dict[str, Any]:
    """The event of a request's copy, which comes some time after its own."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in Path(gateway.config_path.parent, "data").rglob("usage-*.jsonl"):
            for line in path.read_bytes().splitlines():
                if f"{id}-shadow".encode() in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
        time.sleep(0.01)
    raise AssertionError(f"no copy of {id}")


@pytest.mark.parametrize("stream", [False, True])
def test_copies_go_to_other_apis(
    gateway: RunningGateway, messages: Anthropic, openai: OpenAI, claude: FakeAnthropic, gpt: FakeOpenAI, stream: bool
) -> None:
    text = marker()
    chat = openai.chat.completions.with_raw_response.create(model="shadowed", messages=said(text), stream=stream)
    chat.http_response.read()
    copied = shadow_of(gateway, chat.headers["x-request-id"])
    assert (copied["target"], copied["attempts"][0]["reason"]) == (CLAUDE, "ok")
    assert copied["attempts"][0]["tokens"]["prompt"] > 0
    assert claude.recording.wait_request(text).path == "/v1/messages"
    text = marker()
    message = messages.messages.with_raw_response.create(
        model="shadowed-claude", max_tokens=9, messages=said(text), stream=stream
    )
    message.http_response.read()
    copied = shadow_of(gateway, message.headers["x-request-id"])
    assert (copied["target"], copied["attempts"][0]["reason"]) == ("fake-chat", "ok")
    assert copied["attempts"][0]["tokens"]["completion"] > 0
    assert gpt.recording.wait_request(text).path == "/v1/chat/completions"


@pytest.fixture(scope="module")
def guarded(
    claude: FakeAnthropic, gpt: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway whose plugins read and change requests and answers, and keep answers."""
    made = config(claude, gpt, "response_cache")
    made["plugins"].append({"name": "pii_redaction"})
    with running_gateway(made, tmp_path_factory.mktemp("guarded"), command="proxy") as running:
        yield running


@pytest.mark.parametrize("model", [CLAUDE, "fake-chat"])
def test_plugins_see_and_change_what_anthropics_clients_say(
    guarded: RunningGateway, claude: FakeAnthropic, gpt: FakeOpenAI, model: str
) -> None:
    fake = claude if model == CLAUDE else gpt
    with Anthropic(base_url=guarded.root, api_key=guarded.key, max_retries=0) as client:
        mark = fake.recording.mark()
        asked: Any = {"model": model, "max_tokens": 500, "messages": said("write to ann@example.com")}
        answer = client.messages.create(**asked)
        assert "ann@example.com" in text_of(answer)
        with client.messages.stream(**{**asked, "messages": said("write to bob@example.com")}) as stream:
            assert "bob@example.com" in text_of(stream.get_final_message())
        sent = [request.body for request in fake.recording.since(mark)]
        assert len(sent) == 2
        assert not any(b"example.com" in body for body in sent)


def test_answers_are_kept_for_clients_of_either_protocol(guarded: RunningGateway, claude: FakeAnthropic) -> None:
    text = marker()
    with Anthropic(base_url=guarded.root, api_key=guarded.key, max_retries=0) as client:
        asked: Any = {"model": CLAUDE, "max_tokens": 500, "messages": said(text)}
        mark = claude.recording.mark()
        first, second = client.messages.create(**asked), client.messages.create(**asked)
        assert first.to_dict()["content"] == second.to_dict()["content"]
        assert second.stop_reason == "end_turn"
        assert len(claude.recording.since(mark)) == 1
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_message().to_dict()["content"] == streamed.to_dict()["content"]
        assert len(claude.recording.since(mark)) <= 2


@pytest.mark.parametrize("prefix", ["/v1", "", "/api/v1/llm"])
def test_it_is_served_under_every_prefix(relaying: RunningGateway, prefix: str) -> None:
    body = {"model": "fake-chat", "max_tokens": 9, "messages": said("x")}
    headers = {"x-api-key": relaying.key}
    for path, told in (("/messages", "content"), ("/messages/count_tokens", "input_tokens")):
        answer = httpx.post(f"{relaying.root}{prefix}{path}", json=body, headers=headers)
        assert answer.status_code == 200
        assert told in answer.json()


def test_a_bare_client_sees_every_event_named(relaying: RunningGateway) -> None:
    body = {"model": "fake-chat", "max_tokens": 9, "stream": True, "messages": said("x")}
    answer = httpx.post(f"{relaying.base_url}/messages", json=body, headers={"x-api-key": relaying.key})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == 'event: message_stop\ndata: {"type":"message_stop"}'
    for event in events:
        name, data = event.split("\n")
        assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")
