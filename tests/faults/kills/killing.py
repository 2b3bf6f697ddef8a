"""Which process dies when: first in turn, then at random, after pauses that a seed decides."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice

from tests.faults.kills.deployment import Deployment

LEAST, MOST = 0.15, 1.0  # seconds between two kills
WAIT = 1.5  # seconds that a kind may be away until another is killed instead


async def kill_in_turn(deployment: Deployment, kills: int, chance: random.Random, done: Counter[str]) -> None:
    """Kill so often, one kind after the other, and count in ``done`` how often each was killed."""
    await _kill(deployment, islice(cycle(deployment.kinds), kills), chance, done)


async def kill_at_random(deployment: Deployment, kills: int, chance: random.Random, done: Counter[str]) -> None:
    """Kill so often, and count in ``done`` how often each kind was killed."""
    await _kill(deployment, (chance.choice(deployment.kinds) for _ in range(kills)), chance, done)


async def _kill(deployment: Deployment, kinds: Iterator[str], chance: random.Random, done: Counter[str]) -> None:
    for kind in kinds:
        await asyncio.sleep(chance.uniform(LEAST, MOST))
        while not await _kill_one(deployment, kind, chance):
            kind = chance.choice(deployment.kinds)
        done[kind] += 1


async def _kill_one(deployment: Deployment, kind: str, chance: random.Random) -> bool:
    """Kill one of a kind; False where there is none for a while, or it ended by itself."""
    until = time.monotonic() + WAIT
    # It may have been killed a moment ago, and wait for its turn to come back.
    while not (pids := deployment.living(kind)):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.02)
    return await deployment.kill(kind, chance.choice(pids))
