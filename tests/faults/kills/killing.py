"""Which process dies when: first in turn, then at random, after pauses that a seed decides."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from itertools import cycle, islice

from tests.faults.kills.stand import Stand

LEAST, MOST = 0.15, 1.0  # seconds between two kills
WAIT = 1.5  # seconds that a kind may be away until another is killed instead


async def kill_in_turn(at: Stand, kills: int, chance: random.Random) -> None:
    """Kill so often, one kind after the other."""
    await _kill(at, islice(cycle(at.deployment.kinds), kills), chance)


async def kill_at_random(at: Stand, kills: int, chance: random.Random) -> None:
    """Kill so often, each time one of any kind."""
    await _kill(at, (chance.choice(at.deployment.kinds) for _ in range(kills)), chance)


async def _kill(at: Stand, kinds: Iterator[str], chance: random.Random) -> None:
    for kind in kinds:
        await asyncio.sleep(chance.uniform(LEAST, MOST))
        while not await _kill_one(at, kind, chance):
            kind = chance.choice(at.deployment.kinds)


async def _kill_one(at: Stand, kind: str, chance: random.Random) -> bool:
    """Kill one of a kind; False where there is none for a while, or it ended by itself."""
    until = time.monotonic() + WAIT
    # It may have been killed a moment ago, and wait for its turn to come back.
    while not (pids := at.deployment.living(kind)):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.02)
    return await at.kill(kind, chance.choice(pids))
