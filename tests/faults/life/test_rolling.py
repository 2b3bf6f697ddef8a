"""Workers are replaced one by one while clients ask: nobody notices, and every request is in the ledger once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.kills.ledger import open_ledger
from tests.faults.kills.stand import command
from tests.faults.kills.tree import is_drainer
from tests.faults.life.load import Load
from tests.faults.upstream.provider import faulty_provider
from tests.support.gateway import RunningGateway, children_of, holds_open, running_gateway
from tests.support.redis_server import running_redis
from tests.support.scraped import scrape

KEY = "gw_live_rolling_0123456789"
PATIENCE = 60.0


def configuration(upstream: str, workers: int, **more: Any) -> dict[str, Any]:
    return {
        "server": {"port": 0, "workers": workers, "drain": 10.0},
        "data_dir": "data",
        "providers": [{"name": "up", "base_url": upstream}],
        "models": [{"name": "m", "targets": [{"provider": "up", "model": "steady"}]}],
        "pricing": [{"provider": "up", "model": "steady", "input_per_1k": 0.001, "output_per_1k": 0.001}],
        "keys": [{"key": KEY, "name": "rolling"}],
        "telemetry": {"access_log": False},
        **more,
    }


def workers_of(gateway: RunningGateway) -> set[int]:
    """The processes that have a journal: not those which are no more than forked yet."""
    return {pid for pid in children_of(gateway.pid) if holds_open(pid, ".journal") and not is_drainer(pid)}


def _are_gone(gateway: RunningGateway, workers: set[int]) -> bool:
    return not workers & workers_of(gateway)


def _is_joined(gateway: RunningGateway, workers: set[int]) -> bool:
    return bool(workers_of(gateway) - workers)


def _are_counted(gateway: RunningGateway, requests: int) -> bool:
    return scrape(gateway.root).sum("gateway_requests_total") >= requests


def _were_replaced(gateway: RunningGateway, count: int, result: str) -> bool:
    return scrape(gateway.root).sum("gateway_worker_replacements_total", result=result) == count


async def until(found: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(found):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def entered_once(folder: Path, ids: list[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        code, output = await command("pending", folder / "gateway.yaml", "--json")
        if code == 0 and '"files": []' in output.replace("[\n", "[").replace("  ]", "]"):
            break
        assert time.monotonic() < deadline, output
        await asyncio.sleep(0.1)
    async with open_ledger(None, str(folder / "data")) as ledger:
        entries = await ledger.entries()
    assert sorted(entry.id for entry in entries) == sorted(ids)
    assert {entry.outcome for entry in entries} == {"ok"}


@pytest.mark.parametrize("shared", [False, True], ids=["embedded", "redis"])
async def test_nothing_is_dropped_while_two_workers_are_replaced(tmp_path: Path, shared: bool) -> None:
    with running_redis() as redis:
        async with faulty_provider() as provider:
            more: dict[str, Any] = {}
            if shared:
                limit = {"metric": "requests", "window": "hour", "limit": 100_000}
                # A busy machine's Redis may be late, which is not what this is about.
                more = {
                    "redis_url": redis.url,
                    "on_store_failure": "open",
                    "keys": [{"key": KEY, "name": "rolling", "limits": [limit]}],
                }
            with running_gateway(configuration(provider.base_url, 2, **more), tmp_path) as gateway:
                async with Load(gateway) as load:
                    await load.answered(20)
                    for _ in range(2):
                        before = workers_of(gateway)
                        gateway.process.send_signal(signal.SIGUSR2)
                        await until(partial(_are_gone, gateway, before), "the old workers end")
                        await load.answered(20)
                assert all(told.status == 200 and told.whole for told in load.told)
                assert any(told.closed for told in load.told), "clients of the old workers are told to leave them"
                await until(partial(_were_replaced, gateway, 4, "ok"), "four were replaced")
                await until(partial(_are_counted, gateway, len(load.told)), "every request is in the metrics")
                await entered_once(tmp_path, [told.id for told in load.told])
                assert len(provider.calls) == len(load.told)


PLUGIN = """
from pathlib import Path
from gateway.plugin.api import Plugin

class Delicate(Plugin):
    name = "delicate"

    async def start(self):
        if Path({flag!r}).exists():
            raise RuntimeError("not today")
"""


async def test_a_new_worker_that_does_not_start_leaves_the_old_one_serving(tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    (tmp_path / "delicate.py").write_text(PLUGIN.format(flag=str(flag)))
    async with faulty_provider() as provider:
        plugins = [{"name": "delicate", "path": "delicate.py"}]
        with running_gateway(configuration(provider.base_url, 1, plugins=plugins), tmp_path) as gateway:
            async with Load(gateway) as load:
                before = workers_of(gateway)
                flag.touch()
                gateway.process.send_signal(signal.SIGUSR2)
                await until(lambda: "the old workers stay" in gateway.log(), "the new worker is given up")
                await load.answered(20)
                assert workers_of(gateway) == before
                await until(partial(_were_replaced, gateway, 1, "failed"), "the failure is counted")
                flag.unlink()
                gateway.process.send_signal(signal.SIGUSR2)
                await until(partial(_are_gone, gateway, before), "the old worker ends")
                await load.answered(20)
            assert all(told.status == 200 and told.whole and told.id for told in load.told)


async def test_counts_go_from_hand_to_hand(tmp_path: Path) -> None:
    """A limit of 40 lets 40 through, however many workers counted them; a running stream keeps what it holds."""
    limits = [{"metric": "requests", "window": "day", "limit": 40}, {"metric": "concurrency", "limit": 2}]
    keys = [{"key": KEY, "name": "rolling", "limits": limits}]
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"model": "m", "messages": [{"role": "user", "content": "Tell it."}]}
    async with faulty_provider() as provider:
        with running_gateway(configuration(provider.base_url, 1, keys=keys), tmp_path) as gateway:
            statuses: list[int] = []

            async def ask() -> int:
                async with httpx.AsyncClient(base_url=gateway.root, headers=headers) as client:
                    answer = await client.post("/v1/chat/completions", json=body)
                    statuses.append(answer.status_code)
                    return answer.status_code

            for _ in range(3):
                while len([status for status in statuses if status == 200]) % 10 != 9:
                    assert await ask() == 200
                before = workers_of(gateway)
                long = body | {"stream": True}
                async with (
                    httpx.AsyncClient(base_url=gateway.root, headers=headers) as client,
                    client.stream("POST", "/v1/chat/completions", json=long) as answer,
                ):
                    assert answer.status_code == 200
                    gateway.process.send_signal(signal.SIGUSR2)
                    await until(partial(_is_joined, gateway, before), "a new worker")
                    text = (await answer.aread()).decode()
                    assert text.endswith("data: [DONE]\n\n")
                    statuses.append(200)
                await until(partial(_are_gone, gateway, before), "the old worker ends")
            while await ask() == 200:
                pass
            assert statuses.count(200) == 40
            assert statuses[-1] == 429


async def test_what_a_running_stream_holds_is_held_in_the_next_worker(tmp_path: Path) -> None:
    keys = [{"key": KEY, "name": "rolling", "limits": [{"metric": "concurrency", "limit": 1}]}]
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Tell it."}]}
    config = configuration("", 1, keys=keys)
    async with faulty_provider() as provider:
        config["providers"][0]["base_url"] = provider.base_url
        config["models"][0]["targets"][0]["model"] = "stream-stall"
        with running_gateway(config, tmp_path) as gateway:
            async with httpx.AsyncClient(base_url=gateway.root, headers=headers, timeout=PATIENCE) as client:
                async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    assert answer.status_code == 200
                    gateway.process.send_signal(signal.SIGUSR2)
                    await until(lambda: "another worker takes over" in gateway.log(), "the old worker retires")
                    refused = await asyncio.to_thread(
                        httpx.post, f"{gateway.root}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE
                    )
                    assert refused.status_code == 429
                await until(lambda: len(workers_of(gateway)) == 1, "the old worker ends")

                def served() -> bool:
                    with httpx.stream("POST", f"{gateway.root}/v1/chat/completions", json=body, headers=headers) as got:
                        return got.status_code == 200

                await until(served, "the slot is free again")
