"""Which process dies when: half of the kills in turn, the others at random, after pauses that a seed decides."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from tests.faults.kills.deployment import Deployment

LEAST, MOST = 0.15, 1.0  # seconds between two kills
WAIT = 60.0  # seconds that a kind may be away


async def kill_on(deployment: Deployment, kills: int, seed: int, done: Counter[str]) -> None:
    """Kill so often, and count in ``done`` how often each kind was killed."""
    chance = random.Random(f"{seed} kills")
    while (number := done.total()) < kills:
        await asyncio.sleep(chance.uniform(LEAST, MOST))
        in_turn = number < kills // 2
        kinds = deployment.kinds
        kind = kinds[number % len(kinds)] if in_turn else chance.choice(kinds)
        async with asyncio.timeout(WAIT):
            # It may have been killed a moment ago, and wait for its turn to come back.
            while not (pids := deployment.living(kind)):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
        done[kind] += await deployment.kill(kind, chance.choice(pids))
