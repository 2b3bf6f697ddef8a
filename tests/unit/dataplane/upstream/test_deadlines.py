"""Deadlines of a call: to connect, to the first byte, between bytes, in all."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.dataplane.upstream.errors import UpstreamError
from gateway.settings.model import Timeouts
from tests.support.calls import acquire, exchange, pool_of, start
from tests.support.raw_upstream import LAST_CHUNK, WAIT, Peer, Script, chunk, raw_upstream

SHORT = 0.2
EARLY = 0.01
"""The loop's clock is read once a turn and counts whole milliseconds, seconds."""
LATE = 4.0
"""How late a deadline may be noticed on a busy machine, seconds."""
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def one_chunk(peer: Peer) -> None:
    await peer.request()
    await peer.send(STREAM + chunk(b"a"))
    await peer.gone()


async def head_only(peer: Peer) -> None:
    """Headers at once, and then nothing: no token has come."""
    await peer.request()
    await peer.send(STREAM)
    await peer.gone()


async def drops(peer: Peer) -> None:
    """A byte in time, always, and never an end."""
    await peer.request()
    await peer.send(STREAM)
    while not peer.reader.at_eof():
        await peer.send(chunk(b"a"))
        await asyncio.sleep(SHORT / 4)


@pytest.mark.parametrize(
    ("script", "deadline", "reason"),
    [
        (silent, "first", "first_token_timeout"),
        (head_only, "first", "first_token_timeout"),
        (one_chunk, "stall", "stall_timeout"),
        (drops, "total", "total_timeout"),
        (silent, "total", "total_timeout"),
    ],
)
async def test_a_deadline_ends_the_call_and_closes_the_connection(script: Script, deadline: str, reason: str) -> None:
    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        before = time.monotonic()
        call = await exchange(pool, b"{}", **{deadline: SHORT})
        took = time.monotonic() - before
        assert call.reason == reason
        assert call.error is not None
        assert call.error.is_timeout
        assert SHORT - EARLY <= took < SHORT + LATE
        assert pool.open_connections == 0
        await upstream.peers[0].left.wait()


async def test_a_steady_answer_outlives_its_stall_deadline() -> None:
    async def steady(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for _ in range(10):
            await asyncio.sleep(SHORT / 4)
            await peer.send(chunk(b"a"))
        await peer.send(LAST_CHUNK)
        await peer.gone()

    async with raw_upstream(steady) as upstream, pool_of(upstream.base_url) as pool:
        call = await exchange(pool, first=5 * SHORT, stall=4 * SHORT)
        assert call.error is None
        assert call.body == b"a" * 10


async def test_a_streamed_request_body_keeps_the_first_token_deadline_away() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + request.body[-1:])
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        connection = await acquire(pool)
        call = start(connection, b"", first=2 * SHORT, length=8)
        for _ in range(8):
            await asyncio.sleep(SHORT / 2)
            connection.send_more(b"x", 2 * SHORT)
        await call.done()
        assert call.error is None
        assert call.body == b"x"


async def test_a_deadline_on_a_reused_connection_counts_from_its_own_request() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na")
        await peer.request()
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        await exchange(pool, first=SHORT, stall=SHORT, total=SHORT)
        await asyncio.sleep(2 * SHORT)
        before = time.monotonic()
        call = await exchange(pool, first=SHORT)
        assert time.monotonic() - before >= SHORT - 0.01  # the loop's clock has milliseconds
        assert call.reason == "first_token_timeout"
        assert len(upstream.peers) == 1


class Elsewhere:
    """An upstream that goes on while this thread stands still. ``begun`` is said at once, the rest when told to."""

    def __init__(self, listener: socket.socket, begun: bytes) -> None:
        self.listener = listener
        self.begun = begun
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.said = threading.Event()

    def serve(self) -> None:
        """Serve one request."""
        with self.listener.accept()[0] as peer:
            peer.settimeout(WAIT)
            assert peer.recv(65_536).endswith(b"{}")
            peer.sendall(self.begun)
            self.asked.set()
            self.go_on.wait(WAIT)
            peer.sendall((STREAM + chunk(b"a") + chunk(b"b") + LAST_CHUNK).removeprefix(self.begun))
            self.said.set()
            assert peer.recv(1) == b""


@contextmanager
def pausing(upstream: Elsewhere) -> Iterator[socket.socket]:
    """Stand still while the upstream says the rest, and beyond ``SHORT``, when the socket is written to: among the
    events of other sockets, whence the loop comes by its timers before it looks at sockets again.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()

    def pause() -> None:
        theirs.recv(1)
        upstream.go_on.set()
        upstream.said.wait(WAIT)
        time.sleep(2 * SHORT)

    with ours, theirs:
        loop.add_reader(theirs, pause)
        try:
            yield ours
        finally:
            loop.remove_reader(theirs)


@pytest.mark.parametrize(
    ("begun", "deadline"),
    [(b"", "first"), (STREAM, "first"), (STREAM + chunk(b"a"), "stall"), (STREAM + chunk(b"a"), "total")],
)
async def test_an_answer_that_came_in_time_counts_though_the_process_was_paused(begun: bytes, deadline: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Elsewhere(listener, begun)
        serving = threading.Thread(target=upstream.serve)
        serving.start()
        async with pool_of(f"http://127.0.0.1:{listener.getsockname()[1]}") as pool:
            deadlines: dict[str, Any] = {deadline: SHORT}
            call = start(await acquire(pool), **deadlines)
            assert await asyncio.to_thread(upstream.asked.wait, WAIT)
            if begun.endswith(chunk(b"a")):
                await asyncio.wait_for(call.grew.wait(), WAIT)
            with pausing(upstream) as pause:
                pause.send(b"!")
                await call.done()
            assert (call.reason, call.body) == ("", b"ab")
        await asyncio.to_thread(serving.join, WAIT)


@pytest.fixture
def full_listener() -> Iterator[int]:
    """A port whose backlog is full: the kernel answers no further connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        clients = []
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            clients.append(client)
        yield int(address[1])
        for client in clients:
            client.close()


async def test_connecting_has_a_deadline(full_listener: int) -> None:
    async with pool_of(f"http://127.0.0.1:{full_listener}", timeouts=Timeouts(connect=SHORT)) as pool:
        before = time.monotonic()
        with pytest.raises(UpstreamError) as caught:
            await acquire(pool)
        assert caught.value.reason == "connect_timeout"
        assert caught.value.is_timeout
        assert SHORT - EARLY <= time.monotonic() - before < SHORT + LATE


async def test_the_tls_handshake_is_part_of_connecting() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with raw_upstream(script) as upstream:
        url = f"https://127.0.0.1:{upstream.port}"
        async with pool_of(url, timeouts=Timeouts(connect=SHORT)) as pool:
            with pytest.raises(UpstreamError) as caught:
                await acquire(pool)
            assert caught.value.reason == "connect_timeout"
            await upstream.peers[0].left.wait()
