"""Failures of the provider: the client learns what happened, in OpenAI's envelope, and never gets a clean lie."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.scenarios.envelope import checked
from tests.scenarios.material import marker
from tests.support.fake_openai import KEY, FakeOpenAI
from tests.support.fake_openai.app import RATE_HEADERS
from tests.support.fake_openai.behaviours import ERROR_STATUSES

BOTH = pytest.mark.parametrize("stream", [False, True])


def body_of(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": more.pop("said", "hi")}], **more}


def last_event(stream: bytes) -> str:
    return [line for line in stream.decode(errors="replace").splitlines() if line.startswith("data: ")][-1]


@BOTH
@pytest.mark.parametrize("status", ERROR_STATUSES)
def test_status_body_and_rate_headers_are_kept(http: httpx.Client, fake: FakeOpenAI, status: int, stream: bool) -> None:
    body = body_of(f"error-{status}", stream=stream)
    answer = http.post("/chat/completions", json=body)
    direct = httpx.post(fake.base_url + "/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == status
    assert answer.content == direct.content
    assert checked(answer.json())["code"] == f"fake_{status}"
    assert {name: answer.headers.get(name) for name in RATE_HEADERS} == RATE_HEADERS
    assert answer.headers["x-gateway-attempts"] == "1"
    assert "x-request-id" in answer.headers


@BOTH
@pytest.mark.parametrize(("model", "status"), [("error-html", 502), ("error-empty", 503), ("error-odd", 400)])
def test_an_error_of_another_form_comes_in_the_envelope(
    http: httpx.Client, model: str, status: int, stream: bool
) -> None:
    answer = http.post("/chat/completions", json=body_of(model, stream=stream))
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json")
    checked(answer.json())
    assert answer.headers["retry-after"] == "7"


@BOTH
def test_a_refused_connection(http: httpx.Client, stream: bool) -> None:
    answer = http.post("/chat/completions", json=body_of("nowhere", stream=stream))
    assert answer.status_code in (502, 503)
    checked(answer.json())


@BOTH
def test_the_providers_key_is_wrong(http: httpx.Client, stream: bool) -> None:
    answer = http.post("/chat/completions", json=body_of("wrong-key", stream=stream))
    assert answer.status_code in (401, 502)
    checked(answer.json())
    assert "sk-not-the-providers-key" not in answer.text


@BOTH
def test_no_answer_within_the_first_token_deadline(http: httpx.Client, fake: FakeOpenAI, stream: bool) -> None:
    said = marker()
    answer = http.post("/chat/completions", json=body_of("impatient-never", said=said, stream=stream))
    assert answer.status_code == 504
    checked(answer.json())
    fake.recording.wait_closed(fake.recording.wait_request(said))


def test_a_stream_that_stalls_ends_with_an_error_event(http: httpx.Client, fake: FakeOpenAI) -> None:
    said = marker()
    answer = http.post("/chat/completions", json=body_of("impatient-stuck", said=said, stream=True))
    assert answer.status_code == 200
    assert said in answer.text
    checked(json.loads(last_event(answer.content).removeprefix("data: ")))
    fake.recording.wait_closed(fake.recording.wait_request(said))


def test_a_plain_answer_that_breaks_off_is_an_error(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json=body_of("cut"))
    assert answer.status_code == 502
    checked(answer.json())


def test_a_stream_that_breaks_off_does_not_look_complete(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json=body_of("cut", stream=True, said="first words"))
    assert answer.status_code == 200
    assert "first " in answer.text
    assert "half an ev" not in answer.text
    checked(json.loads(last_event(answer.content).removeprefix("data: ")))


def test_a_stream_without_its_end_mark_does_not_end_silently(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json=body_of("no-done", stream=True, said="first words"))
    last = last_event(answer.content).removeprefix("data: ")
    assert last == "[DONE]" or checked(json.loads(last))


def test_an_error_event_of_the_provider_is_relayed(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json=body_of("error-event", stream=True, said="first words"))
    errors = [line for line in answer.text.splitlines() if line.startswith('data: {"error"')]
    assert len(errors) == 1
    assert '"x":1.0' in errors[0]


@BOTH
def test_a_failure_is_tried_again_with_the_same_body(http: httpx.Client, fake: FakeOpenAI, stream: bool) -> None:
    said = marker()
    answer = http.post("/chat/completions", json=body_of("retried", said=said, stream=stream, x_mine=1.0))
    assert answer.status_code == 200
    assert answer.headers["x-gateway-attempts"] == "2"
    seen = [request.body for request in fake.recording.requests if said.encode() in request.body]
    assert len(seen) == 2
    assert len(set(seen)) == 1


def test_the_last_failure_is_what_the_client_gets(http: httpx.Client, fake: FakeOpenAI) -> None:
    mark = fake.recording.mark()
    answer = http.post("/chat/completions", json=body_of("retried-in-vain"))
    assert answer.status_code == 503
    assert checked(answer.json())["code"] == "overloaded"
    assert answer.headers["x-gateway-attempts"] == str(len(fake.recording.since(mark))) == "2"


def test_after_failures_the_next_request_is_answered(http: httpx.Client) -> None:
    for model in ("cut", "impatient-never", "error-500", "nowhere", "error-html"):
        assert http.post("/chat/completions", json=body_of(model)).status_code >= 500
        assert http.post("/chat/completions", json=body_of("fake-chat")).status_code == 200
