"""What limits that are shared through Redis cost: ``python -m benchmarks.admission.leases [--json]``.

It starts a Redis of its own and measures in this process, with uvloop, user and system CPU together:

==============  ======================================================================================================
local           a request admitted within its lease and settled
leased          a request that must lease first: every one is for a limit of its own, one after the other
at once         the same, 200 requests at a time: they share round trips
refused         a request that the store refuses
round trips     per 1,000 requests, one after the other, under a limit of 1,000,000
==============  ======================================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from gateway.bus.leases import RedisLeases
from gateway.contract.policy import LimitPolicy, Metric
from gateway.dataplane.admission.leases import Leases
from gateway.dataplane.admission.limiter import CounterSet, Grant, Shortage, settle
from gateway.dataplane.admission.registry import Registry
from gateway.kernel.errors import GatewayError
from tests.support.redis_server import running_redis

LOCAL = 200_000
LEASED = 4_000
TOGETHER = 200
NANOS = 10**9


class Node:
    """A process with its registry of limits."""

    def __init__(self, url: str, name: str) -> None:
        self.leases = Leases(RedisLeases(url, name))
        self.registry = Registry(self.leases, leased=True)
        self.task = asyncio.create_task(self.leases.run())

    def limits(self, key: str, *limits: tuple[Metric, int]) -> CounterSet:
        """The limits of one key."""
        policies = [LimitPolicy("key", key, metric, limit, "day") for metric, limit in limits]
        return CounterSet(self.registry.counters(policies), self.registry.era)

    async def admit(self, counters: CounterSet, tokens: int = 500, cost: int = 1_000) -> Grant:
        """As the pipeline does."""
        try:
            return counters.admit(tokens, cost, time.time())
        except Shortage as shortage:
            return await self.leases.admit(shortage)

    async def end(self) -> None:
        """Give everything back."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.leases.close()


class Costs:
    """CPU of this process and of Redis while something runs, per request; and the time and the round trips it took."""

    def __init__(self, node: Node, redis: Redis) -> None:
        self._node = node
        self._redis = redis
        self.rows: dict[str, dict[str, float]] = {}

    async def measure(self, name: str, count: int, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work``, which makes ``count`` requests."""
        redis = await self._redis_seconds()
        trips, cpu, wall = self._node.leases.stats.round_trips, time.process_time_ns(), time.perf_counter_ns()
        await work()
        cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
        self.rows[name] = {
            "requests": count,
            "cpu_us": round(cpu / count / 1000, 2),
            "redis_cpu_us": round((await self._redis_seconds() - redis) * 1e6 / count, 2),
            "wall_us": round(wall / count / 1000, 2),
            "round_trips_per_1000": round((self._node.leases.stats.round_trips - trips) * 1000 / count, 1),
        }

    async def _redis_seconds(self) -> float:
        info: Any = await self._redis.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def run(url: str) -> dict[str, dict[str, float]]:
    """All measurements."""
    node, other = Node(url, "bench.0"), Node(url, "bench.1")
    redis: Redis = Redis.from_url(url)
    costs = Costs(node, redis)
    try:
        await node.leases.beat()
        await other.leases.beat()
        await _local(node, costs)
        await _leased(node, costs)
        await _refused(node, other, costs)
        await _large(node, costs)
    finally:
        await node.end()
        await other.end()
        await redis.aclose()
    return costs.rows


async def _local(node: Node, costs: Costs) -> None:
    counters = node.limits("local", ("requests", 10**12), ("tokens", 10**14), ("cost", 10**15))
    for _ in range(5_000):
        settle(await node.admit(counters), 400, 800)

    async def admitted() -> None:
        for number in range(LOCAL):
            settle(await node.admit(counters), 400, 800)
            if number % 1_000 == 0:
                await asyncio.sleep(0)  # the heartbeat wants its turn

    await costs.measure("local", LOCAL, admitted)


async def _leased(node: Node, costs: Costs) -> None:
    apart = [node.limits(f"apart{number}", ("requests", 10), ("cost", NANOS)) for number in range(LEASED)]
    together = [node.limits(f"together{number}", ("requests", 10), ("cost", NANOS)) for number in range(LEASED)]

    async def one_by_one() -> None:
        for counters in apart:
            settle(await node.admit(counters), 400, 800)

    async def at_once() -> None:
        for start in range(0, LEASED, TOGETHER):
            grants = await asyncio.gather(*(node.admit(counters) for counters in together[start : start + TOGETHER]))
            for grant in grants:
                settle(grant, 400, 800)

    await costs.measure("leased", LEASED, one_by_one)
    await costs.measure("at once", LEASED, at_once)


async def _refused(node: Node, other: Node, costs: Costs) -> None:
    # Spent at another process, but for less than the request needs: so each refusal is the store's.
    settle(await other.admit(other.limits("spent", ("cost", 10_000)), cost=9_500), 0, 9_500)
    await other.leases.beat()
    counters = node.limits("spent", ("cost", 10_000))

    async def refused() -> None:
        for _ in range(LEASED):
            with contextlib.suppress(GatewayError):
                await node.admit(counters)

    await costs.measure("refused", LEASED, refused)


async def _large(node: Node, costs: Costs) -> None:
    counters = node.limits("large", ("requests", 1_000_000))

    async def thousand() -> None:
        for _ in range(1_000):
            settle(await node.admit(counters), 400, 800)

    await costs.measure("round trips", 1_000, thousand)


def main() -> None:
    """Measure and print."""
    with running_redis() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(run(server.url))
    if "--json" in sys.argv[1:]:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(title="Shared limits, per request")
    for heading in ("", "requests", "CPU µs", "Redis CPU µs", "wall µs", "round trips per 1,000"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:,}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
