"""Redis goes and comes back under a gateway whose limits it holds: each policy, on real processes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scenarios.admission import PATIENCE, Provider, chat, config, counting_provider, judged
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer, running_redis

KEY = "gw_live_counted"
FREE = "gw_live_unlimited"


def settings(provider: Provider, directory: Path, redis: RedisServer, policy: str) -> dict[str, Any]:
    limits = [{"metric": "requests", "window": "day", "limit": 1000}]
    keys = [{"key": KEY, "name": "k", "limits": limits}, {"key": FREE, "name": "free"}]
    return config(provider, directory, keys=keys, redis_url=redis.url, on_store_failure=policy)


async def answers(gateway: RunningGateway, key: str, wanted: int) -> int:
    """Ask until the answer has the wanted status; how many were served on the way."""
    served = 0
    deadline = time.monotonic() + PATIENCE
    while True:
        status, answer = await chat(gateway, key)
        if status == wanted:
            return served
        assert status in (200, 503), answer
        assert time.monotonic() < deadline, (wanted, answer, gateway.log())
        served += status == 200
        await asyncio.sleep(0.005)


async def metric(gateway: RunningGateway, name: str) -> float:
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"{gateway.root}/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.parametrize("policy", ["lease", "closed", "open"])
async def test_each_policy_while_redis_is_away(tmp_path: Path, policy: str) -> None:
    with running_redis() as redis:
        async with counting_provider() as provider:
            provider.go.set()
            with running_gateway(
                settings(provider, tmp_path / "data", redis, policy), tmp_path, command="proxy"
            ) as gateway:
                assert (await judged(gateway, KEY))[0] == 200
                redis.stop()
                if policy == "open":
                    for _ in range(30):
                        status, answer = await chat(gateway, KEY)
                        assert status == 200, answer
                else:
                    served = await answers(gateway, KEY, 503)
                    # What was leased ahead may go on; it is a small part of the limit.
                    assert served <= 200
                    _, answer = await chat(gateway, KEY)
                    assert b"limits_unavailable" in answer
                    assert b"retry-after" in answer.lower()
                assert (await chat(gateway, FREE))[0] == 200, "who is not limited does not depend on Redis"
                async with asyncio.timeout(PATIENCE):
                    while await metric(gateway, "gateway_limits_store_up"):  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.05)
                assert await metric(gateway, "gateway_lease_failures_total") > 0
                redis.start()
                await answers(gateway, KEY, 200)


async def test_a_redis_that_lost_its_memory_is_told_what_was_spent(tmp_path: Path) -> None:
    with running_redis() as redis:
        async with counting_provider() as provider:
            provider.go.set()
            keys = [{"key": KEY, "name": "k", "budget": {"amount": 20, "period": "month"}}]
            told = config(provider, tmp_path / "data", keys=keys, redis_url=redis.url)
            with running_gateway(told, tmp_path, command="proxy") as gateway:
                for _ in range(8):
                    assert (await judged(gateway, KEY))[0] == 200
                redis.stop()
                redis.start()  # it keeps nothing on disk
                served = 8
                deadline = time.monotonic() + PATIENCE
                while (status := (await chat(gateway, KEY))[0]) != 429:
                    served += status == 200
                    assert status in (200, 503)
                    assert time.monotonic() < deadline, (served, gateway.log())
                    await asyncio.sleep(0.02)
                assert served == provider.seen == 20
