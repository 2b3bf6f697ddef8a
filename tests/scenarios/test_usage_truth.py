"""What the ledger says of requests that did not go straight: retries, fallbacks, breaks, departures, cached answers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import orjson
import pytest

from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.sidecar import MASTER

SECRET = "gw_live_static_key"
INPUT, OUTPUT, CACHED = 2_000, 8_000, 1_000  # nano-dollars a token, as configured below
WAIT = 30.0


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(fake: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    names = ("fake-chat", "flaky", "failing", "cut", "gated", "no-usage")
    price = {"input_per_1k": 0.002, "output_per_1k": 0.008, "cached_input_per_1k": 0.001}
    retry = {"attempts": 2, "backoff": 0.01}
    models: list[dict[str, Any]] = [{"name": each, "targets": [{"provider": "fake", "model": each}]} for each in names]
    both = [{"provider": "fake", "model": "failing"}, {"provider": "second", "model": "fake-chat"}]
    models.append({"name": "falling", "targets": both})
    config: dict[str, Any] = {
        "server": {"port": 0, "drain": 5.0},
        "master_key": MASTER,
        "data_dir": "data",
        "providers": [
            {"name": "fake", "base_url": fake.base_url, "api_key": KEY, "retry": retry, "breaker": {"failures": 1000}},
            {"name": "second", "base_url": fake.base_url, "api_key": KEY},
        ],
        "models": models,
        "pricing": [{"provider": "fake", "model": each, **price} for each in names]
        + [{"provider": "second", "model": "fake-chat", **price}],
        "plugins": [{"name": "response_cache"}],
        "keys": [{"key": SECRET, "name": "static"}],
    }
    with running_gateway(config, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {SECRET}"}
    with httpx.Client(base_url=gateway.root, timeout=WAIT, headers=headers) as opened:
        yield opened


def chat(model: str, said: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": said}], **more}


def entry(gateway: RunningGateway, id: str) -> dict[str, Any]:
    """The ledger's entry of a request, which comes within moments."""
    database = gateway.config_path.parent / "data" / "gateway.db"
    deadline = time.monotonic() + WAIT
    while True:
        try:
            with closing(
                sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
            ) as connection:
                connection.row_factory = sqlite3.Row
                found = connection.execute("SELECT * FROM ledger_entries WHERE id = ?", (id,)).fetchall()
        except sqlite3.OperationalError:
            found = []  # the tables are being made
        if found:
            assert len(found) == 1
            row = dict(found[0])
            return row | {"attempts": orjson.loads(row["attempts"] or "[]")}
        assert time.monotonic() < deadline, gateway.log()
        time.sleep(0.05)


def cost(usage: dict[str, Any]) -> int:
    cached = int(usage["prompt_tokens_details"]["cached_tokens"])
    return (int(usage["prompt_tokens"]) - cached) * INPUT + cached * CACHED + int(usage["completion_tokens"]) * OUTPUT


def test_a_retry_is_billed_once(gateway: RunningGateway, client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=chat("flaky", "a retry of mine"))
    assert answer.status_code == 200
    row = entry(gateway, answer.headers["x-request-id"])
    assert [each["reason"] for each in row["attempts"]] == ["status_503", "ok"]
    assert (row["outcome"], row["cost_nanos"], row["estimated"]) == ("ok", cost(answer.json()["usage"]), 0)
    assert row["requests"] == 1


def test_a_fallback_is_billed_at_who_answered(gateway: RunningGateway, client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=chat("falling", "down to the second"))
    assert answer.status_code == 200
    row = entry(gateway, answer.headers["x-request-id"])
    told = [(each["provider"], each["model"], each["reason"]) for each in row["attempts"]]
    assert told == [("fake", "failing", "status_503")] * 2 + [("second", "fake-chat", "ok")]
    assert (row["provider"], row["model"], row["requested_model"]) == ("second", "fake-chat", "falling")
    assert row["cost_nanos"] == cost(answer.json()["usage"])


def test_what_failed_in_the_end_costs_nothing(gateway: RunningGateway, client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=chat("failing", "no way"))
    assert answer.status_code == 503
    row = entry(gateway, answer.headers["x-request-id"])
    assert [each["reason"] for each in row["attempts"]] == ["status_503", "status_503"]
    assert (row["outcome"], row["cost_nanos"], row["prompt_tokens"], row["completion_tokens"]) == ("error", 0, 0, 0)


def test_a_stream_that_breaks_is_billed_by_the_last_usage_seen(gateway: RunningGateway, client: httpx.Client) -> None:
    """This provider tells its usage and breaks off then, in the middle of an event."""
    body = chat("cut", "one two three four five six seven eight", stream=True, stream_options={"include_usage": True})
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        events = [orjson.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
    (told,) = [event["usage"] for event in events if event.get("usage")]
    row = entry(gateway, answer.headers["x-request-id"])
    assert (row["outcome"], row["estimated"], row["cost_nanos"]) == ("cut", 0, cost(told))
    assert [each["reason"] for each in row["attempts"]] == ["reset"]


def test_who_leaves_is_billed_for_what_came(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    async def leave() -> str:
        headers = {"authorization": f"Bearer {SECRET}"}
        body = chat("gated", "one two three four", stream=True, metadata={"gate": "leaving"})
        fake.gates.release("leaving", 3)
        async with (
            httpx.AsyncClient(base_url=gateway.root, timeout=WAIT, headers=headers) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            seen = 0
            async for line in answer.aiter_lines():
                seen += line.startswith("data: ")
                if seen == 3:
                    break
            return str(answer.headers["x-request-id"])

    row = entry(gateway, asyncio.run(leave()))
    assert (row["outcome"], row["estimated"], row["prompt_tokens"]) == ("cancelled", 1, 4 + 1 + 3 + 3)
    assert 0 < row["completion_tokens"] <= 4
    assert row["cost_nanos"] == row["prompt_tokens"] * INPUT + row["completion_tokens"] * OUTPUT


def test_a_provider_that_tells_no_usage(gateway: RunningGateway, client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=chat("no-usage", "one two three"))
    row = entry(gateway, answer.headers["x-request-id"])
    assert "usage" not in answer.json()
    assert (row["outcome"], row["estimated"], row["prompt_tokens"]) == ("ok", 1, 3 + 1 + 3 + 3)
    assert row["completion_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_from_the_cache_tells_what_it_saved(
    gateway: RunningGateway, client: httpx.Client, fake: FakeOpenAI, stream: bool
) -> None:
    body = chat("fake-chat", f"to be kept {stream}", stream=stream)
    first = client.post("/v1/chat/completions", json=body)
    paid = entry(gateway, first.headers["x-request-id"])
    mark = fake.recording.mark()
    second = client.post("/v1/chat/completions", json=body)
    assert (second.headers["x-gateway-cache"], second.content) == ("hit", first.content)
    assert not fake.recording.since(mark)
    row = entry(gateway, second.headers["x-request-id"])
    assert (row["outcome"], row["cost_nanos"], row["saved_nanos"]) == ("cached", 0, paid["cost_nanos"])
    assert paid["cost_nanos"] > 0
    assert (row["provider"], row["model"], row["attempts"]) == ("fake", "fake-chat", [])


def test_the_ledger_is_whole(gateway: RunningGateway) -> None:
    database = gateway.config_path.parent / "data" / "gateway.db"
    told = (
        "sum(requests), sum(prompt_tokens), sum(completion_tokens), sum(cost_nanos), sum(saved_nanos), sum(estimated)"
    )
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        connection.execute("BEGIN")  # what is entered meanwhile is in neither
        entries = connection.execute(f"SELECT {told} FROM ledger_entries").fetchone()
        assert connection.execute(f"SELECT {told} FROM usage_days").fetchone() == entries
        assert connection.execute("SELECT count(*) FROM poison_entries").fetchone() == (0,)
