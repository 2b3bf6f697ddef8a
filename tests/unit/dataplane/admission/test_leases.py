"""Shared limits as a process uses them: over a real Redis, with a clock of our own."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from gateway.bus.leases import Tuning
from gateway.contract.leases import MAX_AMOUNT
from gateway.contract.policy import LimitPolicy
from gateway.dataplane.admission.leases import LeaseOptions
from gateway.dataplane.admission.limiter import settle
from gateway.kernel.errors import GatewayError, Kind
from tests.support.cluster import CREDIT, MINUTE, NOW, SLOTS, Cluster
from tests.support.raw_upstream import WAIT

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
    assert 0.04 < time.monotonic() - begun < 5.0


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


async def test_nobody_listens_when_it_has_ended(cluster: Cluster) -> None:
    process = await cluster.start(MINUTE, deaf=True)
    assert process.store.listening
    async with asyncio.timeout(WAIT):
        await process.stop()
    assert not process.store.listening
