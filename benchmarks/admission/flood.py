"""CPU of refusing a made-up key, over that of serving a request, with the sidecar's share in both."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from msgspec import Struct

from benchmarks import payloads, procfs, wrk
from benchmarks.child import running
from benchmarks.peers import gateway, mock
from benchmarks.peers.base import Peer
from benchmarks.stats import ratios, spread
from benchmarks.wrk import LoadError

FLOOD = Path(__file__).parent / "keys.lua"


class Flood(Struct):
    """CPU microseconds each, in turn; ``ratio`` is refused over served, pair by pair: lowest, median, highest."""

    served_us: list[float]
    refused_us: list[float]
    ratio: tuple[float, float, float]


def measure(folder: Path, command: Sequence[str], rounds: int, seconds: float) -> Flood:
    """Serve and refuse in turn, on a whole ``gateway serve``."""
    body = folder / "chat.json"
    body.write_bytes(payloads.chat())
    served: list[float] = []
    refused: list[float] = []
    with mock.start(folder / "mock") as upstream, _serving(folder / "gateway", upstream.url, command) as peer:
        for _ in range(rounds):
            served.append(_cpu(peer, body, wrk.SCRIPT, peer.headers, seconds))
            refused.append(_cpu(peer, body, FLOOD, {}, seconds))
    found = spread(ratios(refused, served))
    return Flood(served, refused, (found.low, found.median, found.high))


def _cpu(peer: Peer, body: Path, script: Path, headers: dict[str, str], seconds: float) -> float:
    wrk.load(peer.chat(), body, headers, seconds=1, script=script)
    before = procfs.cpu(peer.pid)
    run = wrk.load(peer.chat(), body, headers, seconds=seconds, script=script)
    return (procfs.cpu(peer.pid) - before) / run.requests * 1e6


@contextlib.contextmanager
def _serving(folder: Path, upstream: str, command: Sequence[str]) -> Iterator[Peer]:
    config = gateway.write_config(folder, upstream)
    with running([*command, "serve", "--config", str(config), "--json"], folder / "output") as child:
        url = str(child.wait_ready()["url"]).rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {gateway.KEY}"}
        deadline = time.monotonic() + 30
        while httpx.get(f"{url}/plans", headers=headers).status_code == 503:
            if time.monotonic() > deadline:
                raise LoadError("the sidecar did not come up")
            time.sleep(0.1)
        yield Peer("gateway", url, child, headers)
