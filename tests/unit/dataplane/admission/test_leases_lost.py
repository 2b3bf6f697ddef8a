"""Shared limits when processes die, the store can't be reached, or it has lost its memory."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from typing import Any

from gateway.bus.lease_usage import RedisUsage
from gateway.contract.policy import LimitPolicy
from gateway.dataplane.admission.leases import LeaseOptions
from gateway.dataplane.admission.limiter import CounterSet, settle
from gateway.kernel.errors import Kind
from tests.support.cluster import CREDIT, MINUTE, SLOTS, Cluster, Process
from tests.support.redis_server import RedisServer, running_redis

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
    assert a.set.all[0].count.limit == 2_900
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
    assert a.set.all[0].count.limit == 10_000


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
            assert time.monotonic() - begun < 5.0
            assert {error.code for error in outcomes} == {"limits_unavailable"}
            begun = time.monotonic()
            for _ in range(200):
                await process.refused()
            assert time.monotonic() - begun < 5.0
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
