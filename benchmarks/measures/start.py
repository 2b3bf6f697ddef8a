"""From nothing to the first answered request."""

from __future__ import annotations

import time

import httpx

from benchmarks import payloads
from benchmarks.bench import Bench, say
from benchmarks.peers import gateway, mock
from benchmarks.results import Start
from benchmarks.stats import spread
from benchmarks.verify import WrongAnswerError


def measure(bench: Bench) -> Start:
    """Start the gateway anew several times; a first, uncounted start fills the file cache."""
    seconds = []
    with bench.folder() as folder, mock.start(folder / "mock") as upstream, httpx.Client() as http:
        for number in range(bench.plan.starts + 1):
            with gateway.start(folder / str(number), upstream.url, bench.gateway) as peer:
                reply = http.post(peer.chat(), content=payloads.chat(), headers=_headers(peer.headers))
                took = time.perf_counter() - (peer.child.started if peer.child else 0)
            if reply.status_code != 200:
                raise WrongAnswerError(f"the first request was answered {reply.status_code}: {reply.text[:300]}")
            if number:
                seconds.append(took)
                say(f"start {number}: {took:.3f} s to the first answer")
    return Start(seconds=spread(seconds), runs=len(seconds))


def _headers(headers: dict[str, str]) -> dict[str, str]:
    return {"Content-Type": "application/json", **headers}
