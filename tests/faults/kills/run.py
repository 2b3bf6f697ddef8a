"""One run: start, ask and kill, wait until the ledger is whole, judge."""

from __future__ import annotations

import asyncio
from collections import Counter

from msgspec import Struct

from tests.faults.kills.correction import CORRECTED, correct
from tests.faults.kills.judge import Verdict
from tests.faults.kills.killing import kill_on
from tests.faults.kills.stand import stand

SETTLE = 1.0  # seconds that the clients go on after the last kill


class Outcome(Struct):
    """What came of a run. ``log`` is what its processes wrote last."""

    name: str
    seed: int
    kills: Counter[str]
    seconds: float
    whole_after: float
    verdict: Verdict
    log: str


async def run(name: str, kills: int, seed: int) -> Outcome:
    """Kill so many processes of a deployment while it serves. The result's faults are for the caller to look at."""
    async with stand(name, seed) as at:
        at.ask()
        correcting = asyncio.create_task(correct(at.deployment))
        try:
            await kill_on(at.deployment, kills, seed, at.killed)
            await asyncio.sleep(SETTLE)
            seconds = await at.cease()
            whole_after = await at.whole()
            await correcting
        finally:
            correcting.cancel()
        await at.standing(CORRECTED)
        verdict = await at.judged()
        return Outcome(name, seed, at.killed, seconds, whole_after, verdict, at.deployment.log())
