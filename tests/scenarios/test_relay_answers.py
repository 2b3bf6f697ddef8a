"""What the client gets: the provider's own bytes, event by event, with the gateway's headers beside."""

from __future__ import annotations

import http.client
import json
from typing import Any

import httpx
import pytest

from tests.scenarios.conftest import Endpoint
from tests.scenarios.material import CLOCK, WEATHER, marker
from tests.support.fake_openai import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway
from tests.support.raw_http import RawConnection, request

TEXT = "Grüß Gott 你好 👋👨‍👩‍👧"
PLAIN = ["fake-chat", "extra", "chunked", "close", "gzip", "br", "crlf", "usage-last"]
STREAMED = [
    "fake-chat",
    "extra",
    "gzip",
    "br",
    "crlf",
    "crlf-split",
    "split",
    "joined",
    "usage-last",
    "no-usage",
    "error-event",
    "close",
]


def body_of(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": TEXT}], **more}


def from_provider(fake: FakeOpenAI, body: dict[str, Any], path: str = "/chat/completions") -> bytes:
    """What the provider itself answers."""
    answer = httpx.post(fake.base_url + path, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=30)
    assert answer.status_code == 200
    return answer.content


def events(stream: bytes) -> list[bytes]:
    """The events of a stream, terminators included, whichever line ends they use."""
    ends = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
    *whole, rest = stream.split(ends)
    assert rest == b""
    return [event + ends for event in whole]


def data_of(event: bytes) -> Any:
    lines = [line.removeprefix(b"data: ") for line in event.splitlines() if line.startswith(b"data: ")]
    return json.loads(lines[0]) if lines and lines[0] != b"[DONE]" else None


def is_usage_event(event: bytes) -> bool:
    data = data_of(event)
    return data is not None and data.get("choices") == [] and data.get("usage") is not None


@pytest.mark.parametrize("model", PLAIN)
def test_plain_answers_are_the_providers_bytes(http: httpx.Client, fake: FakeOpenAI, model: str) -> None:
    body = body_of(model, n=2, logprobs=True, top_logprobs=1, x_mine={"a": 1.5})
    answer = http.post("/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.content == from_provider(fake, body)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("model", STREAMED)
def test_streams_with_usage_asked_are_the_providers_bytes(http: httpx.Client, fake: FakeOpenAI, model: str) -> None:
    body = body_of(model, stream=True, stream_options={"include_usage": True}, n=2, x_mine={"a": 1.5})
    answer = http.post("/chat/completions", json=body)
    assert answer.content == from_provider(fake, body)
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("model", [name for name in STREAMED if name != "error-event"])
def test_only_the_usage_event_is_hidden_from_who_did_not_ask(http: httpx.Client, fake: FakeOpenAI, model: str) -> None:
    answer = http.post("/chat/completions", json=body_of(model, stream=True))
    asked = from_provider(fake, body_of(model, stream=True, stream_options={"include_usage": True}))
    expected = [event for event in events(asked) if not is_usage_event(event)]
    assert events(answer.content) == expected
    assert len(expected) == len(events(asked)) - (model not in ("usage-last", "no-usage"))


def test_legacy_completions_hide_the_usage_event_too(http: httpx.Client, fake: FakeOpenAI) -> None:
    body = {"model": "fake-chat", "prompt": TEXT, "stream": True}
    asked = from_provider(fake, {**body, "stream_options": {"include_usage": True}}, "/completions")
    answer = http.post("/completions", json=body)
    assert events(answer.content) == [event for event in events(asked) if not is_usage_event(event)]


def test_streamed_tool_calls_are_the_providers_bytes(http: httpx.Client, fake: FakeOpenAI) -> None:
    body = body_of("fake-chat", stream=True, stream_options={"include_usage": True}, tools=[WEATHER, CLOCK])
    body["messages"][0]["content"] = "get_weather city=Zürich days=3 and get_time zone=Europe/Zurich"
    answer = http.post("/chat/completions", json=body)
    assert answer.content == from_provider(fake, body)
    assert b'"tool_calls"' in answer.content


def test_comments_and_other_fields_of_events_reach_the_client(http: httpx.Client, fake: FakeOpenAI) -> None:
    body = body_of("comments", stream=True, stream_options={"include_usage": True})
    answer = http.post("/chat/completions", json=body)
    assert answer.content == from_provider(fake, body)
    assert answer.content.startswith(b": ping\n\n")


def test_compressed_answers_are_understood(http: httpx.Client, fake: FakeOpenAI) -> None:
    for model in ("gzip", "br"):
        answer = http.post("/chat/completions", json=body_of(model), headers={"accept-encoding": "identity"})
        assert "content-encoding" not in answer.headers
        assert answer.json()["choices"][0]["message"]["content"] == f"1 messages; {TEXT}"
        assert answer.json()["usage"] == json.loads(from_provider(fake, body_of(model)))["usage"]


def read_event(response: http.client.HTTPResponse) -> bytes:
    """The next event, read as soon as it is there."""
    event = b""
    while not event.endswith(b"\n\n"):
        line = response.readline()
        assert line, f"the stream ended after {event!r}"
        event += line
    return event


@pytest.mark.parametrize("usage", [True, False])
def test_events_arrive_one_by_one_as_the_provider_sends_them(
    gateway: RunningGateway, fake: FakeOpenAI, usage: bool
) -> None:
    # The provider sends the next event only after the client has confirmed this one, so that a gateway that
    # holds anything back never gets to the end.
    gate = marker()
    body = body_of("gated", stream=True, stream_options={"include_usage": usage}, metadata={"gate": gate})
    with RawConnection(gateway.address) as connection:
        connection.send(request("/v1/chat/completions", json.dumps(body).encode(), key=gateway.key))
        fake.gates.release(gate)
        response = connection.begin_response()
        assert response.status == 200
        got: list[bytes] = []
        while not got or b"[DONE]" not in got[-1]:
            got.append(read_event(response))
            # Without usage asked for, the usage event is passed over between the last choice and [DONE].
            hidden = not usage and b'"finish_reason":"stop"' in got[-1]
            fake.gates.release(gate, 2 if hidden else 1)
    assert len(got) == 10 - (not usage)
    deltas = [choice["delta"] for event in got[:-1] for choice in data_of(event)["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == f"1 messages; {TEXT}"


def test_the_head_arrives_before_the_first_event_or_with_it(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    gate = marker()
    body = body_of("gated-head", stream=True, metadata={"gate": gate})
    with RawConnection(gateway.address) as connection:
        connection.send(request("/v1/chat/completions", json.dumps(body).encode(), key=gateway.key))
        fake.recording.wait_request(gate)
        fake.gates.release(gate)
        response = connection.begin_response()
        assert response.status == 200
        assert read_event(response).startswith(b"data: {")


def test_an_answer_of_five_megabytes(http: httpx.Client, fake: FakeOpenAI) -> None:
    body = body_of("fake-chat")
    body["messages"][0]["content"] = "repeat=50 " + "wörter " * 14_000
    answer = http.post("/chat/completions", json=body)
    assert len(answer.content) > 5_000_000
    assert answer.content == from_provider(fake, body)


def test_a_long_stream(http: httpx.Client, fake: FakeOpenAI) -> None:
    body = body_of("fake-chat", stream=True, stream_options={"include_usage": True})
    body["messages"][0]["content"] = "repeat=100 " + "wörter " * 100
    answer = http.post("/chat/completions", json=body)
    assert answer.content == from_provider(fake, body)
    assert len(events(answer.content)) > 10_000


def test_the_gateways_headers(http: httpx.Client) -> None:
    for stream in (False, True):
        answers = [http.post("/chat/completions", json=body_of("fake-chat", stream=stream)) for _ in range(2)]
        for answer in answers:
            assert answer.headers["x-gateway-attempts"] == "1"
            assert "fake" in answer.headers["x-gateway-target"]
            assert "fake-chat" in answer.headers["x-gateway-target"]
            assert "dur=" in answer.headers["server-timing"]
        assert len({answer.headers["x-request-id"] for answer in answers}) == 2


def test_the_target_names_the_providers_model(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json=body_of("renamed"))
    assert "fake-chat" in answer.headers["x-gateway-target"]
    assert "renamed" not in answer.headers["x-gateway-target"]


def test_the_cost_is_told_where_it_is_known(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json=body_of("fake-chat"))
    usage = answer.json()["usage"]
    expected = (usage["prompt_tokens"] * 1.0 + usage["completion_tokens"] * 2.0) / 1000
    assert float(answer.headers["x-gateway-cost"]) == pytest.approx(expected, rel=1e-6)


def test_an_answer_has_one_length_and_is_not_told_twice(endpoint: Endpoint) -> None:
    answer = httpx.post(
        endpoint.base_url + "/chat/completions",
        json=body_of("chunked"),
        headers={"authorization": f"Bearer {endpoint.key}"},
    )
    framing = [name for name, _ in answer.headers.multi_items() if name in ("content-length", "transfer-encoding")]
    assert len(framing) == 1
