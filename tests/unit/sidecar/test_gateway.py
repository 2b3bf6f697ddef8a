"""The whole gateway: the sidecar dies while requests run, and inference does not notice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.bus.embedded import EmbeddedPolicy
from gateway.contract.internal import HEADER, internal_token
from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.sidecar import MASTER, sidecar_health
from tests.support.sidecar_accounts import accounts

STATIC = "gw_live_static_key"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}
CALLERS = 4


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture
def gateway(fake: FakeOpenAI, tmp_path: Path) -> Iterator[RunningGateway]:
    config: dict[str, Any] = {
        "server": {"port": 0, "drain": 5.0},
        "master_key": MASTER,
        "data_dir": "data",
        "providers": [{"name": "fake", "base_url": fake.base_url, "api_key": KEY}],
        "models": [{"name": "m", "targets": [{"provider": "fake", "model": "fake-chat"}]}],
        "keys": [{"key": STATIC, "name": "static"}],
    }
    with running_gateway(config, tmp_path) as running:
        yield running


class Callers:
    """Requests that go on all the time; ``statuses`` are what they were answered, in order."""

    def __init__(self, client: httpx.AsyncClient, secret: str) -> None:
        self.client = client
        self.secret = secret
        self.statuses: list[int] = []
        self.answered = asyncio.Condition()

    async def ask(self, secret: str) -> int:
        """The status of one request."""
        headers = {"authorization": f"Bearer {secret}"}
        return (await self.client.post("/v1/chat/completions", json=BODY, headers=headers)).status_code

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self.statuses.append(await self.ask(self.secret))
            async with self.answered:
                self.answered.notify_all()

    async def more(self, count: int) -> None:
        """Wait for that many further answers."""
        until = len(self.statuses) + count
        async with asyncio.timeout(30), self.answered:
            await self.answered.wait_for(lambda: len(self.statuses) >= until)


@asynccontextmanager
async def calling(gateway: RunningGateway, secret: str) -> AsyncIterator[Callers]:
    async with httpx.AsyncClient(base_url=gateway.root, timeout=30) as client:
        callers = Callers(client, secret)
        running = [asyncio.create_task(callers.run()) for _ in range(CALLERS)]
        try:
            yield callers
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def test_the_death_of_the_sidecar_is_no_concern_of_requests(gateway: RunningGateway, tmp_path: Path) -> None:
    socket_path = str(tmp_path / "data" / "run" / "sidecar.sock")
    sidecar = await asyncio.to_thread(sidecar_health, socket_path)
    policy = EmbeddedPolicy(f"unix:{socket_path}", MASTER)
    async with accounts(str(tmp_path / "data")) as made:
        id, secret = await made.create_key()
        _, other = await made.create_key("other")
        async with calling(gateway, secret) as callers:
            await callers.more(20)
            os.kill(sidecar["pid"], signal.SIGKILL)
            # Nobody can say whose key this is, so nobody says that it is nobody's.
            assert await callers.ask(other) in (200, 503)
            await callers.more(200)
            assert await callers.ask(STATIC) == 200
            again = await asyncio.to_thread(sidecar_health, socket_path)
            assert again["pid"] != sidecar["pid"]
            assert await callers.ask(other) == 200
            await callers.more(20)
            assert set(callers.statuses) == {200}
            await made.revoke_key(id)
            started = time.monotonic()
            await policy.poke()
            async with asyncio.timeout(30):
                while callers.statuses[-1] != 401:
                    await callers.more(1)
            assert time.monotonic() - started < 5.0
            first = callers.statuses.index(401)
            await callers.more(50)
            # Answers of requests that were admitted before may come after the first refusal, one a caller at most.
            assert callers.statuses[first:].count(200) < CALLERS
            assert await callers.ask(other) == 200
    await policy.close()


async def test_a_forwarded_path_waits_for_the_sidecar_or_is_told(gateway: RunningGateway, tmp_path: Path) -> None:
    socket_path = str(tmp_path / "data" / "run" / "sidecar.sock")
    sidecar = await asyncio.to_thread(sidecar_health, socket_path)
    async with httpx.AsyncClient(base_url=gateway.root, timeout=30) as client:
        headers = {"authorization": f"Bearer {MASTER}"}
        assert (await client.get("/internal/health", headers={HEADER: internal_token(MASTER)})).status_code == 404
        os.kill(sidecar["pid"], signal.SIGKILL)
        statuses = set()
        while 404 not in statuses:
            statuses.add((await client.get("/admin/nothing-there", headers=headers)).status_code)
        assert statuses <= {404, 503}
