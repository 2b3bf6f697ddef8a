"""SIGTERM under load: what runs is finished, what comes is refused and told to leave, nobody is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.life.load import Load
from tests.faults.life.test_rolling import KEY, PATIENCE, configuration, until
from tests.faults.upstream.provider import faulty_provider
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.raw_upstream import Peer, raw_upstream

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
EVENT = b'32\r\ndata: {"choices":[{"delta":{"content":"word"}}]}\n\n\r\n'
HEADERS = {"authorization": f"Bearer {KEY}"}
CLIENTS = 6


async def _ask_until_it_ends(gateway: RunningGateway, streamed: bool, begun: asyncio.Semaphore) -> list[httpx.Response]:
    """Ask over one kept connection until that is refused. A connection that ends without being told to raises."""
    body = {"model": "m", "stream": streamed, "messages": [{"role": "user", "content": "Tell it."}]}
    answers: list[httpx.Response] = []
    async with httpx.AsyncClient(base_url=gateway.root, headers=HEADERS, timeout=PATIENCE) as client:
        while True:
            try:
                answers.append(await client.post("/v1/chat/completions", json=body))
            except httpx.ConnectError:
                return answers
            except httpx.ReadError:
                # Whoever connects anew may be in the kernel's queue when the last process lets go of it.
                assert answers[-1].headers.get("connection") == "close", "it was told so before"
                return answers
            begun.release()


async def test_nobody_is_cut_off(tmp_path: Path) -> None:
    async with faulty_provider() as provider:
        with RunningForEnd(configuration(provider.base_url, 2), tmp_path) as gateway:
            begun = asyncio.Semaphore(0)
            asking = [
                asyncio.create_task(_ask_until_it_ends(gateway, number % 2 == 0, begun)) for number in range(CLIENTS)
            ]
            for _ in range(3 * CLIENTS):
                await begun.acquire()
            gateway.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                every = await asyncio.gather(*asking)
            assert await asyncio.to_thread(gateway.process.wait, PATIENCE) == 0
    for answers in every:
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["error"]["code"] == "shutting_down"
                assert answer.headers["connection"] == "close"
                assert answer.headers["retry-after"] == "1"
            elif answer.headers["content-type"].startswith("text/event-stream"):
                assert answer.text.endswith("data: [DONE]\n\n")
        assert answers[-1].headers["connection"] == "close"


async def test_a_connection_stays_open_behind_a_stream_that_could_not_tell_its_end(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, EVENT)
        await go_on.wait()
        await peer.send(EVENT, DONE)
        await peer.gone()

    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Tell it."}]}
    async with raw_upstream(script) as upstream:
        with RunningForEnd(configuration(upstream.base_url, 1), tmp_path) as gateway:
            async with httpx.AsyncClient(base_url=gateway.root, headers=HEADERS, timeout=PATIENCE) as client:
                async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    lines = answer.aiter_lines()
                    await anext(lines)
                    gateway.process.send_signal(signal.SIGTERM)
                    await _until_refused(gateway.root)
                    go_on.set()
                    assert [line async for line in lines][-2:] == ["data: [DONE]", ""]
                refused = await client.post("/v1/chat/completions", json=body)
                assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert await asyncio.to_thread(gateway.process.wait, PATIENCE) == 0


async def _until_refused(root: str) -> None:
    """Wait until nobody listens any more."""
    address = httpx.URL(root)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while True:
                _, writer = await asyncio.open_connection(address.host, address.port)
                writer.close()
                await writer.wait_closed()


class RunningForEnd:
    """A gateway that the test itself ends."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self._gateway = RunningGateway(config, folder)

    def __enter__(self) -> RunningGateway:
        return self._gateway

    def __exit__(self, *_: object) -> None:
        if self._gateway.process.poll() is None:
            self._gateway.kill()


@pytest.mark.parametrize("fault", ["stream-stall"])
async def test_a_stream_that_does_not_end_is_ended_at_the_limit(tmp_path: Path, fault: str) -> None:
    async with faulty_provider() as provider:
        config = configuration(provider.base_url, 1)
        config["server"]["drain"] = 1.5
        config["models"][0]["targets"][0]["model"] = fault
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Tell it."}]}
        with RunningForEnd(config, tmp_path) as gateway:
            async with (
                httpx.AsyncClient(base_url=gateway.root, headers=HEADERS, timeout=PATIENCE) as client,
                client.stream("POST", "/v1/chat/completions", json=body) as answer,
            ):
                assert answer.status_code == 200
                gateway.process.send_signal(signal.SIGTERM)
                text = (await answer.aread()).decode()
            assert '"code":"shutting_down"' in text.split("\n\n")[-2]
            assert "[DONE]" not in text
            assert await asyncio.to_thread(gateway.process.wait, PATIENCE) == 0


def _is_reloaded(gateway: RunningGateway, before: int) -> bool:
    return gateway.log().count("the configuration was reloaded") > before


async def test_configurations_change_under_load(tmp_path: Path) -> None:
    async with faulty_provider() as provider:
        config = configuration(provider.base_url, 2)
        with running_gateway(config, tmp_path) as gateway:
            async with Load(gateway) as load:
                for number in range(4):
                    config["server"]["max_body_bytes"] = 1_000_000 + number
                    done = gateway.log().count("the configuration was reloaded")
                    gateway._write(config)
                    gateway.process.send_signal(signal.SIGHUP)
                    await until(partial(_is_reloaded, gateway, done), "the configuration is reloaded")
                    await load.answered(12)
            assert all(told.status == 200 and told.whole for told in load.told)
            assert not any(told.closed for told in load.told)
