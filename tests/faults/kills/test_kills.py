"""The short version of ``make kills``: some processes die while requests run, and every rule holds afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.faults.kills.run import run
from tests.faults.kills.stand import Stand, stand
from tests.faults.kills.table import faults, table

KILLS = 8
SEED = 20
LEAST = 100  # answers
LEFT = 10  # requests that are left while nothing counts


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["embedded", "scaled"])
async def test_whatever_is_killed_each_answer_is_in_the_ledger_once(name: str) -> None:
    outcome = await run(name, KILLS, SEED)
    told = f"{table([outcome])}\n{faults(outcome)}\n{outcome.log}"
    assert outcome.verdict.faults == [], told
    assert outcome.kills.total() == KILLS
    assert outcome.verdict.answered > LEAST, told
    assert outcome.verdict.corrected > 0, told


async def until_left(at: Stand, more: int) -> None:
    """Wait until so many more of the requests that came to the provider have been left by their clients."""

    def left() -> int:
        return sum(request.left and nonce in at.books.served for nonce, request in at.traffic.asked.items())

    wanted, deadline = left() + more, time.monotonic() + 60
    while left() < wanted:
        assert time.monotonic() < deadline, at.deployment.log()
        await asyncio.sleep(0.02)


@pytest.mark.timeout(300)
async def test_what_is_still_being_counted_when_the_clients_stop_is_waited_for() -> None:
    async with stand("embedded", SEED) as at:
        at.traffic.ways = ("streamed", "left stream")  # of these no client waits for what is counted
        at.ask()
        await until_left(at, LEFT)
        for pid in at.deployment.living("counter"):
            os.kill(pid, signal.SIGSTOP)
        await until_left(at, LEFT)
        await at.cease()
        await at.whole()
        verdict = await at.judged()
        told = f"{verdict.faults}\n{at.deployment.log()}"
    assert verdict.faults == [], told
    assert verdict.unrecorded == 0
