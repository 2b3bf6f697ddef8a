"""The primary is gone under load: everybody is served by the other target, and nothing stands still meanwhile."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.model import Retry
from tests.faults.resilience.stage import Got, stage
from tests.faults.upstream.call import TEXT
from tests.faults.upstream.provider import faulty_provider
from tests.support.gateway import running_gateway
from tests.support.wire import Answer, chat, post, wire

KEY = "gw_test_outage_0123456789"
STREAMS = 1000
STALL = 0.05
ROUNDS = 4
PATIENCE = 60.0
Figure = Callable[[str, str], None]


def configuration(up: str, spare: str, fault: str, watched: Path) -> dict[str, Any]:
    shared = {"retry": {"attempts": 2, "backoff": 0.05}, "connections": {"max": 4000, "keep": 2000}}
    return {
        "server": {"port": 0, "drain": 5.0},
        "data_dir": "data",
        "providers": [{"name": "up", "base_url": up, **shared}, {"name": "spare", "base_url": spare, **shared}],
        "models": [
            {
                "name": "m",
                "targets": [{"provider": "up", "model": fault}, {"provider": "spare", "model": "steady"}],
            }
        ],
        "keys": [{"key": KEY, "name": "outage"}],
        "plugins": [
            {
                "name": "loop_watch",
                "path": f"{Path(__file__).with_name('loop_watch.py')}:LoopWatch",
                "with": {"file": str(watched)},
            }
        ],
        "telemetry": {"access_log": False},
    }


@pytest.mark.parametrize("fault", ["503", "reset-before-headers"])
async def test_a_thousand_streams_at_once(tmp_path: Path, fault: str, figure: Figure) -> None:
    """Every stream is whole in every round; the loop is judged by its best, for other processes slow it down."""
    watched = tmp_path / "stall"
    stalls = []
    async with faulty_provider() as up, faulty_provider() as spare:
        with running_gateway(
            configuration(up.base_url, spare.base_url, fault, watched), tmp_path, command="proxy"
        ) as gateway:
            for served in range(ROUNDS):
                watched.unlink(missing_ok=True)
                called = len(up.calls)
                await _everybody_is_served(gateway.address)
                assert len(spare.calls) == STREAMS * (served + 1)
                assert len(up.calls) - called < STREAMS * 1.25, "retries of all would be twice as many"
                stalls.append(float(watched.read_text()))
                if stalls[-1] < STALL:
                    break
    figure(f"longest stall of the loop while {STREAMS:,} streams fail over ({fault})", f"{min(stalls) * 1000:.0f} ms")
    assert min(stalls) < STALL


async def _everybody_is_served(address: tuple[str, int]) -> None:
    body = post("/v1/chat/completions", chat(stream=True), b"connection: close", key=KEY)
    answers = await asyncio.gather(*(_ask(address, body) for _ in range(STREAMS)))
    assert all(got.is_whole and got.text == TEXT for got in answers)
    assert {got.headers["x-gateway-target"] for got in answers} == {"spare/steady"}


async def _ask(address: tuple[str, int], body: bytes) -> Got:
    """One stream, read to its end however long a busy machine takes to give it."""
    async with wire(address) as client, asyncio.timeout(PATIENCE):
        await client.send(body)
        head, _, rest = (await client.reader.read(-1)).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        answer = Answer(int(lines[0].split()[1]), headers)
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            answer.complete = length == 0
            answer.pieces.append(rest[:length])
            rest = rest[length + 2 :]
        return Got(answer, 0.0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_failing_over_adds(tmp_path: Path, stream: bool, figure: Figure) -> None:
    """From the end of the failed attempt to the beginning of the next, as the usage events tell it."""
    async with stage(tmp_path, "503", spared="healthy", retry=Retry(attempts=1)) as on:
        added = []
        for _ in range(60):
            assert (await on.ask(stream=stream)).is_whole
            first, second = (await on.event()).attempts
            added.append((second.started_ns - first.started_ns - first.duration_ns) / 1e6)
        median = statistics.median(added)
        figure(f"added by failing over, {'stream' if stream else 'whole'}, median", f"{median:.2f} ms")
        assert median < 3
