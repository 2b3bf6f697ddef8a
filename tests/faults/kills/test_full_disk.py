"""A disk that takes no more: no answer goes out whole whose usage is not on it, also when the worker is killed then."""

from __future__ import annotations

import asyncio
import resource
import time

import pytest

from tests.faults.kills.stand import Stand, stand

SEED = 31
ROOM = 300  # bytes a file may still grow by: less than an event


def limit(pid: int, size: int) -> None:
    """Have every write of a process fail that would make a file longer than that."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def answered(at: Stand) -> int:
    """How many clients have a whole answer of the provider's."""
    return sum(request.answered for request in at.traffic.asked.values())


async def until(at: Stand, more: int) -> None:
    """Wait until so many more are answered."""
    wanted, deadline = answered(at) + more, time.monotonic() + 60
    while answered(at) < wanted:
        assert time.monotonic() < deadline, at.deployment.log()
        await asyncio.sleep(0.02)


async def stands(at: Stand) -> None:
    """Wait until nobody is answered any more: for a second none of those who ask all the time."""
    deadline = time.monotonic() + 60
    before = -1
    while (now := answered(at)) != before:
        assert time.monotonic() < deadline, f"{now} are answered, and more and more"
        before = now
        await asyncio.sleep(1.0)


@pytest.mark.timeout(300)
async def test_what_a_full_disk_does_not_take_is_not_answered_and_nothing_answered_is_lost() -> None:
    async with stand("embedded", SEED) as at:
        at.ask()
        await until(at, 100)
        first, second = workers = at.deployment.living("worker")
        sizes = [path.stat().st_size for path in at.deployment.nodes[0].outbox.glob("usage-*.jsonl")]
        for pid in workers:
            limit(pid, min(sizes) + ROOM)
        await stands(at)
        assert await at.kill("worker", first)
        limit(second, resource.RLIM_INFINITY)
        await until(at, 100)
        await at.cease()
        await at.whole()
        verdict = await at.judged()
        refused = [request for request in at.traffic.asked.values() if request.status == 503 and not request.tried]
    assert refused
    assert verdict.faults == []
    assert verdict.missing == 0


@pytest.mark.timeout(300)
async def test_a_disk_that_is_still_full_when_a_worker_starts_again_loses_nothing() -> None:
    async with stand("embedded", SEED + 1) as at:
        (tree,) = at.deployment.nodes
        at.ask()
        await until(at, 100)
        await at.entered()  # the sidecar has made its tables
        workers = tree.workers()
        sizes = [path.stat().st_size for path in tree.outbox.glob("usage-*.jsonl")]
        for pid in tree.processes():
            # What is started from now on finds no room at all.
            limit(pid, max(sizes) + ROOM if pid in workers else 0)
        await asyncio.sleep(1.0)
        for pid in workers:
            assert await at.kill("worker", pid)
        await asyncio.sleep(1.5)
        for pid in tree.processes():
            limit(pid, resource.RLIM_INFINITY)
        await until(at, 100)
        await at.cease()
        await at.whole()
        verdict = await at.judged()
    assert verdict.faults == []
    assert verdict.missing == 0
