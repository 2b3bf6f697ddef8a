"""The pool: who gets a connection, when, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from gateway.dataplane.upstream import pool as pools
from gateway.dataplane.upstream.connection import Connection
from gateway.dataplane.upstream.errors import UpstreamError
from gateway.dataplane.upstream.pool import Pool
from gateway.settings.model import Connections
from tests.support.calls import Call, acquire, exchange, pool_of, start
from tests.support.raw_upstream import WAIT, Peer, answer, completion, raw_upstream, serve_completions

OK = answer(completion())


async def queued(pool: Pool, count: int) -> None:
    """Until so many wait for a connection."""
    async with asyncio.timeout(WAIT):
        while pool.waiting != count:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def reason_of(waiting: Awaitable[Connection]) -> str:
    with pytest.raises(UpstreamError) as caught:
        await waiting
    return caught.value.reason


async def test_no_more_connections_than_allowed_and_turns_in_order() -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await go.acquire()
            await peer.send(answer(request.body))

    async def one(number: int) -> None:
        await exchange(pool, b"%d" % number)
        finished.append(number)

    go, finished = asyncio.Semaphore(0), list[int]()
    limits = Connections(max=2, queue=10)
    async with raw_upstream(script) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        tasks = [asyncio.create_task(one(0)), asyncio.create_task(one(1))]
        await upstream.until(lambda: len(upstream.requests) == 2)
        for number in range(2, 8):
            tasks.append(asyncio.create_task(one(number)))
            await queued(pool, number - 1)
        assert pool.open_connections == 2
        for served in range(3, 9):
            go.release()
            await upstream.until(lambda served=served: len(upstream.requests) == served)  # type: ignore[misc]
        assert [request.body for request in upstream.requests[2:]] == [b"2", b"3", b"4", b"5", b"6", b"7"]
        go.release()
        go.release()
        await asyncio.gather(*tasks)
        assert sorted(finished) == list(range(8))
        assert len(upstream.peers) == 2


async def test_a_full_queue_refuses_at_once() -> None:
    limits = Connections(max=1, queue=1)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held = await acquire(pool)
        waiting = asyncio.create_task(acquire(pool))
        await queued(pool, 1)
        assert await reason_of(acquire(pool)) == "queue_full"
        start(held)
        assert await waiting is held
        held.abort()


async def test_waiting_ends_at_the_deadline() -> None:
    limits = Connections(max=1, queue=5)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held = await acquire(pool)
        assert await reason_of(acquire(pool, within=0.05)) == "queue_timeout"
        later = asyncio.create_task(acquire(pool))
        await queued(pool, 1)
        start(held)
        assert await later is held
        held.abort()


async def test_who_stops_waiting_leaves_the_turn_to_the_next() -> None:
    limits = Connections(max=1, queue=5)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held = await acquire(pool)
        first, second = asyncio.create_task(acquire(pool)), asyncio.create_task(acquire(pool))
        await queued(pool, 2)
        first.cancel()
        start(held)
        assert await second is held
        held.abort()


async def test_who_gave_up_waiting_holds_no_place_in_the_queue() -> None:
    limits = Connections(max=1, queue=1)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held = await acquire(pool)
        for _ in range(3):
            assert await reason_of(acquire(pool, within=0.02)) == "queue_timeout"
            waiting = asyncio.create_task(acquire(pool))
            await queued(pool, 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert pool.waiting == 0
        held.abort()


async def test_who_leaves_just_when_a_turn_comes_passes_it_on() -> None:
    limits = Connections(max=1, queue=5)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held = await acquire(pool)
        first, second = asyncio.create_task(acquire(pool)), asyncio.create_task(acquire(pool))
        await queued(pool, 2)
        pool.release(held)  # the first has it now, and has not run yet
        first.cancel()
        assert await second is held
        held.abort()


async def test_who_leaves_when_the_connection_given_has_died_frees_nothing_twice() -> None:
    limits = Connections(max=2, queue=5)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held, other = await acquire(pool), await acquire(pool)
        waiting = asyncio.create_task(acquire(pool))
        await queued(pool, 1)
        pool.release(held)
        held.abort()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert pool.open_connections == 1
        other.abort()
        assert pool.open_connections == 0


async def test_a_connection_that_dies_on_its_way_to_a_waiter_is_replaced() -> None:
    limits = Connections(max=1, queue=5)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held = await acquire(pool)
        waiting = asyncio.create_task(acquire(pool))
        await queued(pool, 1)
        pool.release(held)
        held.abort()
        given = await waiting
        assert given.alive
        assert (await start(given).done()).status == 200
        assert pool.open_connections == 1


async def test_a_connection_given_up_in_mid_read_is_not_handed_to_a_waiter() -> None:
    """The whole answer comes in one read and the handler gives up at its head."""

    class GivesUp(Call):
        def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
            held.abort()
            self.ended.set()

    limits = Connections(max=1, queue=5)
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        held = await acquire(pool)
        waiting = asyncio.create_task(acquire(pool))
        await queued(pool, 1)
        start(held, handler=GivesUp())
        given = await waiting
        assert given is not held
        assert (await start(given).done()).status == 200


async def test_a_failed_dial_gives_its_slot_to_the_next() -> None:
    limits = Connections(max=1, queue=5)
    async with raw_upstream(serve_completions) as upstream:
        url = upstream.base_url
    async with pool_of(url, limits=limits) as pool:
        tries = await asyncio.gather(*(acquire(pool) for _ in range(5)), return_exceptions=True)
        assert [getattr(error, "reason", None) for error in tries] == ["connect"] * 5
        assert pool.open_connections == 0


async def test_a_cancelled_dial_gives_its_slot_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = asyncio.Event()

    async def never(*_: object) -> Connection:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(pools, "dial", never)
    async with pool_of("http://127.0.0.1:9", limits=Connections(max=1)) as pool:
        dialing = asyncio.create_task(acquire(pool))
        await reached.wait()
        assert pool.open_connections == 1
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing
        assert pool.open_connections == 0


async def test_no_more_idle_connections_than_wished_are_kept() -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        pool_of(upstream.base_url, limits=Connections(keep=2)) as pool,
    ):
        connections = [await acquire(pool) for _ in range(5)]
        await asyncio.gather(*(start(connection).done() for connection in connections))
        assert pool.open_connections == 2


async def test_the_connection_used_last_is_used_next() -> None:
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url) as pool:
        first, second = await acquire(pool), await acquire(pool)
        await start(second).done()
        await start(first).done()
        assert pool.take_idle() is first
        assert pool.take_idle() is second
        assert pool.take_idle() is None
        first.abort()
        second.abort()


async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_IDLE_SWEEP", 0.02)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    limits = Connections(idle=0.05)
    async with raw_upstream(script) as upstream, pool_of(upstream.base_url, limits=limits) as pool:
        await exchange(pool)
        await asyncio.wait_for(upstream.peers[0].left.wait(), WAIT)
        assert pool.open_connections == 0


async def test_a_connection_closed_by_the_peer_while_idle_is_not_used() -> None:
    """The end has arrived in the kernel and the loop has not seen it: only a look at the socket tells."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        peer.close()
        if peer.number == 0:
            closed.set()

    closed = asyncio.Event()
    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        connection = await acquire(pool)
        await start(connection).done()
        connection.idle_since -= pools._PEEK_AFTER + 1
        connection.transport.pause_reading()  # so that the loop can't see it before the look does
        await closed.wait()
        call = await exchange(pool)
        assert call.status == 200
        assert len(upstream.peers) == 2
        assert len(upstream.requests) == 2


async def test_a_closed_pool_keeps_nothing_and_lets_the_running_finish() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK[:-5])
        await go.wait()
        await peer.send(OK[-5:])
        await peer.gone()

    go = asyncio.Event()
    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        call = start(await acquire(pool))
        await call.grew.wait()
        pool.close()
        go.set()
        await call.done()
        assert call.error is None
        assert pool.open_connections == 0
        await upstream.peers[0].left.wait()
