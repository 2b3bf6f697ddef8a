"""Delay each peer adds at a fixed rate: direct, nginx and the gateway in turn."""

from __future__ import annotations

from itertools import chain
from typing import TypeAlias

from msgspec import structs

from benchmarks import openloop
from benchmarks.bench import Bench, say
from benchmarks.measures.closed import contestants
from benchmarks.peers.base import Peer
from benchmarks.plan import Plan
from benchmarks.results import Delay, Latency
from benchmarks.stats import percentile, spread

Blocks: TypeAlias = dict[str, list[list[float]]]
"""Milliseconds by peer and round."""


def measure(bench: Bench) -> Latency:
    """Added latency of short answers, and added time to the first event of streams.

    Once as the machine is, and once with its processors awake, in turn, where it lets them be kept so.
    """
    plan = bench.plan
    with bench.folder() as folder, contestants(bench, folder) as (upstream, found):
        asked = [upstream, *found]
        whole = _rounds(bench, asked, stream=False, rate=plan.rate)
        first = _rounds(bench, asked, stream=True, rate=plan.stream_rate)
    with openloop.ahead() as client_ahead:
        pass  # only to know whether it was allowed
    (asleep, awake), (asleep_first, awake_first) = whole, first
    result = _latency(plan, asleep, asleep_first, client_ahead)
    if awake:
        return structs.replace(result, awake=_latency(plan, awake, awake_first, client_ahead))
    return result


def _latency(plan: Plan, whole: Blocks, first: Blocks, client_ahead: bool) -> Latency:
    direct = list(chain(*whole["direct"]))
    names = [name for name in whole if name != "direct"]
    return Latency(
        rate=plan.rate,
        stream_rate=plan.stream_rate,
        direct_p50_ms=percentile(direct, 0.5),
        direct_p99_ms=percentile(direct, 0.99),
        added={name: added(whole[name], whole["direct"]) for name in names},
        added_first={name: added(first[name], first["direct"]) for name in names},
        client_ahead=client_ahead,
    )


def added(blocks: list[list[float]], direct: list[list[float]]) -> Delay:
    """What ``blocks`` took beyond ``direct``, round by round: a hiccup of the machine then spoils one, not all."""
    pairs = list(zip(blocks, direct, strict=True))
    p50, p99 = ([percentile(one, share) - percentile(other, share) for one, other in pairs] for share in (0.5, 0.99))
    return Delay(p50=spread(p50), p99=spread(p99))


def _rounds(bench: Bench, asked: list[Peer], *, stream: bool, rate: float) -> tuple[Blocks, Blocks]:
    asleep: Blocks = {}
    awake: Blocks = {}
    for number in range(bench.plan.latency_rounds):
        title = f"{'first event' if stream else 'latency'} round {number + 1}"
        _round(bench, asked, asleep, title, stream=stream, rate=rate)
        with openloop.awake() as allowed:
            if allowed:
                _round(bench, asked, awake, f"{title} awake", stream=stream, rate=rate)
    return asleep, awake


def _round(bench: Bench, asked: list[Peer], blocks: Blocks, title: str, *, stream: bool, rate: float) -> None:
    for peer in asked:
        samples = openloop.run(peer, stream=stream, rate=rate, seconds=bench.plan.latency_seconds)
        values = samples.first if stream else samples.whole
        blocks.setdefault(peer.name, []).append(values)
        halfway, late = percentile(values, 0.5), percentile(values, 0.99)
        say(f"{title} {peer.name:8} p50 {halfway:.3f} ms, p99 {late:.3f} ms")
