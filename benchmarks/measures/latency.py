"""Delay each peer adds at a fixed rate: direct, nginx and the gateway in turn."""

from __future__ import annotations

from itertools import chain

from benchmarks import openloop
from benchmarks.bench import Bench, say
from benchmarks.measures.closed import contestants
from benchmarks.peers.base import Peer
from benchmarks.results import Delay, Latency
from benchmarks.stats import percentile, spread


def measure(bench: Bench) -> Latency:
    """Added latency of short answers, and added time to the first event of streams."""
    plan = bench.plan
    with bench.folder() as folder, contestants(bench, folder) as (upstream, found):
        asked = [upstream, *found]
        whole = _rounds(bench, asked, stream=False, rate=plan.rate)
        first = _rounds(bench, asked, stream=True, rate=plan.stream_rate)
    with openloop.ahead() as client_ahead:
        pass  # only to know whether it was allowed
    direct = list(chain(*whole["direct"]))
    return Latency(
        rate=plan.rate,
        stream_rate=plan.stream_rate,
        direct_p50_ms=percentile(direct, 0.5),
        direct_p99_ms=percentile(direct, 0.99),
        added={peer.name: added(whole[peer.name], whole["direct"]) for peer in found},
        added_first={peer.name: added(first[peer.name], first["direct"]) for peer in found},
        client_ahead=client_ahead,
    )


def added(blocks: list[list[float]], direct: list[list[float]]) -> Delay:
    """What ``blocks`` took beyond ``direct``, round by round: a hiccup of the machine then spoils one, not all."""
    pairs = list(zip(blocks, direct, strict=True))
    p50, p99 = ([percentile(one, share) - percentile(other, share) for one, other in pairs] for share in (0.5, 0.99))
    return Delay(p50=spread(p50), p99=spread(p99))


def _rounds(bench: Bench, asked: list[Peer], *, stream: bool, rate: float) -> dict[str, list[list[float]]]:
    blocks: dict[str, list[list[float]]] = {peer.name: [] for peer in asked}
    what = "first event" if stream else "latency"
    for number in range(bench.plan.latency_rounds):
        for peer in asked:
            samples = openloop.run(peer, stream=stream, rate=rate, seconds=bench.plan.latency_seconds)
            values = samples.first if stream else samples.whole
            blocks[peer.name].append(values)
            halfway, late = percentile(values, 0.5), percentile(values, 0.99)
            say(f"{what} round {number + 1} {peer.name:8} p50 {halfway:.3f} ms, p99 {late:.3f} ms")
    return blocks
