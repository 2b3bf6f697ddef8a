"""CPU per request of each peer's process tree under wrk's closed loop, in turn: A B A B."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from benchmarks import payloads, peers, procfs, verify, wrk
from benchmarks.bench import Bench, say
from benchmarks.peers import gateway, mock, nginx
from benchmarks.peers.base import Peer
from benchmarks.results import Closed, Load
from benchmarks.stats import ratios, spread

PACED = payloads.slow(35, 5)
"""35 events 5 ms apart: no two of them ever arrive together, as with a real model."""

BODIES = {
    "chat": payloads.chat(),
    "stream": payloads.chat(stream=True),
    "paced": payloads.chat(stream=True, model=PACED),
    "prompt": payloads.large(),
}
SETTLE = 0.2
WARM_UP = 5
"""Seconds of load an optional peer gets before it is measured: some load parts of themselves late."""


@contextmanager
def contestants(bench: Bench, folder: Path) -> Iterator[tuple[Peer, list[Peer]]]:
    """The mock upstream and, in front of it, nginx, the gateway and the optional peers, each verified."""
    with ExitStack() as stack:
        upstream = stack.enter_context(mock.start(folder / "mock"))
        limit = stack.enter_context(nginx.start(folder / "nginx", upstream.url))
        ours = stack.enter_context(gateway.start(folder / "gateway", upstream.url, bench.gateway, [PACED]))
        for peer in (limit, ours):
            verify.peer(peer)
        verify.governed(ours)
        found = [limit, ours]
        for name in bench.peers:
            other = stack.enter_context(peers.OPTIONAL[name].start(folder / name, upstream.url))
            verify.peer(other, exact=False)
            found.append(other)
        yield upstream, found


def measure(bench: Bench, kinds: list[str]) -> dict[str, Closed]:
    """Each kind of load over every peer, in rounds."""
    with bench.folder() as folder, contestants(bench, folder) as (upstream, found):
        return {kind: _rounds(bench, folder, kind, upstream, found) for kind in kinds}


def _rounds(bench: Bench, folder: Path, kind: str, upstream: Peer, found: list[Peer]) -> Closed:
    body = folder / f"{kind}.json"
    body.write_bytes(BODIES[kind])
    found = [peer for peer in found if kind != "paced" or peer.name in ("nginx", "gateway")]
    for peer in found:
        seconds = WARM_UP if peer.name in bench.peers else 1
        url = peer.chat(stream=_streams(kind))
        wrk.load(url, body, peer.headers, seconds=seconds, connections=bench.plan.connections)
    rounds: dict[str, list[Load]] = {peer.name: [] for peer in found}
    for number in range(bench.plan.rounds):
        for peer in found:
            load = _one(bench, kind, body, upstream, peer)
            rounds[peer.name].append(load)
            say(f"{kind:7} round {number + 1} {peer.name:8} {load.cpu_us:9.1f} µs CPU {load.rate:9.0f} a second")
    base = [load.cpu_us for load in rounds["nginx"]]
    ratio = {name: spread(ratios([load.cpu_us for load in loads], base)) for name, loads in rounds.items()}
    resident = {peer.name: procfs.rss(peer.pid) / 1e6 for peer in found}
    return Closed(rounds=rounds, ratio=ratio, resident_mb=resident)


def _one(bench: Bench, kind: str, body: Path, upstream: Peer, peer: Peer) -> Load:
    seen = _served(upstream)
    before = procfs.cpu(peer.pid)
    url = peer.chat(stream=_streams(kind))
    run = wrk.load(url, body, peer.headers, seconds=bench.plan.seconds, connections=bench.plan.connections)
    time.sleep(SETTLE)
    used = procfs.cpu(peer.pid) - before
    if _served(upstream) - seen < run.requests:
        raise wrk.LoadError(f"{peer.name} answered {run.requests} requests but fewer reached the upstream")
    return Load(
        requests=run.requests,
        rate=run.rate,
        p50_ms=run.p50_us / 1e3,
        p99_ms=run.p99_us / 1e3,
        cpu_us=used / run.requests * 1e6,
    )


def _streams(kind: str) -> bool:
    return kind in ("stream", "paced")


def _served(upstream: Peer) -> int:
    return int(httpx.get(upstream.url + "/stats").json()["requests"])
