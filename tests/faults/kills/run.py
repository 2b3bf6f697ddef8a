"""One run: start, ask and kill, wait until the ledger is whole, judge."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from msgspec import Struct

from tests.faults.kills.correction import CORRECTED, correct
from tests.faults.kills.disturbing import lock, pause_on, while_down
from tests.faults.kills.judge import Verdict
from tests.faults.kills.killing import kill_at_random, kill_in_turn
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


async def run(name: str, kills: int, seed: int, *, long: bool = False) -> Outcome:
    """Kill so many processes of a deployment while it serves. A ``long`` run also locks its database for a while, and
    lets sidecars sleep.

    The faults in the verdict are for the caller to look at.
    """
    chance = random.Random(f"{seed} kills")
    async with stand(name, seed, old=True) as at:
        at.ask()
        for node in at.deployment.nodes:
            node.while_down = while_down(seed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(correct(at.deployment))
            await kill_in_turn(at, kills // 2, chance)
            if long:
                tasks.create_task(lock(at.deployment))
                pausing = tasks.create_task(pause_on(at.deployment, seed))
            await kill_at_random(at, kills - kills // 2, chance)
            if long:
                pausing.cancel()
        await asyncio.sleep(SETTLE)
        seconds = await at.cease()
        whole_after = await at.whole()
        await at.standing(CORRECTED)
        await at.forgotten()
        verdict = await at.judged()
        return Outcome(name, seed, at.killed, seconds, whole_after, verdict, at.deployment.log())
