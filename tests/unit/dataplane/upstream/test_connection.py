"""One connection: answers as they should be and as they should not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.dataplane.upstream.connection import MAX_HEAD_BYTES
from tests.support.calls import LONG, Call, acquire, exchange, pool_of, start
from tests.support.raw_upstream import LAST_CHUNK, Peer, answer, chunk, raw_upstream, serve_completions

OK = answer(b'{"ok":1}')
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def one(*pieces: bytes, close: bool = True, stay: bool = False) -> Call:
    """The call that got these bytes for an answer; the upstream then closes, or stays silent."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.send(piece)
        if stay:
            await peer.gone()
        elif close:
            peer.close()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        return await exchange(pool)


async def test_a_connection_is_reused_for_the_next_request() -> None:
    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url) as pool:
        for _ in range(5):
            call = await exchange(pool)
            assert call.status == 200
        assert len(upstream.peers) == 1
        assert pool.open_connections == 1
        assert upstream.peers[0].served == 5


async def test_a_connection_that_was_not_read_when_its_answer_ended_is_read_for_the_next() -> None:
    class Slow(Call):
        def on_data(self, data: bytes) -> None:
            super().on_data(data)
            connection.hold(True, asyncio.get_running_loop().time() + LONG)

    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url) as pool:
        connection = await acquire(pool)
        assert (await start(connection, handler=Slow()).done()).status == 200
        assert await acquire(pool) is connection
        assert (await start(connection).done()).status == 200


async def test_a_unix_socket_is_an_upstream_too(tmp_path: Path) -> None:
    async with raw_upstream(serve_completions, path=tmp_path / "s") as upstream, pool_of(upstream.base_url) as pool:
        call = await exchange(pool)
        assert call.status == 200
        assert (await exchange(pool)).body == call.body
        assert len(upstream.peers) == 1


async def test_a_missing_unix_socket_is_a_refused_connection(tmp_path: Path) -> None:
    async with pool_of(f"unix:{tmp_path}/none") as pool:
        with pytest.raises(Exception, match="takes no connection") as caught:
            await acquire(pool)
        assert caught.value.reason == "connect"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ],
)
async def test_an_answer_that_ends_its_connection_is_whole_and_the_connection_not_kept(head: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        call = await exchange(pool)
        assert call.body == b"hi"
        assert pool.open_connections == 0
        await exchange(pool)
        assert len(upstream.peers) == 2


async def test_a_body_without_length_ends_with_the_connection() -> None:
    call = await one(b"HTTP/1.1 200 OK\r\n\r\n", b"first ", b"second")
    assert call.error is None
    assert call.body == b"first second"
    assert call.ends == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_bodiless_status_needs_no_length(status: bytes) -> None:
    call = await one(b"HTTP/1.1 " + status + b"\r\n\r\n", stay=True)
    assert call.error is None
    assert call.body == b""


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        CHUNKED + chunk(b"half"),
        CHUNKED + b"10\r\nhalf",
        CHUNKED + chunk(b"all") + b"0\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 204 No",
    ],
)
async def test_an_answer_that_is_cut_fails(cut: bytes) -> None:
    call = await one(cut)
    assert call.reason == "reset"
    assert call.ends == 0
    assert call.error is not None
    assert "mid-answer" in call.error.message


async def test_no_answer_at_all_fails() -> None:
    call = await one()
    assert call.reason == "reset"
    assert call.error is not None
    assert "without an answer" in call.error.message


@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 twenty OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        CHUNKED + b"zz\r\nhi\r\n",
        CHUNKED + b"2\r\nhi!!\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_a_malformed_answer_fails_and_closes(bad: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(bad)
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        call = await exchange(pool)
        assert call.reason == "protocol"
        assert pool.open_connections == 0
        await upstream.peers[0].left.wait()


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    call = await one(*interim, OK, stay=True)
    assert call.status == 200
    assert call.heads == 1
    assert b"link" not in dict(call.headers)
    assert call.body == b'{"ok":1}'


async def test_endless_interim_answers_are_given_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        while True:
            await peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 50)

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        assert (await exchange(pool)).reason == "too_large"


async def test_a_head_that_never_ends_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nx-long: ")
        while True:
            await peer.send(b"a" * 4096)

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        assert (await exchange(pool)).reason == "too_large"


async def test_a_large_head_is_refused_however_it_arrives() -> None:
    lines = b"".join(b"x-%d: %b\r\n" % (number, b"v" * 1000) for number in range(MAX_HEAD_BYTES // 1000 + 1))
    call = await one(b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: 2\r\n\r\nhi", stay=True)
    assert call.reason == "too_large"


async def test_a_head_within_the_limit_is_taken_with_a_large_body() -> None:
    lines = b"".join(b"x-%d: %b\r\n" % (number, b"v" * 1000) for number in range(60))
    body = b"b" * 500_000
    call = await one(b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: %d\r\n\r\n" % len(body) + body, stay=True)
    assert call.error is None
    assert call.body == body
    assert len(call.headers) == 61


async def test_trailers_do_not_become_headers_of_the_next_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one") + b"0\r\nretry-after: 99\r\nx-trailer: 1\r\n\r\n")
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        first = await exchange(pool)
        assert first.body == b"one"
        second = await exchange(pool)
        assert len(upstream.peers) == 1
        assert [name for name, _ in second.headers] == [b"content-type", b"content-length"]


@pytest.mark.parametrize("line", [b"x-trailer: 1\r\n", b"a"], ids=["lines", "one line"])
async def test_endless_trailers_are_given_up(line: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one") + b"0\r\nx-first: ")
        while True:
            await peer.send(line * 1000)

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        assert (await exchange(pool)).reason == "too_large"


EXTRA: Sequence[bytes] = (b"garbage", b"\r\n\r\nHTTP", answer(b'{"other":1}', b"x-other: 1"), b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("whole", [OK, CHUNKED + chunk(b'{"ok":1}') + LAST_CHUNK], ids=["length", "chunked"])
async def test_bytes_after_an_answer_cost_the_connection_and_not_the_answer(whole: bytes, extra: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole + extra)
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        call = await exchange(pool)
        assert (call.status, call.heads, call.ends) == (200, 1, 1)
        assert call.body == b'{"ok":1}'
        assert b"x-other" not in dict(call.headers)
        await upstream.peers[0].left.wait()
        again = await exchange(pool)
        assert again.body == b'{"ok":1}'
        assert len(upstream.peers) == 2


async def test_what_an_idle_connection_says_is_no_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 0:
            await peer.send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        await exchange(pool)
        await upstream.peers[0].left.wait()
        call = await exchange(pool)
        assert call.status == 200
        assert len(upstream.peers) == 2


async def test_an_exchange_given_up_in_mid_answer_hears_nothing_more() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one"))
        await peer.gone()

    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        connection = await acquire(pool)
        call = start(connection)
        await call.grew.wait()
        connection.abort()
        await upstream.peers[0].left.wait()
        assert not call.ended.is_set()
        assert pool.open_connections == 0


async def test_a_connection_given_up_at_its_head_is_not_handed_to_the_next() -> None:
    """The whole answer arrives in one read, and the handler gives up at the head: what follows must be ignored."""

    class GivesUp(Call):
        def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
            super().on_head(status, headers)
            connection.abort()
            self.ended.set()

    async with raw_upstream(serve_completions) as upstream, pool_of(upstream.base_url) as pool:
        connection = await acquire(pool)
        call = await start(connection, handler=GivesUp()).done()
        assert call.body == b""
        assert call.ends == 0
        assert pool.take_idle() is None
        assert pool.open_connections == 0
        assert (await exchange(pool)).status == 200


async def test_a_request_body_the_upstream_does_not_read_is_told_to_the_handler() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        await may_read.wait()
        async for _ in peer.body(request):
            pass
        await peer.send(OK)
        await peer.gone()

    may_read = asyncio.Event()
    async with raw_upstream(script) as upstream, pool_of(upstream.base_url) as pool:
        connection = await acquire(pool)
        call = start(connection, b"x" * 20_000_000)
        assert call.writable == [False]
        assert not connection.writable
        may_read.set()
        await call.done()
        assert call.writable == [False, True]
        assert call.status == 200
