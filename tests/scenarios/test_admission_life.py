"""Keys and limits over changes, kills and lost connections, on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from tests.scenarios.admission import (
    MASTER,
    PATIENCE,
    Provider,
    as_master,
    chat,
    config,
    counting_provider,
    judged,
    sidecar_answers,
)
from tests.support.gateway import RunningGateway, children_of, running_gateway
from tests.support.ports import free_port
from tests.support.redis_server import running_redis


async def until_status(gateway: RunningGateway, key: str, status: int) -> float:
    """Ask until the answer has this status; seconds it took."""
    begun = time.monotonic()
    while (answer := await chat(gateway, key))[0] != status:
        assert time.monotonic() - begun < PATIENCE, answer
    return time.monotonic() - begun


async def new_key(gateway: RunningGateway) -> tuple[str, str]:
    """The secret and the id of a key of the default organisation."""
    made = (await as_master(gateway, "POST", "/api/v1/auth/api-keys", name="k", scopes=["inference"]))["data"]
    return made["key"], made["id"]


async def revoke(gateway: RunningGateway, identity: str) -> None:
    async with httpx.AsyncClient(base_url=gateway.root, headers={"authorization": f"Bearer {MASTER}"}) as client:
        answer = await client.delete(f"/api/v1/auth/api-keys/{identity}")
    assert answer.is_success, answer.text


async def revocation_is_fast(first: RunningGateway, second: RunningGateway) -> None:
    """A key made at one is good at both, and dead at both at once."""
    for _ in range(3):
        key, identity = await new_key(first)
        assert (await judged(first, key))[0] == (await judged(second, key))[0] == 200
        await revoke(first, identity)
        took = await asyncio.gather(until_status(first, key, 401), until_status(second, key, 401))
        assert max(took) < 5.0, took
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"{second.root}/metrics")).text
    lag = next(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("gateway_policy_lag_second"))
    assert 0 < lag < 5.0


async def two_gateways(tmp_path: Path, provider: Provider, **shared: Any) -> None:
    listen = f"127.0.0.1:{free_port()}"
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first_config = config(provider, tmp_path / "a", sidecar={"listen": listen}, **shared)
    second_config = config(provider, tmp_path / "b", sidecar={"url": f"http://{listen}"}, **shared)
    with (
        running_gateway(first_config, tmp_path / "first") as first,
        running_gateway(second_config, tmp_path / "second", command="proxy") as second,
    ):
        await sidecar_answers(first)
        await sidecar_answers(second)
        await revocation_is_fast(first, second)


async def test_a_revoked_key_is_dead_at_two_gateways_within_a_second(tmp_path: Path) -> None:
    async with counting_provider() as provider:
        provider.go.set()
        await two_gateways(tmp_path, provider)


async def test_a_revoked_key_is_dead_within_a_second_by_way_of_redis(tmp_path: Path) -> None:
    with running_redis() as redis:
        async with counting_provider() as provider:
            provider.go.set()
            await two_gateways(tmp_path, provider, redis_url=redis.url, server={"workers": 2})


async def test_counts_are_right_after_a_kill(tmp_path: Path) -> None:
    limits = [{"metric": "requests", "window": "month", "limit": 20}, {"metric": "concurrency", "limit": 1}]
    keys = [{"key": "gw_live_counted", "name": "k", "limits": limits, "budget": {"amount": 100, "period": "month"}}]
    async with counting_provider() as provider:
        provider.go.set()
        answered = 0
        for killed in (True, True, False):
            with running_or_killed(config(provider, tmp_path / "data", keys=keys), tmp_path, killed) as gateway:
                for _ in range(5):
                    assert (await chat(gateway, "gw_live_counted"))[0] == 200, gateway.log()
                    answered += 1
        with running_gateway(config(provider, tmp_path / "data", keys=keys), tmp_path, command="proxy") as gateway:
            for _ in range(20 - answered):
                assert (await chat(gateway, "gw_live_counted"))[0] == 200
            status, _ = await chat(gateway, "gw_live_counted")
            assert status == 429


class running_or_killed:
    """A gateway that is stopped in order, or killed with all its processes at the block's end."""

    def __init__(self, settings: dict[str, Any], directory: Path, killed: bool) -> None:
        self._gateway = RunningGateway(settings, directory, None, "proxy")
        self._killed = killed

    def __enter__(self) -> RunningGateway:
        return self._gateway

    def __exit__(self, *_: object) -> None:
        if self._killed:
            self._gateway.kill()
        else:
            self._gateway.stop()


async def test_credits_are_right_after_the_only_worker_was_killed(tmp_path: Path) -> None:
    async with counting_provider() as provider:
        provider.go.set()
        with running_gateway(config(provider, tmp_path / "data"), tmp_path) as gateway:
            await sidecar_answers(gateway)
            account = await as_master(gateway, "POST", "/admin/create", username="a@b.example", email="a@b.example")
            key = account["api_key"]
            for _ in range(4):
                assert (await chat(gateway, key))[0] == 200
            kill_worker(gateway)
            served = 4
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    status, answer = await chat(gateway, key)
                except (OSError, IndexError):
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
                    continue
                if status != 200:
                    break
                served += 1
            assert (status, served) == (402, 10), answer
            balance = await balance_of(gateway, key)
            assert balance["credits"] == 0.0


async def balance_of(gateway: RunningGateway, key: str) -> dict[str, Any]:
    """What the account's owner is told, once it is up to date."""
    deadline = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(base_url=gateway.root, headers={"authorization": f"Bearer {key}"}) as client:
        while True:
            answer = await client.get("/user/balance")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            if found["credits"] == 0.0 or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.1)


def kill_worker(gateway: RunningGateway) -> None:
    """Kill the one worker; the sidecar and the supervisor live."""
    workers = [pid for pid in children_of(gateway.pid) if b"gateway.sidecar" not in cmdline(pid)]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_worker_killed_beside_others_leaves_neither_debt_nor_gift(tmp_path: Path) -> None:
    """Its leases end when the next worker begins, and what it spent since it last told is read from its log."""
    keys = [{"key": "gw_live_counted", "name": "k", "budget": {"amount": 12, "period": "month"}}]
    with running_redis() as redis:
        async with counting_provider() as provider:
            provider.go.set()
            settings = config(provider, tmp_path / "data", keys=keys, redis_url=redis.url, server={"workers": 2})
            with running_gateway(settings, tmp_path, command="proxy") as gateway:
                served = 0
                for _ in range(6):
                    assert (await judged(gateway, "gw_live_counted"))[0] == 200, gateway.log()
                    served += 1
                for pid in children_of(gateway.pid):
                    os.kill(pid, signal.SIGKILL)
                deadline = time.monotonic() + PATIENCE
                refused = 0
                while refused < 3:
                    try:
                        status, _ = await chat(gateway, "gw_live_counted")
                    except (OSError, IndexError):
                        status = 0
                    served += status == 200
                    refused = refused + 1 if status == 429 else 0
                    assert time.monotonic() < deadline, (served, gateway.log())
                    if status != 200:
                        await asyncio.sleep(0.2)
                assert served == 12
