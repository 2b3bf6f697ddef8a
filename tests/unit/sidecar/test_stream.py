"""Several sidecars read the stream of a real Redis into the ledger, whatever dies or is lost meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import select

from gateway.bus import usage
from gateway.bus.usage import GROUP, LEDGER, NODES, STREAM, TRIED, Behind, Piece, node_key
from gateway.domain.ledger.ingest import Batch, Ingested
from gateway.domain.ledger.model import LedgerEntry, PoisonEntry
from gateway.domain.ledger.pieces import enter
from gateway.domain.ledger.rating import NoPrices, Rater
from gateway.kernel.errors import GatewayError, Kind
from gateway.sidecar import stream as module
from gateway.sidecar.stream import Consumer, OtherLedger
from gateway.sidecar.stream_state import look
from gateway.store.engine import Store
from tests.support.postgres import make_tables
from tests.support.redis_server import RedisServer, running_redis
from tests.unit.bus.usage_pieces import line

NODE, FILE = "node_1", "usage-0-00000001.jsonl"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
async def redis(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A client of an empty Redis; everybody looks often."""
    monkeypatch.setattr(module, "BLOCK_MS", 10)
    monkeypatch.setattr(module, "LOOK", 0.0)
    monkeypatch.setattr(module, "CLAIM_MS", 50)
    async with Redis.from_url(server.url, protocol=2) as client:
        await client.flushall()
        yield client


async def no_prices() -> NoPrices:
    return NoPrices()


class Sender:
    """A node's end of the stream: each piece is some lines of one file."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.at = 0

    async def send(self, *lines: bytes, fault: str | None = None) -> Piece:
        data = b"".join(lines)
        piece = Piece(self.at, self.at + len(data), data, fault)
        self.at = piece.end
        await self.again(piece)
        return piece

    async def again(self, piece: Piece) -> None:
        pipe = self.redis.pipeline(transaction=False)
        usage.send(pipe, NODE, FILE, piece)
        await pipe.execute()

    async def confirmed(self) -> list[tuple[int, int]]:
        told = await self.redis.hgetall(node_key(NODE))
        return [(each.begin, each.end) for each in usage.flights(told) if each.entry is None]


@pytest.fixture
def sender(redis: Any) -> Sender:
    return Sender(redis)


def consumer_of(store: Store, server: RedisServer, rater: Callable[[], Any] = no_prices) -> Consumer:
    return Consumer(store, server.url, rater)


@asynccontextmanager
async def stepping(store: Store, server: RedisServer) -> AsyncIterator[Consumer]:
    """A consumer that does nothing by itself."""
    consumer = consumer_of(store, server)
    await consumer.step()  # makes the group
    yield consumer
    await consumer._redis.aclose()


async def ids(store: Store) -> list[str]:
    async with store.reading() as session:
        return list(await session.scalars(select(LedgerEntry.id).order_by(LedgerEntry.id)))


async def reasons(store: Store) -> list[str]:
    async with store.reading() as session:
        return list(await session.scalars(select(PoisonEntry.reason).order_by(PoisonEntry.number)))


async def until(there: Callable[[], Any]) -> None:
    """Until it is true, or an answer of Redis is."""
    async with asyncio.timeout(30):
        while True:
            told = there()
            if await told if isinstance(told, Awaitable) else told:
                return
            await asyncio.sleep(0.005)


async def until_empty(redis: Any) -> None:
    async def is_empty() -> bool:
        return not await redis.xlen(STREAM)

    await until(is_empty)


async def test_a_piece_is_entered_confirmed_and_dropped(
    store: Store, server: RedisServer, redis: Any, sender: Sender
) -> None:
    async with stepping(store, server) as consumer:
        first = await sender.send(line(1), b"\n", line(2))
        second = await sender.send(line(3))
        assert await consumer.step()
        assert await ids(store) == ["req_1", "req_2", "req_3"]
        assert await sender.confirmed() == [(first.begin, first.end), (second.begin, second.end)]
        assert await redis.xlen(STREAM) == 0
        assert (await redis.xpending(STREAM, GROUP))["pending"] == 0
        assert await consumer.step() is False
        assert (consumer.state.entries, consumer.state.source) == (3, "stream")


async def test_what_comes_again_is_known(store: Store, server: RedisServer, sender: Sender) -> None:
    async with stepping(store, server) as consumer:
        piece = await sender.send(line(1), line(2))
        await consumer.step()
        await sender.again(piece)
        await consumer.step()
        assert (consumer.state.entries, consumer.state.known) == (2, 2)


async def test_lines_that_cannot_be_entered_are_set_aside(
    store: Store, server: RedisServer, redis: Any, sender: Sender
) -> None:
    async with stepping(store, server) as consumer:
        await sender.send(line(1), b"no event\n", line(2, status=2**70), line(3))
        await sender.send(b"{", fault="the file ends within the line")
        await redis.xadd(STREAM, {"x": "of somebody else"})
        while await consumer.step():
            pass
        assert await ids(store) == ["req_1", "req_3"]
        found = await reasons(store)
        assert len(found) == 4
        assert "the file ends within the line" in found
        assert "the entry has no field s" in found
        assert await redis.xlen(STREAM) == 0


async def test_several_share_the_work(store: Store, server: RedisServer, redis: Any, sender: Sender) -> None:
    for number in range(40):
        await sender.send(line(number))
    async with consumer_of(store, server) as first, consumer_of(store, server) as second:
        await until_empty(redis)
        await until(lambda: first.state.consumers == second.state.consumers == 2)
    assert len(await ids(store)) == 40
    assert first.state.entries + second.state.entries == 40
    assert await redis.xinfo_consumers(STREAM, GROUP) == []
    assert len(await sender.confirmed()) == 40


async def test_what_a_consumer_held_that_died_is_taken_over(
    store: Store, server: RedisServer, redis: Any, sender: Sender
) -> None:
    async with stepping(store, server):
        await sender.send(line(1))
        await sender.send(line(2))
        await redis.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=5)
    async with consumer_of(store, server) as consumer:
        await until_empty(redis)
        await until(lambda: consumer.state.claimed == 2)
    assert await ids(store) == ["req_1", "req_2"]


async def test_what_was_held_at_the_end_is_anyones_at_once(
    store: Store, server: RedisServer, redis: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = asyncio.Event()

    async def wait_for_ever(*_: object) -> Ingested:
        stuck.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(module, "CLAIM_MS", 60_000)
    monkeypatch.setattr(module, "enter", wait_for_ever)
    async with stepping(store, server):
        await sender.send(line(1))
    async with consumer_of(store, server), asyncio.timeout(40):
        await stuck.wait()
    monkeypatch.setattr(module, "enter", enter)
    async with consumer_of(store, server):
        await until_empty(redis)
    assert await ids(store) == ["req_1"]


async def test_who_waits_for_the_database_keeps_what_it_holds(
    store: Store, server: RedisServer, redis: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = asyncio.Event()
    failures = 0

    async def fail(store: Store, batches: Sequence[Batch], rater: Rater) -> Ingested:
        nonlocal failures
        if not away.is_set():
            failures += 1
            raise GatewayError(Kind.UNAVAILABLE, "database_unavailable", "away")
        return await enter(store, batches, rater)

    monkeypatch.setattr(module, "enter", fail)
    await sender.send(line(1))
    async with consumer_of(store, server) as holder:
        await until(lambda: failures >= 3)
        assert holder.state.failing
        ((entry, _),) = await redis.xrange(STREAM)
        await redis.xclaim(STREAM, GROUP, holder.name, 0, [entry], idle=3_600_000, justid=True)

        async def is_claimed_anew() -> bool:
            (told,) = await redis.xpending_range(STREAM, GROUP, "-", "+", 5)
            assert (told["consumer"], told["times_delivered"]) == (holder.name.encode(), 1)
            return bool(told["time_since_delivered"] < 3_600_000)

        await until(is_claimed_anew)
        away.set()
        await until_empty(redis)
        await until(lambda: not holder.state.failing)
    assert await ids(store) == ["req_1"]


@pytest.mark.parametrize("lost", ["all", "group", "stream"])
async def test_it_goes_on_when_redis_has_lost_its_memory(
    store: Store, server: RedisServer, redis: Any, sender: Sender, lost: str
) -> None:
    async with consumer_of(store, server):
        piece = await sender.send(line(1))
        await until_empty(redis)
        if lost == "all":
            await redis.flushall()
        elif lost == "group":
            await redis.xgroup_destroy(STREAM, GROUP)
        else:
            await redis.delete(STREAM)
        await sender.again(piece)
        await sender.send(line(2))
        await until_empty(redis)
    assert await ids(store) == ["req_1", "req_2"]


async def test_redis_may_be_away(store: Store, sender: Sender, redis: Any) -> None:
    with running_redis() as own:
        async with consumer_of(store, own) as consumer:
            own.stop()
            await until(lambda: consumer.state.failing)
            own.start()
            async with Redis.from_url(own.url, protocol=2) as client:
                await Sender(client).send(line(1))
                await until_empty(client)
    assert await ids(store) == ["req_1"]


async def test_a_line_that_ends_processes_is_set_aside(
    store: Store, server: RedisServer, redis: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that enters it is gone each time: nothing of what would come after is done."""

    class Died(BaseException):
        pass

    async def deadly(store: Store, batches: Sequence[Batch], rater: Rater) -> Ingested:
        if any(b"req_2" in each.text and each.fault is None for batch in batches for each in batch.lines):
            raise Died
        return await enter(store, batches, rater)

    monkeypatch.setattr(module, "enter", deadly)
    await sender.send(line(1), line(2), line(3))
    deaths = 0
    async with asyncio.timeout(60):
        while await redis.xlen(STREAM):
            async with stepping_dead(store, server, Died) as consumer:
                while await redis.xlen(STREAM):
                    try:
                        await consumer.step()
                    except Died:
                        deaths += 1
                        break
    assert deaths == module.TIMES + module.DEATHS
    assert await ids(store) == ["req_1", "req_3"]
    assert await reasons(store) == ["2 processes ended while they entered this line"]
    assert await redis.hgetall(TRIED) == {}


@asynccontextmanager
async def stepping_dead(store: Store, server: RedisServer, died: type[BaseException]) -> AsyncIterator[Consumer]:
    """A consumer whose process can end: then it tells Redis nothing any more."""
    consumer = consumer_of(store, server)
    forget = consumer._redis.hdel

    async def unless_dead(name: str, *keys: str) -> int:
        return 0 if isinstance(sys.exception(), died) else int(await forget(name, *keys))

    consumer._redis.hdel = unless_dead
    yield consumer
    await consumer._redis.aclose()


async def test_a_line_is_not_set_aside_for_a_redis_that_was_away(
    store: Store, server: RedisServer, redis: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was entered can't be told as such, again and again, by several sidecars that live."""
    monkeypatch.setattr(module, "TIMES", 0)
    monkeypatch.setattr(module, "CLAIM_MS", 60_000)  # whoever was heard of in this test lives

    async def lost(*_: object) -> int:
        raise RedisConnectionError("away")

    async with AsyncExitStack() as stack:
        consumers = [await stack.enter_async_context(stepping(store, server)) for _ in range(module.DEATHS + 1)]
        await sender.send(line(1))
        ((id, fields),) = await redis.xrange(STREAM)
        for consumer in consumers:
            await redis.xclaim(STREAM, GROUP, consumer.name, 0, [id], force=True)
            consumer._held = [module._entry(id, fields)]
            with monkeypatch.context() as away:
                away.setattr(consumer._redis, "hdel", lost)
                for _ in range(module.DEATHS + 1):
                    with pytest.raises(RedisConnectionError):
                        await consumer.step()
        await consumers[-1].step()
    assert await ids(store) == ["req_1"]
    assert await reasons(store) == []
    assert await redis.hgetall(TRIED) == {}


async def test_a_database_that_is_away_ends_no_process(
    store: Store, server: RedisServer, redis: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> Ingested:
        raise GatewayError(Kind.UNAVAILABLE, "database_unavailable", "away")

    monkeypatch.setattr(module, "enter", away)
    monkeypatch.setattr(module, "TIMES", 0)
    async with stepping(store, server) as consumer:
        await sender.send(line(1))
        for _ in range(5):
            with pytest.raises(GatewayError):
                await consumer.step()
        assert await redis.hgetall(TRIED) == {}
        monkeypatch.setattr(module, "enter", enter)
        await consumer.step()
    assert await ids(store) == ["req_1"]
    assert await redis.hgetall(TRIED) == {}


async def test_entries_that_someone_removed_are_let_go(
    store: Store, server: RedisServer, redis: Any, sender: Sender
) -> None:
    async with stepping(store, server):
        await sender.send(line(1))
        ((_, entries),) = await redis.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=5)
        await redis.xdel(STREAM, entries[0][0])

    async def nothing_pends() -> bool:
        return not (await redis.xpending(STREAM, GROUP))["pending"]

    async with consumer_of(store, server):
        await until(nothing_pends)


async def test_consumers_that_are_no_more_are_removed(
    store: Store, server: RedisServer, redis: Any, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMOVE_MS", 20)
    monkeypatch.setattr(module, "CLAIM_MS", 60_000)
    async with stepping(store, server):
        await sender.send(line(1))
        await redis.xreadgroup(GROUP, "holds", {STREAM: ">"}, count=5)
        await redis.xgroup_createconsumer(STREAM, GROUP, "idle")

    async with consumer_of(store, server) as consumer:

        async def only_idle_ones_went() -> bool:
            names = {told["name"] for told in await redis.xinfo_consumers(STREAM, GROUP)}
            assert b"holds" in names
            return names == {b"holds", consumer.name.encode()}

        await until(only_idle_ones_went)


async def test_how_far_it_is(store: Store, server: RedisServer, redis: Any, sender: Sender) -> None:
    async with stepping(store, server) as consumer:
        for number in range(3):
            await sender.send(line(number))
        await redis.xreadgroup(GROUP, "other", {STREAM: ">"}, count=1)
        now = 1_000 * int((await redis.time())[0])
        await redis.hset(NODES, "node_1", usage.told(Behind(50, 20, now - 60_000, now)))
        await redis.hset(NODES, "node_2", usage.told(Behind(0, 7, None, now)))
        await redis.hset(NODES, "node_3", usage.told(Behind(9, 9, 0, 0)))  # long gone
        await redis.hset(NODES, "node_4", "nothing of ours")
        state = consumer.state
        await look(consumer._redis, state)
        assert (state.stream_length, state.stream_pending, state.stream_lag) == (3, 1, 2)
        assert (state.consumers, state.nodes, state.lag_bytes) == (2, 2, 77)
        assert 0 <= state.stream_age < 50
        assert 59 < state.age < 120
        assert not await redis.hexists(NODES, "node_3")


async def test_there_is_nothing_to_tell_before_there_is_a_stream(store: Store, server: RedisServer, redis: Any) -> None:
    consumer = consumer_of(store, server)
    await look(consumer._redis, consumer.state)
    assert (consumer.state.stream_length, consumer.state.consumers) == (0, 0)
    with contextlib.suppress(Exception):
        await consumer._leave()
    await consumer._redis.aclose()


async def test_two_databases_do_not_share_a_redis(
    store: Store, server: RedisServer, redis: Any, sender: Sender, tmp_path: Path
) -> None:
    await make_tables(f"sqlite:///{tmp_path}/other.db")
    other = Store.open(f"sqlite:///{tmp_path}/other.db", "")
    async with stepping(store, server) as consumer:
        await sender.send(line(1))
        strange = consumer_of(other, server)
        with pytest.raises(OtherLedger):
            await strange.step()
        assert await consumer.step()
        await redis.delete(LEDGER)  # as when no sidecar of it has run for a while
        await sender.send(line(2))
        assert await strange.step()
        assert (strange.state.entries, consumer.state.entries) == (1, 1)
        await strange._redis.aclose()
    await other.close()
