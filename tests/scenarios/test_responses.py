"""The Responses API through the official OpenAI SDK, in front of a provider that has Chat Completions alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseFunctionToolCall

from tests.scenarios.conftest import MAX_BODY, gateway_config
from tests.scenarios.material import ADA, ASK_PERSON, ASK_TOOLS, TOOLS, Person, marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.unit.protocols.responses.grammar import Checked

OTHER_KEY = "gw_live_scenario_other_0123456789"
SAME_KEY = "gw_live_scenario_same_0123456789"
LIMITED_KEY = "gw_live_scenario_limited_0123456789"
FLAT: Any = [{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS]
SECONDS = 30.0


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    """A provider of this module's own: its gate is held by these tests alone."""
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(fake: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway of two workers, so that what is kept is found by either."""
    config = gateway_config(fake)
    config["server"] |= {"workers": 2, "drain": 1.0, "limits_per_worker": True}
    config["keys"] += [
        {"key": OTHER_KEY, "name": "other", "organization": "others"},
        {"key": SAME_KEY, "name": "same", "organization": "tests"},
        {
            "key": LIMITED_KEY,
            "name": "limited",
            "organization": "limited",
            "limits": [{"metric": "requests", "window": "day", "limit": 1}],
        },
    ]
    with running_gateway(config, tmp_path_factory.mktemp("responses"), command="proxy") as running:
        yield running


def client_of(gateway: RunningGateway, key: str) -> OpenAI:
    """A client that asks on a new connection each time, so that any worker may answer."""
    alone = {"connection": "close"}
    return OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0, timeout=30, default_headers=alone)


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    """The client of one organisation."""
    with client_of(gateway, gateway.key) as made:
        yield made


@pytest.fixture
def other(gateway: RunningGateway) -> Iterator[OpenAI]:
    """The client of another organisation."""
    with client_of(gateway, OTHER_KEY) as made:
        yield made


def last_sent(fake: FakeOpenAI, said: str) -> dict[str, Any]:
    """The Chat request the provider got last that holds ``said``."""
    sent: dict[str, Any] = [each for each in fake.recording.since(0) if said.encode() in each.body][-1].json
    return sent


def test_a_text(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    answer = client.responses.create(
        model="fake-chat", input=said, instructions="Be brief.", max_output_tokens=50, metadata={"a": "b"}, user="u"
    )
    assert answer.output_text == f"2 messages; {said}"
    assert answer.status == "completed"
    assert answer.metadata == {"a": "b"}
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    sent = last_sent(fake, said)
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}]
    assert sent["max_tokens"] == 50
    assert "metadata" not in sent


def test_what_gatewayz_documents(gateway: RunningGateway) -> None:
    body = {
        "model": "fake-chat",
        "input": "Hello, world!",
        "max_tokens": 100,
        "temperature": 0.7,
        "response_format": {"type": "json_object"},
    }
    for prefix in ("/v1", "", "/api/v1/llm"):
        url = f"{gateway.base_url.removesuffix('/v1')}{prefix}/responses"
        answer = httpx.post(url, json=body, headers={"authorization": f"Bearer {gateway.key}"}).json()
        assert answer["output_text"] == '{"echo": "Hello, world!"}'
        assert answer["usage"]["prompt_tokens"] == answer["usage"]["input_tokens"]
        assert isinstance(answer["created"], int)


@pytest.mark.parametrize("model", ["fake-chat", "split", "joined", "crlf-split", "comments", "extra", "usage-last"])
def test_a_stream_is_sound_however_the_provider_sends_it(gateway: RunningGateway, model: str) -> None:
    body = {"model": model, "input": "Grüß Gott 你好 👋", "stream": True}
    headers = {"authorization": f"Bearer {gateway.key}"}
    with httpx.stream("POST", f"{gateway.base_url}/responses", json=body, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = Checked(answer.read())
    assert stream.final["status"] == "completed"
    assert stream.final["output"][0]["content"][0]["text"] == "1 messages; Grüß Gott 你好 👋"
    assert stream.final["usage"]["output_tokens"] > 0


def test_a_stream_through_the_helper(client: OpenAI) -> None:
    with client.responses.stream(model="fake-chat", input="Hello there") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "1 messages; Hello there"
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert client.responses.retrieve(final.id).output_text == final.output_text


def test_structured_output(client: OpenAI) -> None:
    answer = client.responses.parse(model="fake-chat", input=ASK_PERSON, text_format=Person)
    assert answer.output_parsed == ADA


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_and_their_results(client: OpenAI, streamed: bool) -> None:
    if streamed:
        with client.responses.stream(model="fake-chat", input=ASK_TOOLS, tools=FLAT) as stream:
            asked: Response = stream.get_final_response()
    else:
        asked = client.responses.create(model="fake-chat", input=ASK_TOOLS, tools=FLAT)
    calls = [item for item in asked.output if isinstance(item, ResponseFunctionToolCall)]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"result of {call.name}"} for call in calls
    ]
    stored = client.responses.create(model="fake-chat", previous_response_id=asked.id, input=results, tools=FLAT)
    assert stored.output_text == "Tools said: result of get_weather; result of get_time"
    sent_back: Any = [{"role": "user", "content": ASK_TOOLS}, *(item.to_dict() for item in asked.output), *results]
    plain = client.responses.create(model="fake-chat", input=sent_back, tools=FLAT, store=False)
    assert plain.output_text == stored.output_text


def test_log_probabilities(client: OpenAI) -> None:
    answer = client.responses.create(
        model="fake-chat", input="Hi", include=["message.output_text.logprobs"], top_logprobs=2
    )
    part: Any = answer.output[0].to_dict()["content"]
    assert "".join(each["token"] for each in part[0]["logprobs"]) == answer.output_text
    assert len(part[0]["logprobs"][0]["top_logprobs"]) == 2


def test_an_answer_that_is_cut_off_and_one_refused(client: OpenAI) -> None:
    short = client.responses.create(model="fake-chat", input="one two three four", max_output_tokens=2)
    assert short.status == "incomplete"
    assert short.incomplete_details is not None
    assert short.incomplete_details.reason == "max_output_tokens"
    no = client.responses.create(model="fake-chat", input="refuse this")
    assert no.output[0].to_dict()["content"] == [{"type": "refusal", "refusal": "I can't do that: refuse this"}]


def test_a_conversation_goes_on(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    first = client.responses.create(model="fake-chat", input=said, instructions="Once.")
    second = client.responses.create(model="fake-chat", input="and then?", previous_response_id=first.id)
    third = client.responses.create(model="fake-chat", input="and now?", previous_response_id=second.id)
    assert third.previous_response_id == second.id
    assert last_sent(fake, said)["messages"] == [
        {"role": "user", "content": said},
        {"role": "assistant", "content": f"2 messages; {said}"},
        {"role": "user", "content": "and then?"},
        {"role": "assistant", "content": second.output_text},
        {"role": "user", "content": "and now?"},
    ]
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model="fake-chat", input="x", previous_response_id=third.id)
    assert (raised.value.code, raised.value.param) == ("previous_response_not_found", "previous_response_id")


def test_items_can_be_referred_to(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    first = client.responses.create(model="fake-chat", input=said)
    (asked,) = client.responses.input_items.list(first.id)
    items: Any = [
        {"type": "item_reference", "id": asked.id},
        {"id": first.output[0].id},
        {"role": "user", "content": "again"},
    ]
    client.responses.create(model="fake-chat", input=items)
    assert [message["content"] for message in last_sent(fake, said)["messages"]] == [
        said,
        first.output_text,
        "again",
    ]


def test_what_is_kept_can_be_read_listed_and_removed(client: OpenAI) -> None:
    items: Any = [{"role": "user", "content": f"line {i}"} for i in range(5)]
    made = client.responses.create(model="fake-chat", input=items)
    read = client.responses.retrieve(made.id)
    assert read == made
    page = client.responses.input_items.list(made.id, limit=2)
    assert page.has_more
    listed: list[Any] = [item.to_dict()["content"] for item in page]  # all pages
    assert [content[0]["text"] for content in listed] == [f"line {i}" for i in reversed(range(5))]
    upwards = client.responses.input_items.list(made.id, order="asc", limit=2)
    assert len(list(upwards)) == 5
    client.responses.delete(made.id)
    for gone in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)


def test_what_is_not_to_be_kept_is_not(client: OpenAI) -> None:
    made = client.responses.create(model="fake-chat", input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_another_organisation_finds_nothing(client: OpenAI, other: OpenAI, gateway: RunningGateway) -> None:
    said = marker()
    made = client.responses.create(model="fake-chat", input=said, background=False)
    (item,) = client.responses.input_items.list(made.id)
    for reaches in (
        other.responses.retrieve,
        other.responses.delete,
        other.responses.cancel,
        other.responses.input_items.list,
    ):
        with pytest.raises(openai.NotFoundError):
            reaches(made.id)
    with pytest.raises(openai.BadRequestError):
        other.responses.create(model="fake-chat", input="x", previous_response_id=made.id)
    reference: Any = [{"type": "item_reference", "id": item.id}]
    with pytest.raises(openai.BadRequestError) as raised:
        other.responses.create(model="fake-chat", input=reference)
    assert said not in raised.value.message
    with client_of(gateway, SAME_KEY) as colleague:
        assert colleague.responses.retrieve(made.id) == made
    with client_of(gateway, "gw_live_nobody") as nobody, pytest.raises(openai.AuthenticationError):
        nobody.responses.retrieve(made.id)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "x", "tools": [{"type": "web_search"}]}, 400, "tools.web_search"),
        ({"input": "x", "conversation": "conv_1"}, 404, "conversation"),
        ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, 400, "input[0].content[0].type"),
        ({"input": "x", "temprature": 1}, 400, "temprature"),
        ({}, 400, "input"),
        ({"input": "x", "model": "nothing"}, 404, "model"),
        ({"input": "x", "model": "error-429"}, 429, "model"),
        ({"input": "x", "model": "error-400"}, 400, "model"),
    ],
)
def test_errors_name_the_field(gateway: RunningGateway, body: dict[str, Any], status: int, param: str) -> None:
    headers = {"authorization": f"Bearer {gateway.key}"}
    answer = httpx.post(f"{gateway.base_url}/responses", json={"model": "fake-chat"} | body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param


def test_bodies_that_are_none(gateway: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    for content in (
        b"",
        b"{",
        b"[]",
        b'{"model": "fake-chat", "input": [}',
        b'{"model": "fake-chat", "input": "\xff"}',
    ):
        answer = httpx.post(f"{gateway.base_url}/responses", content=content, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]
    long = {"model": "fake-chat", "input": "x" * (MAX_BODY // 2)}
    first = httpx.post(f"{gateway.base_url}/responses", json=long, headers=headers, timeout=30).json()
    answer = httpx.post(
        f"{gateway.base_url}/responses",
        json={**long, "previous_response_id": first["id"], "input": "x"},
        headers=headers,
        timeout=30,
    )
    assert answer.status_code == 413  # it was told what it had been asked
    assert answer.json()["error"]["param"] == "previous_response_id"


@pytest.mark.parametrize("model", ["cut", "error-event"])
def test_a_stream_that_breaks_off_fails_in_its_own_words(gateway: RunningGateway, model: str) -> None:
    headers = {"authorization": f"Bearer {gateway.key}"}
    body = {"model": model, "input": "Hello", "stream": True}
    with httpx.stream("POST", f"{gateway.base_url}/responses", json=body, headers=headers) as answer:
        stream = Checked(answer.read())
    assert stream.final["status"] == "failed"
    assert stream.final["error"]["message"]


def ended(client: OpenAI, response_id: str) -> Response:
    """The Response once it is over."""
    deadline = time.monotonic() + SECONDS
    while (found := client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline, "the response does not end"
    return found


def test_one_in_the_background(client: OpenAI, fake: FakeOpenAI) -> None:
    said = marker()
    made = client.responses.create(model="gated-head", input=said, background=True)
    assert made.status == "queued"
    assert made.output == []
    fake.recording.wait_request(said)
    assert client.responses.retrieve(made.id).status == "in_progress"
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="fake-chat", input="x", previous_response_id=made.id)
    fake.gates.release("")
    done = ended(client, made.id)
    assert done.status == "completed"
    assert done.background
    assert done.output_text == f"1 messages; {said}"
    again = client.responses.create(model="fake-chat", input="x", previous_response_id=made.id)
    assert again.output_text == "3 messages; x"
    assert client.responses.cancel(made.id).status == "completed"


def test_one_in_the_background_that_fails(client: OpenAI) -> None:
    for model in ("error-503", "error-400", "cut", "error-html"):
        done = ended(client, client.responses.create(model=model, input="x", background=True).id)
        assert done.status == "failed"
        assert done.error is not None
        assert done.error.message


@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_one_in_the_background_is_given_up(client: OpenAI, fake: FakeOpenAI, way: str) -> None:
    for _ in range(3):  # by the worker that runs it or by the other one
        said = marker()
        made = client.responses.create(model="never", input=said, background=True)
        asked = fake.recording.wait_request(said)
        if way == "cancel":
            assert client.responses.cancel(made.id).status == "cancelled"
            assert client.responses.cancel(made.id).status == "cancelled"
            assert client.responses.retrieve(made.id).status == "cancelled"
        else:
            client.responses.delete(made.id)
        fake.recording.wait_closed(asked, SECONDS)


def texts_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def test_one_in_the_background_is_streamed_and_read_again(client: OpenAI, gateway: RunningGateway) -> None:
    for _ in range(3):  # by the worker that made it or by the other one
        said = marker()
        with client.responses.create(model="fake-chat", input=said, background=True, stream=True) as stream:
            events: list[Any] = list(stream)
        assert [event.type for event in events[:3]] == [
            "response.created",
            "response.queued",
            "response.in_progress",
        ]
        assert events[-1].type == "response.completed"
        assert texts_of(events) == f"1 messages; {said}"
        made = events[-1].response
        assert (made.id, made.background) == (events[0].response.id, True)
        assert client.responses.retrieve(made.id).output_text == f"1 messages; {said}"
        headers = {"authorization": f"Bearer {gateway.key}"}
        told = httpx.get(f"{gateway.base_url}/responses/{made.id}?stream=true", headers=headers)
        assert [event["type"] for event in Checked(told.content).events] == [event.type for event in events]
        for after in (0, 5, len(events) - 2):
            with client.responses.retrieve(made.id, stream=True, starting_after=after) as again:
                assert [event.sequence_number for event in again] == list(range(after + 1, len(events)))
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id, stream=True)


def test_one_in_the_background_goes_on_without_its_client(client: OpenAI, fake: FakeOpenAI) -> None:
    said = f"{marker()} one two three"
    chunks = 10  # six words, what begins and ends them, the usage, and the end
    fake.gates.release("", 3)
    with client.responses.create(model="gated", input=said, background=True, stream=True) as stream:
        events: list[Any] = []
        for event in stream:
            events.append(event)
            if event.type == "response.output_text.delta":
                break
    response_id = events[0].response.id
    request = fake.recording.wait_request(said)
    assert client.responses.retrieve(response_id).status == "in_progress"
    with client.responses.retrieve(response_id, stream=True, starting_after=events[-1].sequence_number) as again:
        fake.gates.release("", chunks - 3)
        events += list(again)
    fake.recording.wait_sent(request, chunks, SECONDS)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert texts_of(events) == f"1 messages; {said}"
    assert events[-1].type == "response.completed"
    assert ended(client, response_id).status == "completed"


@pytest.mark.parametrize("model", ["error-503", "error-400", "cut", "error-html", "error-event"])
def test_one_in_the_background_that_is_streamed_and_fails(client: OpenAI, model: str) -> None:
    with client.responses.create(model=model, input="x", background=True, stream=True) as stream:
        events: list[Any] = list(stream)
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert events[-1].response.id == events[0].response.id
    assert ended(client, events[0].response.id).status == "failed"


def test_one_in_the_background_that_is_streamed_is_given_up(client: OpenAI, fake: FakeOpenAI) -> None:
    for _ in range(2):  # by the worker that runs it or by the other one
        said = marker()
        with client.responses.create(model="endless", input=said, background=True, stream=True) as stream:
            begun: Any = next(iter(stream))
            assert begun.type == "response.created"
            asked = fake.recording.wait_request(said)
            assert client.responses.cancel(begun.response.id).status == "cancelled"
            list(stream)  # it ends
        fake.recording.wait_closed(asked, SECONDS)


def test_what_was_not_streamed_is_not(client: OpenAI) -> None:
    made = client.responses.create(model="fake-chat", input="x")
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.retrieve(made.id, stream=True)
    assert raised.value.param == "stream"
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.retrieve(
            client.responses.create(model="fake-chat", input="x", background=True).id,
            stream=True,
            extra_query={"starting_after": "x"},
        )
    assert raised.value.param in ("stream", "starting_after")


def test_only_one_in_the_background_can_be_cancelled(client: OpenAI) -> None:
    made = client.responses.create(model="fake-chat", input="x")
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(made.id)


def test_limits_hold_for_what_runs_in_the_background(gateway: RunningGateway) -> None:
    with client_of(gateway, LIMITED_KEY) as client:
        ended(client, client.responses.create(model="fake-chat", input="x", background=True).id)

        def again() -> None:
            for _ in range(2):  # one a worker
                client.responses.create(model="fake-chat", input="x", background=True)

        with pytest.raises(openai.RateLimitError):
            again()


def test_a_connection_goes_on_after_one_in_the_background(gateway: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {gateway.key}"}
    with httpx.Client(base_url=gateway.base_url, headers=headers) as client:
        for i in range(4):
            body = {"model": "fake-chat", "input": "x", "background": i % 2 == 0}
            answer = client.post("/responses", json=body).json()
            assert answer["status"] == ("queued" if i % 2 == 0 else "completed")


def test_many_at_once(gateway: RunningGateway) -> None:
    failures: list[Exception] = []

    def talk(n: int) -> None:
        try:
            with client_of(gateway, gateway.key) as client:
                previous: str | None = None
                for i in range(5):
                    answer = client.responses.create(
                        model="fake-chat", input=f"{n} {i}", previous_response_id=previous, background=i == 4
                    )
                    previous = answer.id
                    if i == 4:
                        answer = ended(client, answer.id)
                    assert answer.output_text == f"{2 * i + 1} messages; {n} {i}"
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
