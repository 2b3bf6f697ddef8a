"""Signals to a real gateway: streams outlive a reload and a stop, and every request leaves its usage event."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from gateway.bus.usage_journal import Journal, journal_name, recover
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.raw_upstream import DONE, LAST_CHUNK, STREAM_HEAD, Peer, Script, chunk, delta, raw_upstream
from tests.support.wire import chat, post, wire


def config(base_url: str, model: str = "m", drain: int = 10) -> dict[str, Any]:
    return {
        "server": {"port": 0, "drain": drain},
        "providers": [{"name": "up", "base_url": base_url}],
        "models": [{"name": model, "targets": [{"provider": "up", "model": "x"}]}],
        "keys": [{"key": "gw_test_unit", "name": "unit", "limits": [{"metric": "concurrency", "limit": 1}]}],
        "telemetry": {"access_log": False},
    }


def usage(directory: Path) -> list[dict[str, Any]]:
    # A worker ends a moment after its supervisor that was killed, and has its journal until then.
    until = time.monotonic() + 30
    while not (journal := Journal.open(directory / "data/usage" / journal_name(0), wait=0.1)):
        recover(directory / "data/usage")
        assert time.monotonic() < until
    journal.close()
    files = sorted(directory.glob("data/usage/usage-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def slow(go: asyncio.Event) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunk(delta("one")))
        await go.wait()
        await peer.send(chunk(delta("two", "stop")), chunk(DONE), LAST_CHUNK)
        await peer.gone()

    return script


@asynccontextmanager
async def launched(settings: dict[str, Any], directory: Path) -> AsyncIterator[RunningGateway]:
    """A gateway that the test ends itself; what is left of it in the end is killed."""
    gateway = await in_thread(RunningGateway, settings, directory)
    try:
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait()


async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)


async def test_a_stream_outlives_a_reload_and_keeps_its_limit(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with raw_upstream(slow(go)) as upstream:
        with running_gateway(config(upstream.base_url), tmp_path, command="proxy") as gateway:
            async with wire(gateway.address) as client:
                await client.send(post("/v1/chat/completions", chat(stream=True)))
                got = await client.head()
                await client.piece(got)

                def renamed(asking: httpx.Client) -> bool:
                    return [model["id"] for model in asking.get("/v1/models").json()["data"]] == ["n"]

                await in_thread(gateway.reload, config(upstream.base_url, "n"), renamed)
                async with wire(gateway.address) as other:
                    await other.send(post("/v1/chat/completions", {**chat(), "model": "n"}))
                    refused = await other.answer()
                    assert (refused.status, refused.code) == (429, "concurrency_limit_exceeded")
                    go.set()
                    await client.rest(got)
                    assert got.complete
                    assert got.body == delta("one") + delta("two", "stop") + DONE
                    await other.send(post("/v1/chat/completions", {**chat(stream=True), "model": "n"}))
                    again = await other.answer()
                    assert again.status == 200
        assert [event["model"] for event in usage(tmp_path)] == ["m", "n"]


async def test_a_stop_lets_a_stream_finish_and_takes_no_more(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with (
        raw_upstream(slow(go)) as upstream,
        launched(config(upstream.base_url), tmp_path) as gateway,
        wire(gateway.address) as client,
        wire(gateway.address) as idle,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        got = await client.head()
        await client.piece(got)
        gateway.process.send_signal(signal.SIGTERM)
        assert await idle.at_end(), "an idle connection is closed"
        go.set()
        await client.rest(got)
        assert got.complete
        assert got.body.endswith(DONE)
        assert await client.at_end()
        assert await in_thread(gateway.process.wait, 60) == 0
    (event,) = usage(tmp_path)
    assert (event["outcome"], event["status"]) == ("ok", 200)


async def test_a_stream_that_does_not_finish_in_time_is_ended_and_written_down(tmp_path: Path) -> None:
    async with (
        raw_upstream(slow(asyncio.Event())) as upstream,
        launched(config(upstream.base_url, drain=1), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        got = await client.head()
        await client.piece(got)
        gateway.process.send_signal(signal.SIGTERM)
        await client.rest(got)
        assert DONE not in got.body
        assert b"shutting_down" in got.body
        assert await in_thread(gateway.process.wait, 60) == 0
    (event,) = usage(tmp_path)
    assert event["outcome"] in ("cut", "cancelled")
    assert event["tokens"]["completion"] == 1
    assert event["estimated"]


async def test_a_killed_gateway_has_written_down_what_it_answered(tmp_path: Path) -> None:
    async def quick(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(STREAM_HEAD, chunk(delta("one", "stop")), chunk(DONE), LAST_CHUNK)

    ids = []
    async with (
        raw_upstream(quick) as upstream,
        launched(config(upstream.base_url), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        for _ in range(20):
            await client.send(post("/v1/chat/completions", chat(stream=True)))
            ids.append((await client.answer()).headers["x-request-id"])
        gateway.process.kill()
    assert [event["id"] for event in usage(tmp_path)] == ids
