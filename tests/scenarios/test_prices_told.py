"""Prices that no ``gateway.yaml`` tells: of the default list and by API, as requests at the public port meet them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from tests.scenarios.admission import (
    CHAT,
    MASTER,
    PATIENCE,
    Provider,
    as_master,
    chat,
    config,
    counting_provider,
    sidecar_answers,
)
from tests.support.gateway import RunningGateway, children_of, is_sidecar, running_gateway
from tests.support.ports import free_port

KEY, STATIC = "gw_live_with_a_budget", "gw_live_without"
DEFAULT = 150 + 600  # nano-dollars: one token each, at 0.15 and 0.60 dollars a million


def unpriced(provider: Provider, directory: Path, **more: Any) -> dict[str, Any]:
    """A model of a provider that the default list knows by its name; nothing is told of prices."""
    made = config(provider, directory, **more)
    made.pop("pricing")
    made["providers"][0]["name"] = "openai"
    made["models"] = [{"name": "m", "targets": [{"provider": "openai", "model": "gpt-4o-mini"}]}]
    budget = {"amount": 0.001, "period": "day"}
    made["keys"] = [{"key": KEY, "name": "budgeted", "budget": budget}, {"key": STATIC, "name": "static"}]
    return made


def header(answer: bytes, name: bytes) -> str | None:
    """A header of a whole answer."""
    for line in answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(name + b": "):
            return line[len(name) + 2 :].decode()
    return None


def nanos(answer: bytes) -> int | None:
    """What an answer cost, by its header."""
    told = header(answer, b"x-gateway-cost")
    return None if told is None else round(float(told) * 1e9)


async def until_cost(gateway: RunningGateway, key: str, cost: int | None) -> tuple[bytes, float]:
    """Ask until an answer costs that; the answer, and the seconds it took."""
    begun = time.monotonic()
    while True:
        status, answer = await chat(gateway, key)
        if status == 200 and nanos(answer) == cost:
            return answer, time.monotonic() - begun
        assert time.monotonic() - begun < PATIENCE, (status, answer, gateway.log())
        await asyncio.sleep(0.02)


async def ledger_cost(gateway: RunningGateway, id: str) -> float:
    """What the ledger says that a request cost, in dollars."""
    headers = {"authorization": f"Bearer {MASTER}"}
    deadline = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(base_url=gateway.root, headers=headers, timeout=PATIENCE) as client:
        while (answer := await client.get(f"/api/v1/usage/{id}")).status_code == 404:
            assert time.monotonic() < deadline, gateway.log()
            await asyncio.sleep(0.05)
    assert answer.status_code == 200, answer.text
    return float(answer.json()["data"]["estimated_cost"])


async def price(gateway: RunningGateway, input: float, output: float) -> dict[str, Any]:
    """A price by API, per 1,000 tokens, from now on."""
    body = {"provider": "openai", "model_id": "gpt-4o-mini", "input_price_per_1k": input, "output_price_per_1k": output}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made: dict[str, Any] = (await as_master(gateway, "POST", "/api/v1/pricing", **body, effective_date=now))["data"]
    return made


def kill_sidecar(gateway: RunningGateway) -> None:
    """End the sidecar as a crash does."""
    sidecars = [pid for pid in children_of(gateway.pid) if is_sidecar(pid)]
    assert sidecars
    for pid in sidecars:
        os.kill(pid, signal.SIGKILL)


async def test_a_default_price_is_what_a_budget_goes_by_and_a_price_by_api_comes_before_it(tmp_path: Path) -> None:
    async with counting_provider() as provider:
        provider.go.set()
        with running_gateway(unpriced(provider, tmp_path / "data"), tmp_path) as gateway:
            await sidecar_answers(gateway)
            answer, _ = await until_cost(gateway, STATIC, DEFAULT)
            assert (await chat(gateway, KEY))[0] == 200, "a key with a budget is not refused"
            id = header(answer, b"x-request-id")
            assert id is not None
            assert round(await ledger_cost(gateway, id) * 1e9) == DEFAULT

            made = await price(gateway, 0.001, 0.002)
            answer, took = await until_cost(gateway, STATIC, 3_000)
            assert took < 5.0
            id = header(answer, b"x-request-id")
            assert id is not None
            assert round(await ledger_cost(gateway, id) * 1e9) == 3_000

            # Its worst case is now more than what is left of the budget.
            await as_master(gateway, "PUT", f"/api/v1/pricing/{made['id']}", output_price_per_1k=2.0)
            await until_cost(gateway, STATIC, 2_001_000)
            status, answer = await chat(gateway, KEY)
            assert status == 429
            assert b"insufficient_quota" in answer


async def test_what_was_told_outlives_the_sidecar_and_a_reload(tmp_path: Path) -> None:
    async with counting_provider() as provider:
        provider.go.set()
        told = unpriced(provider, tmp_path / "data")
        with running_gateway(told, tmp_path) as gateway:
            await sidecar_answers(gateway)
            await price(gateway, 0.001, 0.002)
            await until_cost(gateway, STATIC, 3_000)
            kill_sidecar(gateway)
            for _ in range(5):
                assert nanos((await chat(gateway, STATIC))[1]) == 3_000
            told["models"].append({"name": "other", "targets": told["models"][0]["targets"]})

            def is_taken(client: httpx.Client) -> bool:
                listed = client.get("/v1/models").json()
                # In the loop, so that a price that is lost for a moment only would be seen.
                answer = client.post("/v1/chat/completions", content=CHAT, headers={"content-type": "application/json"})
                assert answer.status_code == 200, answer.text
                assert round(float(answer.headers["x-gateway-cost"]) * 1e9) == 3_000
                return any(each["id"] == "other" for each in listed["data"])

            await asyncio.to_thread(gateway.reload, told, is_taken)
            assert nanos((await chat(gateway, STATIC))[1]) == 3_000
            assert (await chat(gateway, KEY))[0] == 200


async def test_a_data_plane_elsewhere_is_told_over_http(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    async with counting_provider() as provider:
        provider.go.set()
        first_config = unpriced(provider, tmp_path / "a", sidecar={"listen": listen})
        second_config = unpriced(provider, tmp_path / "b", sidecar={"url": f"http://{listen}"})
        with (
            running_gateway(first_config, tmp_path / "first") as first,
            running_gateway(second_config, tmp_path / "second", command="proxy") as second,
        ):
            await sidecar_answers(first)
            await until_cost(second, STATIC, DEFAULT)
            await price(first, 0.001, 0.002)
            _, took = await until_cost(second, STATIC, 3_000)
            assert took < 5.0


async def test_without_a_sidecar_the_configuration_is_all_there_is(tmp_path: Path) -> None:
    async with counting_provider() as provider:
        provider.go.set()
        with running_gateway(unpriced(provider, tmp_path / "data"), tmp_path, command="proxy") as gateway:
            status, answer = await chat(gateway, STATIC)
            assert (status, nanos(answer)) == (200, None)
            status, answer = await chat(gateway, KEY)
            assert status == 403
            assert b"model_not_priced" in answer
