"""A thousand requests at once, and money for ten: ten are served, wherever they arrive."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from tests.scenarios.admission import (
    MASTER,
    PATIENCE,
    Provider,
    as_master,
    config,
    counting_provider,
    judged,
    sidecar_answers,
)
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.ports import free_port
from tests.support.redis_server import running_redis

REQUESTS = 1_000


async def race(gateways: list[RunningGateway], key: str, provider: Provider) -> Counter[int]:
    """Send them all, hold the answers until every other request was refused, and count what came of them."""
    refused = 0

    async def one(number: int) -> int:
        nonlocal refused
        status, _ = await judged(gateways[number % len(gateways)], key)
        if status != 200:
            refused += 1
            provider.changed.set()
        return status

    sent = [asyncio.create_task(one(number)) for number in range(REQUESTS)]
    try:
        async with asyncio.timeout(PATIENCE):
            while refused + provider.seen < REQUESTS:
                provider.changed.clear()
                await provider.changed.wait()
    finally:
        provider.go.set()
    return Counter(await asyncio.gather(*sent))


async def test_embedded_with_a_budget(tmp_path: Path) -> None:
    async with counting_provider() as provider:
        keys = [{"key": "gw_live_budgeted", "name": "k", "budget": {"amount": 10, "period": "total"}}]
        with running_gateway(config(provider, tmp_path / "data", keys=keys), tmp_path, command="proxy") as gateway:
            assert await race([gateway], "gw_live_budgeted", provider) == {200: 10, 429: REQUESTS - 10}
            assert provider.seen == 10


async def test_embedded_with_credits(tmp_path: Path) -> None:
    async with counting_provider() as provider:
        with running_gateway(config(provider, tmp_path / "data"), tmp_path) as gateway:
            await sidecar_answers(gateway)
            account = await account_with_ten_dollars(gateway)
            assert await race([gateway], account["api_key"], provider) == {200: 10, 402: REQUESTS - 10}
            assert provider.seen == 10


async def account_with_ten_dollars(gateway: RunningGateway) -> dict[str, Any]:
    account = await as_master(gateway, "POST", "/admin/create", username="a@b.example", email="a@b.example")
    assert account["credits"] == 10.0
    return account


async def test_two_workers_of_two_gateways_that_share_redis(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with running_redis() as redis:
        async with counting_provider() as provider:
            shared: dict[str, Any] = {"redis_url": redis.url, "server": {"workers": 2}}
            with (
                running_gateway(
                    config(provider, tmp_path / "a", sidecar={"listen": listen}, **shared), tmp_path / "first"
                ) as first,
                running_gateway(
                    config(provider, tmp_path / "b", sidecar={"url": f"http://{listen}"}, **shared),
                    tmp_path / "second",
                    command="proxy",
                ) as second,
            ):
                await sidecar_answers(first)
                account = await account_with_ten_dollars(first)
                assert await race([first, second], account["api_key"], provider) == {200: 10, 402: REQUESTS - 10}
                assert provider.seen == 10
                assert MASTER not in first.log() + second.log()
