"""Processes that share their limits over a real Redis, with a clock of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.bus.leases import RedisLeases, Tuning, counter_key
from gateway.contract.leases import Call, Notice, Reply, StoreUnavailable, Window
from gateway.contract.policy import LimitPolicy
from gateway.dataplane.admission.leases import LeaseOptions, Leases
from gateway.dataplane.admission.limiter import CounterSet, Grant, Shortage
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.admission.turns import OnStoreFailure
from gateway.kernel.errors import GatewayError

NOW = 1_700_000_040.0
CREDIT = LimitPolicy("organization", "acme", "cost", 10_000, "total", source="credit")
MINUTE = LimitPolicy("key", "k", "requests", 1_000, "minute")
SLOTS = LimitPolicy("key", "k", "concurrency", 4)


class Switch(RedisLeases):
    """A store that can be cut off, and counts its calls. One that is ``deaf`` swallows a cancellation, as
    ``asyncio.wait_for`` of Python 3.11 does at times.
    """

    cut = False
    deaf = False
    listening = False
    calls = 0
    fault: Exception | None = None

    async def listen(self, heard: Callable[[Notice], None]) -> None:
        self.listening = True
        try:
            if not self.deaf:
                await super().listen(heard)
                return
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()
        finally:
            self.listening = False

    async def exchange(self, call: Call) -> Reply:
        self.calls += 1
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        if self.cut:
            raise StoreUnavailable("cut off")
        return await super().exchange(call)


class Process:
    """A process of the gateway, as far as limits go."""

    def __init__(self, cluster: Cluster, name: str, policies: tuple[LimitPolicy, ...], options: LeaseOptions) -> None:
        self.cluster = cluster
        # The clock stands still while requests rush in.
        tuning = Tuning(recall_every=0)
        self.store = Switch(cluster.url, name, tuning=tuning, clock=cluster.milliseconds, deadline=10.0)
        self.leases = Leases(self.store, options, lambda: cluster.now)
        self.registry = Registry(self.leases, leased=True)
        self.set = CounterSet(self.registry.counters(policies), self.registry.era)
        self.task = asyncio.create_task(self.leases.run())

    async def admit(self, tokens: int = 0, cost: int = 0) -> Grant:
        """As the pipeline does."""
        try:
            return self.set.admit(tokens, cost, self.cluster.now)
        except Shortage as shortage:
            return await self.leases.admit(shortage)

    async def refused(self, tokens: int = 0, cost: int = 0) -> GatewayError:
        """The refusal of a request."""
        with pytest.raises(GatewayError) as error:
            await self.admit(tokens, cost)
        return error.value

    async def many(self, count: int, tokens: int = 0, cost: int = 0) -> int:
        """Requests at once that stay under way; how many were admitted."""
        outcomes = await asyncio.gather(*(self.admit(tokens, cost) for _ in range(count)), return_exceptions=True)
        assert all(isinstance(outcome, Grant | GatewayError) for outcome in outcomes)
        return sum(isinstance(outcome, Grant) for outcome in outcomes)

    async def kill(self) -> None:
        """End, and tell nobody."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.store.close()

    async def stop(self) -> None:
        """End as it should."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.leases.close()


class Cluster:
    """Processes that share a Redis and a clock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = NOW
        self.redis: Redis = Redis.from_url(url, decode_responses=True)
        self.processes: list[Process] = []

    def milliseconds(self) -> int:
        return round(self.now * 1000)

    async def start(
        self,
        *policies: LimitPolicy,
        on_store_failure: OnStoreFailure = "lease",
        recall_wait: float = 10.0,
        deaf: bool = False,
    ) -> Process:
        """Another process, ready."""
        options = LeaseOptions(on_store_failure=on_store_failure, beat=3600.0, recall_wait=recall_wait)
        process = Process(self, f"run.{len(self.processes)}", policies, options)
        process.store.deaf = deaf
        self.processes.append(process)
        await process.leases.beat()
        if not deaf:
            await process.store.hearing.wait()
        return process

    async def wait(self, seconds: int, *living: Process) -> None:
        """Time passes, and these beat."""
        for _ in range(seconds):
            self.now += 1.0
            for process in living:
                await process.leases.beat()

    async def row(self, policy: LimitPolicy) -> dict[str, int]:
        """What Redis keeps of a limit now: ``out``, ``used`` and ``held``."""
        row: Any = await self.redis.hgetall(counter_key(Window.at(policy.key, self.now).id))
        return {name: int(row.get(name, 0)) for name in ("out", "used", "held")}
