"""Usage events on their way from Redis into the ledger, with other sidecars that do the same.

Pieces of the nodes' files are read as one of a consumer group, entered, and only then dropped from the stream, with a
word to their node. What a consumer held that died is taken over by another; a piece that ends one process after the
other is entered line by line, and the line that does it is set aside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.bus import usage
from gateway.bus.backoff import Backoff
from gateway.bus.usage import ANSWER_SECONDS, GROUP, HELD, HOLD_LEDGER, LEDGER, REMOVE_IDLE, STREAM, TRIED, Piece
from gateway.domain.ledger.ingest import Batch
from gateway.domain.ledger.pieces import enter, identity
from gateway.domain.ledger.rating import Rater
from gateway.kernel.tasks import end
from gateway.sidecar.histogram import Histogram
from gateway.sidecar.ingest import IngestState, Meter
from gateway.sidecar.segments import batch_of
from gateway.sidecar.stream_state import look
from gateway.store.engine import Store

LINES = 1_000  # lines of a transaction, about
ENTRIES = 8  # of a reading, about 256 kB each
BLOCK_MS = 1_000
LOOK = 1.0  # seconds
CLAIM_MS = 5_000  # a consumer that was not heard of for so long is dead
REMOVE_MS = 600_000  # an idle consumer that was not heard of for so long is none any more
TIMES = 3  # deliveries, beyond which a piece is entered line by line
DEATHS = 2  # of processes that entered a line by itself, beyond which it is set aside

_log = logging.getLogger("gateway.sidecar.stream")


class Entry(Struct, frozen=True):
    """An entry of the stream, and how often it was delivered."""

    id: str
    source: str
    piece: Piece
    times: int = 1


class OtherLedger(Exception):
    """Sidecars of another database read this Redis: what is here is theirs."""


class Consumer:
    """One consumer of the stream. Use it as ``async with``.

    ``rater`` is asked before anything is entered, so that the prices are those of then.
    """

    def __init__(self, store: Store, redis_url: str, rater: Callable[[], Awaitable[Rater]]) -> None:
        self.store = store
        self.name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._meter = Meter("stream")
        self._rater = rater
        self._held: list[Entry] = []
        self._claim_at = self._look_at = self._remove_at = self._ledger_until = 0.0
        self._ledger: str | None = None
        self._cursor: str = "0-0"
        redis: Redis = Redis.from_url(
            redis_url,
            protocol=2,
            socket_timeout=BLOCK_MS / 1000 + ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Any = redis  # redis-py types the answers of scripts as text

    @property
    def state(self) -> IngestState:
        """How far it is."""
        return self._meter.state

    @property
    def durations(self) -> Histogram:
        """How long batches took until they were in the ledger."""
        return self._meter.durations

    async def __aenter__(self) -> Consumer:
        self._tasks = [
            asyncio.create_task(self._run(), name="usage consumer"),
            asyncio.create_task(self._hold(), name="usage holder"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            await end(task)
        with contextlib.suppress(RedisError, OSError):
            await self._leave()
        await self._redis.aclose()

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self.step()
            except Exception as error:
                # Neither Redis nor a database that is away may end it for good; what is held is tried again.
                self._meter.fails(error)
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                self._meter.works()

    async def step(self) -> bool:
        """Take what there is, waiting up to a second for some, and enter it; whether there was any."""
        await self._hold_ledger()
        if not self._held:
            self._held = await self._claimed() or await self._fresh()
        found = bool(self._held)
        if found:
            rater = await self._rater()
            while self._held:
                some = self._some()
                await self._enter(some, rater)
                await self._confirm(some)
                del self._held[: len(some)]
        await self._keep_house()
        return found

    async def _hold_ledger(self) -> None:
        """Of sidecars with databases of their own that share a Redis each would get a part of everybody's usage."""
        now = time.monotonic()
        if now < self._ledger_until:
            return
        if self._ledger is None:
            self._ledger = await identity(self.store)
        held = await self._redis.eval(HOLD_LEDGER, 1, LEDGER, self._ledger, HELD)
        if held.decode() != self._ledger:
            raise OtherLedger(f"the usage in this Redis goes to another database, for {HELD} s more at least")
        self._ledger_until = now + HELD / 10

    async def _fresh(self) -> list[Entry]:
        """Entries that nobody has taken before."""
        try:
            found = await self._redis.xreadgroup(GROUP, self.name, {STREAM: ">"}, count=ENTRIES, block=BLOCK_MS)
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            await self._make_group()
            return []
        return [_entry(id, fields) for id, fields in found[0][1]] if found else []

    async def _claimed(self) -> list[Entry]:
        """Entries of consumers that died, and those whose delivery to this one got lost."""
        now = time.monotonic()
        if now < self._claim_at:
            return []
        self._claim_at = now + CLAIM_MS / 2_000
        try:
            self._cursor, found, *_ = await self._redis.xautoclaim(
                STREAM, GROUP, self.name, CLAIM_MS, start_id=self._cursor, count=ENTRIES
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._make_group()
            return []
        if not found:
            return []
        self._claim_at = now
        pending = await self._redis.xpending_range(STREAM, GROUP, "-", "+", 100, consumername=self.name)
        times = {told["message_id"]: told["times_delivered"] for told in pending}
        present = {id: fields for id, fields in found if fields}
        if gone := times.keys() - present.keys():
            await self._forget(gone)
        self.state.claimed += len(present)
        return [_entry(id, fields, times.get(id, 1)) for id, fields in present.items()]

    async def _forget(self, ids: Iterable[bytes]) -> None:
        """Let go of entries that someone has removed from the stream; their nodes send them again."""
        for id in ids:
            if not await self._redis.xrange(STREAM, id, id):
                await self._redis.xack(STREAM, GROUP, id)

    async def _make_group(self) -> None:
        """Make the group anew, and join it: Redis is new, or has lost its memory. All that is there is read."""
        try:
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another sidecar was faster
                raise
        await self._redis.xgroup_createconsumer(STREAM, GROUP, self.name)

    def _some(self) -> list[Entry]:
        """As many as make a transaction; one that ends processes by itself."""
        lines = 0
        for at, entry in enumerate(self._held):
            if at and (lines >= LINES or entry.times > TIMES):
                return self._held[:at]
            if entry.times > TIMES:
                return [entry]
            lines += entry.piece.data.count(b"\n")
        return list(self._held)

    async def _enter(self, some: Sequence[Entry], rater: Rater) -> None:
        batches = [batch_of(entry.source, entry.piece) for entry in some]
        if some[0].times > TIMES:
            for line in batches[0].lines:
                await self._enter_alone(msgspec.structs.replace(batches[0], lines=[line]), rater)
        else:
            with self._meter.timing():
                async with self.store.large:
                    result = await enter(self.store, batches, rater)
            self._meter.count(some[0].source, result)

    async def _enter_alone(self, batch: Batch, rater: Rater) -> None:
        """Enter one line that may end the process. Who is at it stands in Redis until it is done."""
        (line,) = batch.lines
        name = f"{batch.source}:{line.position}"
        own = f"{name} {self.name}"
        await self._redis.hset(TRIED, own, 1)
        deaths = await self._deaths(name)
        if deaths >= DEATHS and line.fault is None:
            spoilt = msgspec.structs.replace(line, fault=f"{deaths} processes ended while they entered this line")
            batch = msgspec.structs.replace(batch, lines=[spoilt])
        try:
            self._meter.count(batch.source, await enter(self.store, [batch], rater))
        except BaseException:
            # It lives: the database is away, or it was told to stop.
            await self._redis.hdel(TRIED, own)
            raise
        await self._redis.hdel(TRIED, *await self._tried(name))

    async def _tried(self, name: str) -> list[str]:
        """Who has begun to enter a line and has not told that it was over, each behind the line's name."""
        fields = [field.decode() for field in await self._redis.hkeys(TRIED)]
        return [field for field in fields if field.partition(" ")[0] == name]

    async def _deaths(self, name: str) -> int:
        """How many consumers ended while they entered a line. One that lives may only have been cut off from Redis."""
        begun = {field.partition(" ")[2] for field in await self._tried(name)} - {"", self.name}
        if len(begun) < DEATHS:
            return len(begun)
        told = await self._redis.xinfo_consumers(STREAM, GROUP)
        return len(begun - {each["name"].decode() for each in told if each["idle"] < CLAIM_MS})

    async def _confirm(self, some: Sequence[Entry]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for entry in some:
            usage.entered(pipe, entry.id, entry.source, entry.piece)
        await pipe.execute()

    async def _hold(self) -> None:
        """Tell others that what is held is not to be taken over, however long the database takes."""
        while True:
            await asyncio.sleep(CLAIM_MS / 4_000)
            ids = [entry.id for entry in self._held]
            if ids:
                with contextlib.suppress(RedisError, OSError):
                    await self._redis.xclaim(STREAM, GROUP, self.name, 0, ids, justid=True)

    async def _keep_house(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK
            await look(self._redis, self.state)
            self._meter.tick()
        if now >= self._remove_at:
            self._remove_at = now + REMOVE_MS / 10_000
            await self._make_group()
            for told in await self._redis.xinfo_consumers(STREAM, GROUP):
                if told["idle"] >= REMOVE_MS and not told["pending"] and told["name"] != self.name.encode():
                    await self._redis.eval(REMOVE_IDLE, 1, STREAM, GROUP, told["name"], REMOVE_MS)

    async def _leave(self) -> None:
        """Let others have at once what was not entered, and be a consumer no more."""
        pending = await self._redis.xpending_range(STREAM, GROUP, "-", "+", 100, consumername=self.name)
        if ids := [told["message_id"] for told in pending]:
            await self._redis.xclaim(STREAM, GROUP, self.name, 0, ids, idle=CLAIM_MS, justid=True)
        else:
            await self._redis.eval(REMOVE_IDLE, 1, STREAM, GROUP, self.name, 0)


def _entry(id: bytes, fields: dict[bytes, bytes], times: int = 1) -> Entry:
    try:
        source, piece = usage.received(fields)
    except ValueError as error:
        # Not a gateway's: it goes aside, under a name of its own.
        return Entry(id.decode(), f"redis/{id.decode()}", Piece(0, 1, b" ".join(fields.values()), str(error)), times)
    return Entry(id.decode(), source, piece, times)
