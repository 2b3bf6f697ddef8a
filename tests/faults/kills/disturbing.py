"""What else happens while processes die: writes that are cut off, files that grow old, old usage that goes, a
database that is locked, sidecars that sleep.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import msgspec

from gateway.bus.usage_journal import Journal, journal_name, segment_name
from gateway.contract.usage import Tokens
from gateway.store.engine import FILE
from tests.faults.kills.deployment import Deployment
from tests.faults.kills.judge import Prices
from tests.faults.kills.ledger import NUMBERS
from tests.faults.kills.settings import WORKERS
from tests.faults.kills.tree import Tree
from tests.support.usage import usage_event

OLD = 3 * 86_400  # seconds since what is to go already
OLD_EVENTS = 3_000
OLD_TOKENS = Tokens(prompt=7, completion=3)
AGED = 3_600.0  # seconds; a file that was read goes after five minutes
LOCKED = 10.0  # seconds
AWAKE = (2.0, 6.0)  # seconds between two pauses
ASLEEP = 6.5  # seconds: another sidecar takes over by then what the sleeping one holds


def while_down(seed: int) -> Callable[[Tree], None]:
    """What happens to a gateway's files between its death and its next start."""
    chance = random.Random(f"{seed} files")

    def disturb(tree: Tree) -> None:
        then = time.time() - AGED
        for path in tree.outbox.glob("usage-*-*.jsonl"):
            os.utime(path, (then, then))
        for worker in range(WORKERS):
            if chance.random() < 0.5:
                _tear(tree.outbox, worker, chance)

    return disturb


def _tear(outbox: Path, worker: int, chance: random.Random) -> None:
    """Write some of what a killed worker left in its journal, as if it had been killed within that very write."""
    journal = Journal.open(outbox / journal_name(worker), again=True)
    if journal is None:
        return
    number, offset, left = journal.left()
    journal.close()
    segment = outbox / segment_name(worker, number)
    if left and segment.exists():
        arrived = max(0, segment.stat().st_size - offset)
        with segment.open("ab") as file:
            file.write(left[arrived : chance.randint(arrived, len(left))])


def lay_old(outbox: Path, price: Prices) -> dict[str, int]:
    """A file of a worker that is no more, with usage that is too old to be kept by the request; gives its sums."""
    outbox.mkdir(parents=True, exist_ok=True)
    began = time.time_ns() - OLD * 1_000_000_000
    encode = msgspec.json.Encoder().encode
    with (outbox / "usage-7-00000001.jsonl").open("wb") as file:
        for number in range(OLD_EVENTS):
            event = usage_event(
                id=f"req_old{number}", provider="up", target="flaky", tokens=OLD_TOKENS,
                started_ns=began + number, ended_ns=began + number + 1, first_token_ns=None,
            )  # fmt: skip
            file.write(encode(event) + b"\n")
    prompt, completion = OLD_TOKENS.prompt, OLD_TOKENS.completion
    each = (1, prompt, 0, completion, 0, price.cost(prompt, completion))
    return {name: OLD_EVENTS * number for name, number in zip(NUMBERS, each, strict=True)}


async def pause_on(deployment: Deployment, seed: int) -> None:
    """Again and again stop a sidecar in the midst of what it does, and let it go on later, as if nothing had been."""
    chance = random.Random(f"{seed} pauses")
    while True:
        await asyncio.sleep(chance.uniform(*AWAKE))
        if not (pids := deployment.living("sidecar")):
            continue
        pid = chance.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(ASLEEP)
        finally:
            if pid in deployment.living("sidecar"):  # otherwise the id may be another's by now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


async def lock(deployment: Deployment, seconds: float = LOCKED) -> None:
    """Keep everybody from writing to the ledger for a while."""
    if deployment.database_url is None:
        await asyncio.to_thread(_lock_file, Path(deployment.data_dir) / FILE, seconds)
        return
    connection = await asyncpg.connect(deployment.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE ledger_entries IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(seconds)
    finally:
        await connection.close()


def _lock_file(path: Path, seconds: float) -> None:
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
