"""Resident memory of the gateway's worker as the requests go by."""

from __future__ import annotations

import itertools

from benchmarks import payloads, procfs, wrk
from benchmarks.bench import Bench, say
from benchmarks.peers import gateway, mock
from benchmarks.results import Memory

STREAM_EVERY = 5
"""Every fifth burst is of streams: a leak there counts too."""
BURST = 3.0


def measure(bench: Bench) -> Memory:
    """Read VmRSS at the start and after each mark of the plan. Growth is from the last mark but one to the last."""
    marks = bench.plan.memory_marks
    with bench.folder() as folder, mock.start(folder / "mock") as upstream:
        bodies = {stream: folder / f"{stream}.json" for stream in (False, True)}
        for stream, body in bodies.items():
            body.write_bytes(payloads.chat(stream=stream))
        with gateway.start(folder / "gateway", upstream.url, bench.gateway) as peer:
            found = {0: procfs.rss(peer.pid) / 1e6}
            served, bursts = 0, itertools.count(1)
            for mark in marks:
                while served < mark:
                    stream = next(bursts) % STREAM_EVERY == 0
                    seconds = min(BURST, 1.0 + (mark - served) / 20_000)
                    url = peer.chat(stream=stream)
                    run = wrk.load(url, bodies[stream], peer.headers, seconds=seconds)
                    served += run.requests
                found[mark] = procfs.rss(peer.pid) / 1e6
                say(f"memory after {served} requests: {found[mark]:.1f} MB")
    return Memory(resident_mb=found, growth_mb=found[marks[-1]] - found[marks[-2]])
