"""The live stream through the one public port: the gateway's own requests, told within moments, while processes die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.fake_openai.server import KEY, FakeOpenAI
from tests.support.gateway import START_SECONDS, RunningGateway, children_of, is_sidecar, running_gateway
from tests.support.sidecar import MASTER

WAIT = 30.0
STATIC = "gw_live_static_key"
INPUT, OUTPUT = 2_000, 8_000  # nano-dollars a token, as configured below


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with FakeOpenAI() as fake:
        config: dict[str, Any] = {
            "server": {"port": 0},
            "master_key": MASTER,
            "data_dir": "data",
            "providers": [{"name": "fake", "base_url": fake.base_url, "api_key": KEY}],
            "models": [{"name": "good", "targets": [{"provider": "fake", "model": "fake-chat"}]}],
            "pricing": [{"provider": "fake", "model": "fake-chat", "input_per_1k": 0.002, "output_per_1k": 0.008}],
            "keys": [{"key": STATIC, "name": "static", "organization": "acme"}],
        }
        with running_gateway(config, tmp_path_factory.mktemp("stream")) as running:
            yield running


async def listening(gateway: RunningGateway, secret: str, *channels: str) -> ClientConnection:
    """A client that has subscribed, as soon as there is a sidecar."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            url = f"{gateway.root.replace('http', 'ws')}/v1/stream?token={secret}"
            client = await connect(url, open_timeout=START_SECONDS)  # a sidecar that is being started is waited for
            break
        except InvalidStatus as error:
            if error.response.status_code != 503 or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
    await client.send(json.dumps({"action": "subscribe", "channels": channels}))
    assert (await hear(client))["action"] == "subscribed"
    return client


async def hear(client: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await asyncio.wait_for(client.recv(), WAIT))
    return found


async def ask(gateway: RunningGateway, *, stream: bool = False) -> httpx.Response:
    body = {"model": "good", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    async with httpx.AsyncClient(base_url=gateway.root, timeout=WAIT) as client:
        return await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {STATIC}"})


async def test_a_request_is_told_with_the_id_its_client_got(gateway: RunningGateway) -> None:
    every = await listening(gateway, MASTER, "costs:acme", "usage:acme:fake")
    elsewhere = await listening(gateway, MASTER, "costs:default")
    for stream in (False, True):
        answer = await ask(gateway, stream=stream)
        told = [await hear(every), await hear(every)]
        assert [item["event"] for item in told] == ["cost.calculated", "usage.submitted"]
        cost, usage = (item["data"] for item in told)
        assert {cost["usage_id"], usage["usage_id"], usage["metadata"]["request_id"]} == {
            answer.headers["x-request-id"]
        }
        if not stream:
            used = answer.json()["usage"]
            nanos = used["prompt_tokens"] * INPUT + used["completion_tokens"] * OUTPUT
            assert cost["total_cost"] == pytest.approx(nanos / 1e9)
        assert usage["metadata"]["stream"] is stream
    await elsewhere.send('{"action": "ping"}')
    assert (await hear(elsewhere))["action"] == "pong"  # and nothing of acme's before it
    await every.close()
    await elsewhere.close()


async def test_who_may_not_read_costs_may_not_hear_them(gateway: RunningGateway) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await listening(gateway, "gw_live_nobody", "costs:acme")
    assert caught.value.response.status_code == 401
    assert len(caught.value.response.headers.get_all("date")) == 1
    client = await connect(
        f"{gateway.root.replace('http', 'ws')}/v1/stream",
        additional_headers={"authorization": f"Bearer {STATIC}"},
        open_timeout=START_SECONDS,
    )
    for channel in ("costs:default", "costs:*", "costs:acme"):
        await client.send(json.dumps({"action": "subscribe", "channels": [channel]}))
        told = await hear(client)
        assert told["error"]["code"] == "INSUFFICIENT_PERMISSIONS"
    await client.close()


async def test_listeners_come_back_after_the_sidecar_died(gateway: RunningGateway) -> None:
    client = await listening(gateway, MASTER, "costs:acme")
    (sidecar,) = [pid for pid in children_of(gateway.pid) if is_sidecar(pid)]
    os.kill(sidecar, signal.SIGKILL)
    with pytest.raises(ConnectionClosed):
        await hear(client)
    assert (await ask(gateway)).status_code == 200
    again = await listening(gateway, MASTER, "costs:acme")
    answer = await ask(gateway)
    heard = []
    while answer.headers["x-request-id"] not in heard:
        heard.append((await hear(again))["data"]["usage_id"])
    assert len(heard) <= 2  # the one asked meanwhile may be entered only now
    await again.close()
