"""A database that nobody can write to for seconds: answers go on, and their usage is entered afterwards."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.kills.disturbing import lock
from tests.faults.kills.stand import stand

SEED = 51
LOCKED = 7.0  # seconds: two more than SQLite waits


@pytest.mark.timeout(300)
async def test_a_locked_database_holds_no_answer_up_and_loses_nothing() -> None:
    async with stand("embedded", SEED) as at:
        await at.entered()  # the sidecar has made its tables
        at.ask()
        locking = asyncio.create_task(lock(at.deployment, LOCKED))
        await asyncio.sleep(LOCKED / 2)
        (pid, *_) = at.deployment.living("sidecar")
        assert await at.kill("sidecar", pid)
        before = sum(request.answered for request in at.traffic.asked.values())
        await locking
        await at.cease()
        after = sum(request.answered for request in at.traffic.asked.values())
        await at.whole()
        found = await at.judged()
    assert before > 50
    assert after > before + 50
    assert found.faults == []
    assert found.entries >= after
