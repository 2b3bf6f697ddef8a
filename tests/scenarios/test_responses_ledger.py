"""Responses in the ledger, over the end of a process, and where nothing can be kept: one event a request, whatever
happens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scenarios.material import marker
from tests.scenarios.test_usage_truth import CACHED, INPUT, OUTPUT, SECRET, WAIT, entry
from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.sidecar import MASTER
from tests.unit.protocols.responses.grammar import Checked

NAMES = ("fake-chat", "failing", "gated", "never")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    """The provider."""
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(fake: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with a ledger, prices and a cache."""
    price = {"input_per_1k": 0.002, "output_per_1k": 0.008, "cached_input_per_1k": 0.001}
    provider = {"base_url": fake.base_url, "api_key": KEY, "retry": {"attempts": 1}, "breaker": {"failures": 1000}}
    models: list[dict[str, Any]] = [{"name": each, "targets": [{"provider": "fake", "model": each}]} for each in NAMES]
    both = [{"provider": "fake", "model": "failing"}, {"provider": "second", "model": "fake-chat"}]
    models.append({"name": "falling", "targets": both})
    config: dict[str, Any] = {
        "server": {"port": 0, "drain": 5.0},
        "master_key": MASTER,
        "data_dir": "data",
        "providers": [{"name": "fake", **provider}, {"name": "second", **provider}],
        "models": models,
        "pricing": [{"provider": each, "model": "fake-chat", **price} for each in ("fake", "second")],
        "plugins": [{"name": "response_cache"}],
        "keys": [{"key": SECRET, "name": "static"}],
    }
    with running_gateway(config, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[httpx.Client]:
    """A client of the gateway."""
    with client_of(gateway) as opened:
        yield opened


def client_of(gateway: RunningGateway) -> httpx.Client:
    """A client below ``/v1``."""
    return httpx.Client(base_url=gateway.base_url, timeout=WAIT, headers={"authorization": f"Bearer {SECRET}"})


def ask(said: str, model: str = "fake-chat", **more: Any) -> dict[str, Any]:
    """A request of the Responses API."""
    return {"model": model, "input": said, **more}


def cost(usage: dict[str, Any]) -> int:
    """What a Response's usage costs, in nano-dollars."""
    cached = int(usage["input_tokens_details"]["cached_tokens"])
    return (int(usage["input_tokens"]) - cached) * INPUT + cached * CACHED + int(usage["output_tokens"]) * OUTPUT


def check(row: dict[str, Any], usage: dict[str, Any], *, streamed: bool = False) -> None:
    """The entry says what the Response does."""
    assert row["endpoint"] == "responses"
    assert (row["prompt_tokens"], row["completion_tokens"]) == (usage["input_tokens"], usage["output_tokens"])
    assert row["cost_nanos"] == cost(usage)
    assert bool(row["stream"]) is streamed
    assert row["outcome"] == "ok"


def test_a_plain_answer(client: httpx.Client, gateway: RunningGateway) -> None:
    answer = client.post("/responses", json=ask(marker()))
    check(entry(gateway, answer.headers["x-request-id"]), answer.json()["usage"])


def test_a_stream(client: httpx.Client, gateway: RunningGateway) -> None:
    answer = client.post("/responses", json=ask(marker(), stream=True))
    final = Checked(answer.content).final
    check(entry(gateway, answer.headers["x-request-id"]), final["usage"], streamed=True)


def test_a_fallback(client: httpx.Client, gateway: RunningGateway) -> None:
    answer = client.post("/responses", json=ask(marker(), "falling"))
    row = entry(gateway, answer.headers["x-request-id"])
    check(row, answer.json()["usage"])
    assert row["provider"] == "second"
    assert len(row["attempts"]) >= 2


def test_one_in_the_background(client: httpx.Client, gateway: RunningGateway) -> None:
    answer = client.post("/responses", json=ask(marker(), background=True))
    row = entry(gateway, answer.headers["x-request-id"])
    check(row, client.get(f"/responses/{answer.json()['id']}").json()["usage"])


def test_one_in_the_background_that_was_cancelled(
    client: httpx.Client, gateway: RunningGateway, fake: FakeOpenAI
) -> None:
    said = marker()
    answer = client.post("/responses", json=ask(said, "never", background=True))
    request = fake.recording.wait_request(said)
    assert client.post(f"/responses/{answer.json()['id']}/cancel").json()["status"] == "cancelled"
    fake.recording.wait_closed(request, WAIT)
    assert entry(gateway, answer.headers["x-request-id"])["outcome"] == "cancelled"


def test_a_client_that_leaves(client: httpx.Client, gateway: RunningGateway, fake: FakeOpenAI) -> None:
    said = marker()
    fake.gates.release("", 3)
    with client.stream("POST", "/responses", json=ask(said, "gated", stream=True)) as answer:
        request = fake.recording.wait_request(said)
        lines = answer.iter_lines()
        assert next(lines) == "event: response.created"
        request_id = answer.headers["x-request-id"]
    fake.recording.wait_closed(request, WAIT)
    assert entry(gateway, request_id)["outcome"] == "cancelled"


def test_an_answer_from_the_cache(client: httpx.Client, gateway: RunningGateway) -> None:
    body = ask(marker(), temperature=0)
    first = client.post("/responses", json=body).json()
    again = client.post("/responses", json=body)
    row = entry(gateway, again.headers["x-request-id"])
    assert again.json()["output_text"] == first["output_text"]
    assert (row["outcome"], row["cost_nanos"]) == ("cached", 0)
    assert again.json()["id"] != first["id"]
    assert client.get(f"/responses/{again.json()['id']}").json()["output_text"] == first["output_text"]


def small(fake: FakeOpenAI, **server: Any) -> dict[str, Any]:
    """A configuration with one model that waits for the test, and one that does not."""
    names = ("gated-head", "fake-chat")
    return {
        "server": {"port": 0, **server},
        "data_dir": "data",
        "providers": [{"name": "fake", "base_url": fake.base_url, "api_key": KEY}],
        "models": [{"name": each, "targets": [{"provider": "fake", "model": each}]} for each in names],
        "keys": [{"key": SECRET, "name": "static"}],
    }


def test_what_runs_when_the_gateway_stops_is_finished_and_kept(fake: FakeOpenAI, tmp_path: Path) -> None:
    config, said = small(fake, drain=20.0), marker()
    with running_gateway(config, tmp_path, command="proxy") as first, client_of(first) as client:
        made = client.post("/responses", json=ask(said, "gated-head", background=True)).json()
        fake.recording.wait_request(said)
        threading.Timer(0.5, lambda: fake.gates.release("")).start()  # while it is stopping
    with running_gateway(config, tmp_path, command="proxy") as second, client_of(second) as client:
        found = client.get(f"/responses/{made['id']}").json()
        assert (found["status"], found["output_text"]) == ("completed", f"1 messages; {said}")


def test_what_does_not_end_in_time_has_failed(fake: FakeOpenAI, tmp_path: Path) -> None:
    config, said = small(fake, drain=1.0), marker()
    with running_gateway(config, tmp_path, command="proxy") as first, client_of(first) as client:
        made = client.post("/responses", json=ask(said, "gated-head", background=True)).json()
        fake.recording.wait_request(said)
    with running_gateway(config, tmp_path, command="proxy") as second, client_of(second) as client:
        found = client.get(f"/responses/{made['id']}").json()
        assert found["status"] == "failed"
        assert "shutting down" in found["error"]["message"]


def test_where_nothing_can_be_kept_answers_go_on(fake: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "data" / "responses.sqlite").mkdir(parents=True)
    with running_gateway(small(fake), tmp_path, command="proxy") as running, client_of(running) as client:
        made = client.post("/responses", json=ask("x"))
        assert made.status_code == 200
        streamed = Checked(client.post("/responses", json=ask("x", stream=True)).content)
        assert streamed.final["status"] == "completed"
        for answer in (
            client.get(f"/responses/{made.json()['id']}"),
            client.post("/responses", json=ask("x", previous_response_id=made.json()["id"])),
            client.post("/responses", json=ask("x", background=True)),
        ):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "store_unavailable"
