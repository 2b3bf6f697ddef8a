"""Bodies of forwarded requests and of their answers: streamed, bounded, and read as fast as they are taken."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.dataplane import forwarded
from tests.support.forwarding import GET, GONE, echo, front, head, settled
from tests.support.raw_upstream import LAST_CHUNK, STREAM_HEAD, WAIT, Peer, answer, chunk
from tests.support.wire import post

MEGABYTE = bytes(range(256)) * 4096


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_upload_and_a_large_answer(tmp_path: Path, chunked: bool) -> None:
    body = MEGABYTE * 8
    async with front(tmp_path, echo) as (sidecar, _, client):
        if chunked:
            pieces = [chunk(body[at : at + 300_000]) for at in range(0, len(body), 300_000)]
            request = head("/api/v1/usage/batch", b"transfer-encoding: chunked") + b"".join(pieces) + LAST_CHUNK
        else:
            request = post("/api/v1/usage/batch", body)
        sending = asyncio.create_task(client.send(request))
        got = await client.answer()
        await sending
        assert got.complete
        assert got.body == body
        await client.send(post("/plans", b"next"))
        assert (await client.answer()).body == b"next"
    assert len(sidecar.peers) == 1


async def test_an_upload_is_passed_on_while_it_comes(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        async for piece in peer.body(request):
            came.put_nowait(piece)
        await peer.send(GONE)

    came: asyncio.Queue[bytes] = asyncio.Queue()
    async with front(tmp_path, script) as (_, _, client):
        await client.send(head("/plans", b"content-length: 6"))
        for piece in (b"one", b"two"):
            await client.send(piece)
            assert await asyncio.wait_for(came.get(), WAIT) == piece
        assert (await client.answer()).status == 404


async def test_an_upload_is_read_as_fast_as_the_sidecar_takes_it(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        await reading.wait()
        size = 0
        async for piece in peer.body(request):
            size += len(piece)
        await peer.send(answer(b"%d" % size))

    reading = asyncio.Event()
    async with front(tmp_path, script) as (sidecar, _, client):
        sending = asyncio.create_task(client.send(post("/plans", MEGABYTE * 16)))
        await sidecar.until(lambda: bool(sidecar.requests))
        left = await settled(client.writer.transport.get_write_buffer_size)
        assert left > 8_000_000
        reading.set()
        assert (await client.answer()).body == b"%d" % (len(MEGABYTE) * 16)
        await sending


async def test_events_come_one_by_one(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        for number in range(3):
            await asyncio.wait_for(wanted.acquire(), WAIT)
            await peer.send(chunk(b"data: %d\n\n" % number))
        await peer.send(LAST_CHUNK)

    wanted = asyncio.Semaphore(0)
    async with front(tmp_path, script) as (_, _, client):
        await client.send(GET)
        got = await client.head()
        assert got.headers["content-type"] == "text/event-stream"
        for number in range(3):
            wanted.release()
            assert await client.piece(got) == b"data: %d\n\n" % number
        assert await client.piece(got) == b""


async def test_an_answer_is_read_as_fast_as_the_client_takes_it(tmp_path: Path) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 * len(MEGABYTE)))
        for _ in range(32):
            await peer.send(MEGABYTE)
            sent += len(MEGABYTE)
        await peer.request()
        await peer.send(GONE)

    async with front(tmp_path, script, receive_buffer=65_536) as (sidecar, _, client):
        await client.send(GET)
        got = await client.head()
        assert await settled(lambda: sent) < 16_000_000
        await client.rest(got)
        assert got.body == MEGABYTE * 32
        await client.send(GET)
        assert (await client.answer()).status == 404
    assert len(sidecar.peers) == 1


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large(tmp_path: Path, declared: bool) -> None:
    async with front(tmp_path, echo, limit=1000) as (sidecar, _, client):
        body = b"x" * 1001
        line = b"content-length: 1001" if declared else b"transfer-encoding: chunked"
        await client.send(head("/v1/tenants", line) + (body if declared else chunk(body) + LAST_CHUNK))
        got = await client.answer()
        assert (got.status, got.json["error"]) == (413, "invalid_request")
        await client.send(post("/v1/tenants", b"x" * 1000))
        assert (await client.answer()).status == 200
    assert [len(request.body) for request in sidecar.requests if request.body] == [1000]


@pytest.mark.parametrize("bound", ["PATIENCE", "LONGEST_BODY"])
async def test_a_body_that_does_not_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    monkeypatch.setattr(forwarded, bound, 0.1)
    async with front(tmp_path, script) as (_, _, client):
        await client.send(head("/user/api-keys", b"content-length: 10") + b"short")
        got = await client.answer()
        assert (got.status, got.json["status_code"]) == (400, 400)
        assert await client.at_end()


async def test_an_answer_before_the_body_is_complete(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(GONE)
        await peer.gone()

    async with front(tmp_path, script) as (sidecar, _, client):
        await client.send(head("/plans", b"content-length: 10") + b"12345")
        assert (await client.answer()).status == 404
        sidecar.script = echo
        await client.send(b"67890" + post("/plans", b"next"))
        assert (await client.answer()).body == b"next"


async def test_100_continue_comes_when_the_body_is_wanted(tmp_path: Path) -> None:
    async with front(tmp_path, echo) as (sidecar, _, client):
        await client.send(head("/plans", b"content-length: 2", b"expect: 100-continue"))
        assert (await client.head()).status == 100
        await client.send(b"ok")
        assert (await client.answer()).body == b"ok"
    assert "expect" not in sidecar.requests[0].headers
