"""What is written in one turn of the event loop goes out together: whole, in order, and before anything closes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.writes import LARGE, MOST, Writes
from gateway.plugin.api import Plugin, PluginContext, Request
from tests.support.calls import Call, acquire, pool_of, start
from tests.support.raw_upstream import WAIT, Peer, answer, raw_upstream, serve_completions
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for


class _Socket:
    """A sender and its transport: what reached the kernel, in order."""

    def __init__(self, kernel: list[tuple[int, bytes]], number: int) -> None:
        self.transport: Any = self
        self.unsent = False
        self.closing = False
        self._kernel = kernel
        self._number = number

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        assert not self.closing
        self._kernel.append((self._number, data))


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 3), st.integers(1, 40)),
        st.tuples(st.just("write"), st.integers(0, 3), st.just(LARGE)),
        st.tuples(st.sampled_from(["flush", "turn"]), st.just(0), st.just(0)),
    ),
    max_size=120,
)


@given(_steps)
def test_everything_is_written_in_order_and_little_is_kept(steps: list[tuple[str, int, int]]) -> None:
    loop = asyncio.new_event_loop()
    writes = Writes(loop)
    kernel: list[tuple[int, bytes]] = []
    sockets = [_Socket(kernel, number) for number in range(4)]
    wanted: list[tuple[int, bytes]] = []
    try:
        for kind, number, size in steps:
            if kind == "write":
                data = b"%d" % len(wanted) * size
                wanted.append((number, data))
                writes.write(sockets[number], data)
                assert len(wanted) - len(kernel) < MOST
                assert len(data) < LARGE or not sockets[number].unsent
            elif kind == "flush":
                writes.flush()
                assert kernel == wanted
            else:
                loop.run_until_complete(asyncio.sleep(0))
                assert kernel == wanted
            kept = {number for number, _ in wanted[len(kernel) :]}
            assert [socket.unsent for socket in sockets] == [number in kept for number in range(4)]
        loop.run_until_complete(asyncio.sleep(0))
        assert kernel == wanted
    finally:
        loop.close()


async def test_what_is_for_a_closed_connection_is_dropped_and_the_rest_goes_out() -> None:
    kernel: list[tuple[int, bytes]] = []
    writes = Writes(asyncio.get_running_loop())
    first, second = _Socket(kernel, 1), _Socket(kernel, 2)
    writes.write(first, b"a")
    writes.write(second, b"b")
    first.closing = True
    writes.flush()
    assert kernel == [(2, b"b")]
    assert not first.unsent


async def test_a_write_that_fails_takes_no_other_with_it() -> None:
    class Broken(_Socket):
        aborted = False

        def write(self, data: bytes) -> None:
            raise RuntimeError("Cannot call write() after write_eof()")

        def abort(self) -> None:
            self.aborted = True

    kernel: list[tuple[int, bytes]] = []
    writes = Writes(asyncio.get_running_loop())
    broken, sound = Broken(kernel, 1), _Socket(kernel, 2)
    writes.write(broken, b"a")
    writes.write(sound, b"b")
    writes.flush()
    assert broken.aborted
    assert kernel == [(2, b"b")]


async def test_requests_of_one_turn_are_sent_at_its_end() -> None:
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url) as pool:
        connections = [await acquire(pool) for _ in range(MOST - 1)]
        calls = [start(connection, b"%d" % number) for number, connection in enumerate(connections)]
        assert all(connection.unsent for connection in connections)
        await asyncio.sleep(0)
        assert not any(connection.unsent for connection in connections)
        for call in calls:
            assert not (await call.done()).reason
        assert sorted(int(request.body) for request in upstream.requests) == list(range(MOST - 1))


async def test_a_turn_of_many_requests_sends_the_first_before_it_ends() -> None:
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url) as pool:
        connections = [await acquire(pool) for _ in range(MOST + 1)]
        calls = [start(connection) for connection in connections]
        assert [connection.unsent for connection in connections] == [False] * MOST + [True]
        for call in calls:
            assert not (await call.done()).reason


async def test_a_large_request_leaves_at_once() -> None:
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url) as pool:
        small, large = await acquire(pool), await acquire(pool)
        calls = [start(small), start(large, b"x" * LARGE)]
        assert not small.unsent
        assert not large.unsent
        for call in calls:
            assert not (await call.done()).reason


async def test_a_request_in_pieces_follows_what_is_unsent() -> None:
    """An upload may be answered before its end has left: the next request of its connection must not overtake that."""

    async def script(peer: Peer) -> None:
        for body in (b"first", b"second"):
            assert (await peer.request()).body == body
            await peer.send(answer(b"{}"))

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        connection = await acquire(pool)
        start(connection, b"fir", length=5)
        await asyncio.sleep(0)
        connection.send_more(b"st", WAIT)
        assert connection.unsent
        second, loop = Call(), asyncio.get_running_loop()
        head = b"POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 6\r\n\r\n"
        connection.send(second, [head, b"second"], WAIT, WAIT, loop.time() + WAIT)
        await upstream.until(lambda: len(upstream.requests) == 2)
        assert [request.body for request in upstream.requests] == [b"first", b"second"]
        connection.abort()


async def test_answers_that_are_followed_by_a_close_arrive_before_it(tmp_path: Path) -> None:
    """Refusals are answered within the turn that brought them, and the last one closes the connection."""
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        refused = post("/v1/chat/completions", chat(messages="none"))
        last = refused.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        await client.send(refused * 5 + last)
        for _ in range(6):
            assert (await client.answer()).status == 400
        async with asyncio.timeout(WAIT):
            assert await client.reader.read() == b""


async def test_what_is_no_http_is_answered_behind_the_answers_before_it(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(messages="none")) + b"\x00 nothing\r\n\r\n")
        assert (await client.answer()).json["error"]["param"] == "messages"
        assert (await client.answer()).code == "invalid_http_request"
        async with asyncio.timeout(WAIT):
            assert await client.reader.read() == b""


class Looks(Plugin):
    """Notes of each request whether its connection has something unsent when the plugins see it."""

    name = "looks"

    def __init__(self, params: None, context: PluginContext) -> None:
        self.seen: list[bool] = []

    def on_request(self, request: Request) -> None:
        exchange: Any = request
        self.seen.append(exchange.wire.unsent)


@pytest.mark.parametrize(("size", "kept"), [(100, True), (LARGE, False)])
async def test_ready_answers_do_not_wait_for_what_a_large_body_takes(tmp_path: Path, size: int, kept: bool) -> None:
    looks = Looks(None, PluginContext(data_dir=".", redis_url=None))
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path, plugins=[(looks, "closed")]) as gateway,
        wire(gateway.address) as client,
    ):
        refused = post("/v1/chat/completions", chat(), key="nobody")
        await client.send(refused + post("/v1/chat/completions", chat(user="x" * size)))
        assert [(await client.answer()).status for _ in range(2)] == [401, 200]
    assert looks.seen == [kept]
