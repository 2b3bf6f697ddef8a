"""Shared limits as a process uses them: over a real Redis, with a clock of our own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.bus.lease_usage import RedisUsage
from gateway.bus.leases import RedisLeases, Tuning, counter_key
from gateway.contract.leases import MAX_AMOUNT, Call, Notice, Reply, StoreUnavailable, Window
from gateway.contract.policy import LimitPolicy
from gateway.dataplane.admission.leases import LeaseOptions, Leases
from gateway.dataplane.admission.limiter import CounterSet, Grant, Shortage, settle
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.admission.turns import OnStoreFailure
from gateway.kernel.errors import GatewayError, Kind
from tests.support.redis_server import RedisServer, running_redis

NOW = 1_700_000_040.0
CREDIT = LimitPolicy("organization", "acme", "cost", 10_000, "total", source="credit")
MINUTE = LimitPolicy("key", "k", "requests", 1_000, "minute")
SLOTS = LimitPolicy("key", "k", "concurrency", 4)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


class Switch(RedisLeases):
    """A store that can be cut off, and counts its calls."""

    cut = False
    deaf = False
    calls = 0
    fault: Exception | None = None

    async def listen(self, heard: Callable[[Notice], None]) -> None:
        if not self.deaf:
            await super().listen(heard)

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


@pytest.fixture
async def cluster(server: RedisServer) -> AsyncIterator[Cluster]:
    found = Cluster(server.url)
    await found.redis.flushall()
    yield found
    for process in found.processes:
        await process.kill()
    await found.redis.aclose()


# exactness


async def test_of_a_thousand_at_once_on_four_processes_exactly_ten_pass(cluster: Cluster) -> None:
    limits = (LimitPolicy("key", "k", "cost", 10_000, "total", source="credit"), MINUTE)
    processes = [await cluster.start(*limits) for _ in range(4)]
    admitted = await asyncio.gather(*(process.many(250, cost=1_000) for process in processes))
    assert sum(admitted) == 10
    assert (await cluster.row(CREDIT)) == {"out": 0, "used": 0, "held": 0}
    assert (await cluster.row(limits[0]))["out"] == 10_000
    error = await processes[0].refused(cost=1_000)
    assert (error.kind, error.code) == (Kind.PAYMENT_REQUIRED, "insufficient_credits")


async def test_a_large_limit_costs_a_handful_of_round_trips(cluster: Cluster) -> None:
    process = await cluster.start(LimitPolicy("key", "k", "requests", 1_000_000, "minute"))
    before = process.store.calls
    for _ in range(1_000):
        settle(await process.admit(), 0, 0)
    assert process.store.calls - before <= 6
    assert process.leases.stats.leased <= 6


async def test_requests_that_wait_share_a_round_trip(cluster: Cluster) -> None:
    process = await cluster.start(LimitPolicy("key", "k", "requests", 100, "minute"))
    before = process.store.calls
    assert await process.many(500) == 100
    assert process.store.calls - before <= 10


async def test_a_refused_request_takes_nothing(cluster: Cluster) -> None:
    a, b = await cluster.start(MINUTE, CREDIT), await cluster.start(MINUTE, CREDIT)
    assert (await a.refused(cost=10_001)).code == "insufficient_credits"
    for process in (a, b):
        await process.leases.beat()
    assert (await cluster.row(MINUTE))["out"] == 0
    assert await b.many(3, cost=3_333) == 3


async def test_a_window_is_counted_anew_when_it_is_over(cluster: Cluster) -> None:
    policy = LimitPolicy("key", "k", "requests", 5, "minute")
    a, b = await cluster.start(policy), await cluster.start(policy)
    assert await a.many(3) + await b.many(9) == 5
    error = await a.refused()
    assert error.retry_after == 60 - NOW % 60
    assert error.details is not None
    assert (error.details.limit, error.details.remaining) == (5, 0)
    cluster.now += 60
    assert await b.many(4) + await a.many(4) == 5


async def test_a_sliding_window_counts_what_others_used_in_the_last_one(cluster: Cluster) -> None:
    policy = LimitPolicy("key", "k", "requests", 60, "minute", sliding=True)
    a, b = await cluster.start(policy), await cluster.start(policy)
    cluster.now = NOW - NOW % 60
    for _ in range(40):
        settle(await a.admit(), 0, 0)
    cluster.now += 75.0  # a quarter of the next one: three quarters of the 40 still count
    assert await b.many(60) == 30
    cluster.now += 15.0
    assert await a.many(60) == 10


async def test_a_spent_limit_is_not_asked_for_again_and_again(cluster: Cluster) -> None:
    policy = LimitPolicy("key", "k", "requests", 3, "day")
    a, b = await cluster.start(policy), await cluster.start(policy)
    for _ in range(3):
        settle(await a.admit(), 0, 0)
    await a.leases.beat()
    await b.refused()
    before = b.store.calls
    for _ in range(50):
        await b.refused()
    assert b.store.calls == before
    cluster.now += 1.5
    await b.refused()
    assert b.store.calls == before + 1
    # A higher limit is asked for at once.
    b.registry.counters([LimitPolicy("key", "k", "requests", 4, "day")])
    await b.admit()


async def test_more_used_than_reserved_is_counted(cluster: Cluster) -> None:
    a, b = await cluster.start(CREDIT), await cluster.start(CREDIT)
    settle(await a.admit(cost=1_000), 0, 9_500)
    await a.leases.beat()
    assert await cluster.row(CREDIT) == {"out": 9_500, "used": 9_500, "held": 0}
    assert (await b.refused(cost=501)).code == "insufficient_credits"
    await b.admit(cost=500)


async def test_use_of_what_had_reserved_nothing_is_counted(cluster: Cluster) -> None:
    a = await cluster.start(CREDIT)
    settle(await a.admit(cost=0), 0, 700)
    await a.leases.beat()
    assert (await cluster.row(CREDIT))["used"] == 700
    settle(await a.admit(cost=0), 0, 300)
    await a.leases.beat()
    assert (await cluster.row(CREDIT))["used"] == 1_000


# giving back


async def test_what_lies_idle_is_given_back(cluster: Cluster) -> None:
    process = await cluster.start(MINUTE)
    settle(await process.admit(), 0, 0)
    assert (await cluster.row(MINUTE))["out"] == 32
    await process.leases.beat()
    assert (await cluster.row(MINUTE))["used"] == 1  # it was in use: it is kept
    await process.leases.beat()
    assert await cluster.row(MINUTE) == {"out": 1, "used": 1, "held": 0}
    assert (process.leases.unspent, process.leases.stats.returned) == (0, 1)


async def test_a_slice_is_called_back_for_a_request_elsewhere(cluster: Cluster) -> None:
    a, b = await cluster.start(SLOTS), await cluster.start(SLOTS)
    held = [await a.admit() for _ in range(3)]
    settle(held.pop(), 0, 0)
    assert await b.many(3) == 2
    assert b.leases.stats.recalls >= 1
    assert a.leases.stats.answered >= 1
    error = await b.refused()
    assert error.code == "concurrency_limit_exceeded"
    settle(held.pop(), 0, 0)
    await b.admit()


async def test_nothing_is_refused_by_what_was_told_before_the_request_came(cluster: Cluster) -> None:
    a, b = await cluster.start(SLOTS), await cluster.start(SLOTS)
    for process in (a, b):
        process.store.tuning = Tuning(recall_every=10)
    held = [await a.admit() for _ in range(4)]
    await b.refused()  # a has just told that it needs all it holds
    settle(held.pop(), 0, 0)
    waiting = asyncio.create_task(b.admit())
    await asyncio.sleep(0.002)
    cluster.now += 0.01
    await waiting


async def test_a_recall_that_nobody_answers_costs_its_wait(cluster: Cluster) -> None:
    a, b = await cluster.start(SLOTS), await cluster.start(SLOTS, recall_wait=0.05)
    await a.many(3)
    a.task.cancel()
    begun = time.monotonic()
    assert await b.many(2) == 1
    assert 0.04 < time.monotonic() - begun < 2.0


async def test_a_lowered_limit_holds_from_the_next_beat(cluster: Cluster) -> None:
    a = await cluster.start(MINUTE)
    await a.admit()
    a.registry.counters([LimitPolicy("key", "k", "requests", 2, "minute")])
    await a.leases.beat()
    assert await a.many(5) == 1


async def test_stopping_gives_everything_back(cluster: Cluster) -> None:
    a, b = await cluster.start(CREDIT, SLOTS), await cluster.start(CREDIT, SLOTS)
    settle(await a.admit(cost=100), 0, 40)
    await a.stop()
    assert await cluster.row(CREDIT) == {"out": 40, "used": 40, "held": 0}
    assert await b.many(1, cost=9_960) == 1
    cluster.processes.remove(a)


# death


async def test_what_a_killed_process_had_not_spent_comes_back(cluster: Cluster) -> None:
    a, b = await cluster.start(CREDIT, SLOTS), await cluster.start(CREDIT, SLOTS)
    settle(await a.admit(cost=3_000), 0, 2_500)
    for _ in range(2):
        await a.admit(cost=1_000)
    await a.leases.beat()
    await a.kill()
    b.leases.options = LeaseOptions(recall_wait=0.0)
    await b.refused(cost=7_500)
    await cluster.wait(6, b)
    assert await cluster.row(CREDIT) == {"out": 2_500, "used": 2_500, "held": 0}
    assert await b.many(4, cost=1_875) == 4


async def test_a_process_that_stood_still_declares_what_it_spent(cluster: Cluster) -> None:
    a, b = await cluster.start(CREDIT), await cluster.start(CREDIT)
    settle(await a.admit(cost=3_000), 0, 2_000)
    held = await a.admit(cost=1_000)
    await cluster.wait(7, b)  # a is taken for dead
    await b.admit(cost=6_000)
    settle(held, 0, 900)
    await a.leases.beat()
    await b.leases.beat()
    assert await cluster.row(CREDIT) == {"out": 8_900, "used": 2_900, "held": 6_000}
    assert a.set.all[0].limit == 2_900
    await a.refused(cost=1_101)
    await a.admit(cost=1_100)


async def test_a_counter_that_is_dropped_and_made_anew_does_not_forget(cluster: Cluster) -> None:
    process = await cluster.start(CREDIT)
    for _ in range(3):
        settle(await process.admit(cost=2_000), 0, 2_000)
        await process.leases.beat()
        await process.leases.beat()
        del process.set
        gc.collect()
        assert process.registry.living() == []
        process.set = CounterSet(process.registry.counters((CREDIT,)), process.registry.era)
    assert await process.many(9, cost=1_000) == 4
    assert (await cluster.row(CREDIT))["used"] == 6_000


async def test_a_dropped_counter_keeps_no_account(cluster: Cluster) -> None:
    process = await cluster.start(CREDIT)
    settle(await process.admit(cost=2_000), 0, 2_000)
    await cluster.wait(2, process)
    del process.set
    gc.collect()
    await cluster.wait(2, process)
    assert await cluster.redis.zcard("{gateway}:accounts:run.0") == 0
    assert (await cluster.row(CREDIT))["out"] == 2_000


# the store away


async def outage(process: Process) -> None:
    """Cut a process off and let it find out."""
    process.store.cut = True
    await process.leases.beat()
    assert process.leases.down_since is not None


async def back(process: Process) -> None:
    """Wait until a process is in touch again, which takes nobody's help."""
    for _ in range(2_000):
        if process.leases.down_since is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("still cut off")


async def test_cut_off_a_lease_is_used_up_and_then_requests_are_refused(cluster: Cluster) -> None:
    process = await cluster.start(MINUTE)
    await process.admit()
    await outage(process)
    before = process.store.calls
    assert await process.many(100) == 31
    error = await process.refused()
    assert (error.kind, error.code, error.retry_after) == (Kind.UNAVAILABLE, "limits_unavailable", 1.0)
    assert process.store.calls - before <= 2  # nobody waits for it: only the probes in the background call
    process.store.cut = False
    await process.leases.beat()
    assert process.leases.down_since is None
    await process.admit()
    assert process.leases.stats.failures >= 1


async def test_cut_off_and_closed_nothing_passes(cluster: Cluster) -> None:
    process = await cluster.start(MINUTE, on_store_failure="closed")
    await process.admit()
    await outage(process)
    assert (await process.refused()).code == "limits_unavailable"
    process.store.cut = False
    await process.leases.beat()
    await process.admit()


async def test_cut_off_and_open_each_counts_for_itself_and_tells_later(cluster: Cluster) -> None:
    a = await cluster.start(CREDIT, on_store_failure="open")
    b = await cluster.start(CREDIT, on_store_failure="open")
    settle(await b.admit(cost=6_000), 0, 6_000)
    await b.leases.beat()
    await outage(a)
    assert await a.many(12, cost=1_000) == 10
    assert (await a.refused(cost=1_000)).code == "insufficient_credits"
    assert a.leases.stats.local >= 1
    a.store.cut = False
    await a.leases.beat()
    assert await cluster.row(CREDIT) == {"out": 16_000, "used": 6_000, "held": 10_000}
    assert (await b.refused(cost=1)).code == "insufficient_credits"
    assert a.set.all[0].limit == 10_000


async def test_without_a_store_from_the_start(server: RedisServer, tmp_path: Any) -> None:
    cluster = Cluster(f"unix://{tmp_path}/none.sock")
    for policy, code in (("lease", "limits_unavailable"), ("closed", "limits_unavailable"), ("open", None)):
        options = LeaseOptions(on_store_failure=policy, beat=3600.0)  # type: ignore[arg-type]
        process = Process(cluster, "a", (MINUTE,), options)
        if code is None:
            await process.admit()
        else:
            assert (await process.refused()).code == code
        await process.kill()
    await cluster.redis.aclose()


async def test_it_recovers_by_itself(server: RedisServer) -> None:
    with running_redis() as mine:
        cluster = Cluster(mine.url)
        process = await cluster.start(MINUTE)
        await process.admit()
        mine.stop()
        await process.leases.beat()
        assert process.leases.down_since is not None
        mine.start()
        await back(process)
        assert (await cluster.row(MINUTE)) == {"out": 1, "used": 0, "held": 1}
        await process.store.hearing.wait()
        await process.kill()
        await cluster.redis.aclose()


async def test_a_redis_that_hangs_holds_a_request_up_for_the_deadline_only(server: RedisServer) -> None:
    with running_redis() as mine:
        cluster = Cluster(mine.url)
        process = await cluster.start(MINUTE)
        process.store._deadline = 0.1
        info: Any = await cluster.redis.info("server")
        os.kill(int(info["process_id"]), signal.SIGSTOP)
        try:
            begun = time.monotonic()
            outcomes = await asyncio.gather(*(process.refused() for _ in range(200)))
            assert time.monotonic() - begun < 1.5
            assert {error.code for error in outcomes} == {"limits_unavailable"}
            begun = time.monotonic()
            for _ in range(200):
                await process.refused()
            assert time.monotonic() - begun < 0.5
        finally:
            os.kill(int(info["process_id"]), signal.SIGCONT)
        process.store._deadline = 10.0
        await back(process)
        await process.admit()
        await process.kill()
        await cluster.redis.aclose()


# memory


async def test_counts_come_back_when_redis_lost_its_memory(cluster: Cluster) -> None:
    a, b = await cluster.start(CREDIT), await cluster.start(CREDIT)
    dead = await cluster.start(CREDIT)
    settle(await dead.admit(cost=1_000), 0, 1_000)
    await dead.stop()
    cluster.processes.remove(dead)
    settle(await a.admit(cost=2_000), 0, 2_000)
    settle(await b.admit(cost=3_000), 0, 3_000)
    await cluster.wait(3, a, b)
    await b.admit(cost=500)  # b hears anew what all have spent
    await cluster.redis.flushall()
    assert (await a.refused(cost=5_000)).code == "limits_unavailable"
    await cluster.wait(2, b, a)
    assert await cluster.row(CREDIT) == {"out": 6_500, "used": 6_000, "held": 500}
    await a.refused(cost=3_501)
    await a.admit(cost=3_500)


async def test_a_quiet_limit_is_declared_again_too(cluster: Cluster) -> None:
    a = await cluster.start(CREDIT)
    settle(await a.admit(cost=2_000), 0, 2_000)
    await cluster.wait(3, a)
    await cluster.redis.flushall()
    await cluster.wait(1, a)
    assert (await cluster.row(CREDIT))["used"] == 2_000


async def test_many_accounts_are_told_in_turns(cluster: Cluster) -> None:
    policies = tuple(LimitPolicy("key", f"k{number}", "requests", 100, "day") for number in range(600))
    process = await cluster.start(*policies)
    settle(await process.admit(), 0, 0)
    await cluster.redis.flushall()
    await cluster.wait(2, process)
    usage = RedisUsage(cluster.url)
    found = await usage.used([policy.key for policy in policies], cluster.now)
    await usage.close()
    assert set(found.values()) == {1}


# callers


async def test_a_caller_who_leaves_while_waiting_takes_nothing(cluster: Cluster) -> None:
    process = await cluster.start(CREDIT)
    waiting = asyncio.create_task(process.admit(cost=9_000))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert await process.many(1, cost=10_000) == 1


async def test_too_many_waiting_are_refused(cluster: Cluster) -> None:
    process = await cluster.start(CREDIT)
    process.leases.options = LeaseOptions(waiting=5)
    errors = await asyncio.gather(*(process.admit(cost=1) for _ in range(9)), return_exceptions=True)
    assert [error.code for error in errors if isinstance(error, GatewayError)] == ["limits_unavailable"] * 4


async def test_a_limit_too_large_to_count_is_refused(cluster: Cluster) -> None:
    process = await cluster.start(LimitPolicy("key", "k", "cost", MAX_AMOUNT + 1, "total"))
    assert (await process.refused(cost=1)).code == "limit_too_large"
    largest = await cluster.start(LimitPolicy("key", "k", "cost", MAX_AMOUNT, "total"))
    await largest.admit(cost=MAX_AMOUNT - 1)
    assert (await largest.refused(cost=2)).code == "insufficient_quota"


async def test_ending_lets_nobody_wait(cluster: Cluster) -> None:
    process = await cluster.start(CREDIT)
    waiting = asyncio.create_task(process.refused(cost=1))
    await asyncio.sleep(0)
    process.task.cancel()
    assert (await waiting).code == "limits_unavailable"


async def test_recalls_missed_are_made_up_for(cluster: Cluster) -> None:
    a, b = await cluster.start(SLOTS, deaf=True), await cluster.start(SLOTS, recall_wait=0.0)
    for grant in [await a.admit() for _ in range(4)]:
        settle(grant, 0, 0)
    await b.refused()
    await a.leases.beat()  # the answer tells of the recall, and it is acted upon at once
    await b.admit()


async def test_a_fault_of_ours_leaves_nobody_waiting(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    process = await cluster.start(CREDIT)
    process.store.fault = RuntimeError("a fault")
    assert (await process.refused(cost=1)).code == "limits_unavailable"
    assert "a turn with the store of limits failed" in caplog.text
    await process.admit(cost=1)
