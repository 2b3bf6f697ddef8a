"""A clock that steps back by an hour and forth by two while requests run and processes die."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from pathlib import Path

import pytest

from tests.faults.kills.killing import kill_at_random
from tests.faults.kills.stand import stand

SEED = 41
KILLS = 6
STEPS = (-3_600, 7_200, -1, 0)  # seconds
NS = 1_000_000_000


async def step(clock: Path) -> None:
    """Let the clock be wrong, by something else every second."""
    for offset in STEPS * 10:
        with clock.open("r+b") as file:
            file.write(struct.pack("<q", offset * NS))
        await asyncio.sleep(1)


@pytest.mark.timeout(300)
async def test_a_clock_that_steps_loses_and_doubles_nothing(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("<q", 0))
    folders = [str(Path(__file__).with_name("clock")), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {"PYTHONPATH": os.pathsep.join(folders), "KILLS_CLOCK": str(clock)}
    async with stand("embedded", SEED, env=env) as at:
        at.ask()
        stepping = asyncio.create_task(step(clock))
        try:
            await kill_at_random(at, KILLS, random.Random(SEED))
            await at.cease()
            await at.whole()
        finally:
            stepping.cancel()
        async with at.ledger() as ledger:
            began = [entry.started_ns for entry in await ledger.entries()]
        verdict = await at.judged()
    assert verdict.faults == []
    # The steps were felt: entries lie more than two hours apart.
    assert max(began) - min(began) > 7_200 * NS
