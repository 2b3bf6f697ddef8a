"""A client that leaves, at any moment: the upstream is let go within a second and nothing stays reserved."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.settings.model import Connections, Limit, Retry
from tests.support.raw_upstream import STREAM_HEAD, WAIT, Peer, RawUpstream, Script, answer, chunk, delta, raw_upstream
from tests.support.wire import FORM_START, chat, head, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

SECOND = 5.0
"""A second, and what a busy machine adds."""
LIMITS = (Limit(metric="concurrency", limit=5), Limit(metric="tokens", limit=100_000, window="hour"))


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def streaming(peer: Peer) -> None:
    await peer.request()
    await peer.send(STREAM_HEAD, chunk(delta("one")))
    await peer.gone()


async def endless(peer: Peer) -> None:
    await peer.request()
    await peer.send(STREAM_HEAD)
    while not peer.reader.at_eof():
        await peer.send(chunk(delta("more") * 100))
    peer.left.set()


async def whole(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer(b"x" * 1000)[:-1])
    await peer.gone()


async def freed(gateway: RunningWorker, upstream: RawUpstream, since: float) -> None:
    """The upstream has seen the end in time, the event is written, and the slot is free."""
    async with asyncio.timeout(WAIT):
        await upstream.peers[0].left.wait()
    assert time.monotonic() - since < SECOND
    (event,) = await gateway.usage()
    assert event.outcome == "cancelled"
    assert gateway.used("concurrency") == 0
    assert gateway.runtime.active == 0
    assert gateway.runtime.pools["up"].open_connections == 0
    assert gateway.used("tokens") == event.tokens.prompt + event.tokens.completion


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize(
    ("script", "stream", "waits_for_text"),
    [
        (silent, False, False),
        (silent, True, False),
        (whole, False, False),
        (streaming, True, True),
        (endless, True, True),
    ],
)
async def test_while_it_is_answered(
    tmp_path: Path, script: Script, stream: bool, waits_for_text: bool, reset: bool
) -> None:
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=stream)))
        await upstream.until(lambda: len(upstream.requests) == 1)
        if waits_for_text:
            await client.piece(await client.head())
        assert gateway.used("concurrency") == 1
        left = time.monotonic()
        client.leave(reset=reset)
        await freed(gateway, upstream, left)


async def test_with_other_requests_waiting_behind_on_the_connection(tmp_path: Path) -> None:
    """So many wait that the gateway has stopped reading: it must notice all the same."""
    async with (
        raw_upstream(silent) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        one = post("/v1/chat/completions", chat())
        await client.send(one * 30 + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        await upstream.until(lambda: len(upstream.requests) == 1)
        left = time.monotonic()
        client.leave()
        async with asyncio.timeout(WAIT):
            await upstream.peers[0].left.wait()
        assert time.monotonic() - left < SECOND
        assert len(await gateway.usage()) == 1
        assert gateway.used("concurrency") == 0
        assert len(upstream.requests) == 1


async def test_while_a_large_body_goes_to_an_upstream_that_does_not_read(tmp_path: Path) -> None:
    async def deaf(peer: Peer) -> None:
        await peer.head()
        await left.wait()
        await peer.gone()

    left = asyncio.Event()
    async with (
        raw_upstream(deaf) as upstream,
        running_worker(settings_for(provider(upstream.base_url), max_body_bytes=40_000_000), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat("x" * 20_000_000)))
        await upstream.until(lambda: len(upstream.requests) == 1)
        (connection,) = gateway.connections
        before = time.monotonic()
        client.leave()
        (event,) = await gateway.usage()
        assert event.outcome == "cancelled"
        assert time.monotonic() - before < SECOND
        left.set()
        await upstream.peers[0].left.wait()
        assert connection not in gateway.connections


async def test_while_it_waits_for_a_connection(tmp_path: Path) -> None:
    limits = Connections(max=1, queue=5)
    async with (
        raw_upstream(silent) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url, connections=limits), limits=LIMITS), tmp_path
        ) as gateway,
        wire(gateway.address) as first,
        wire(gateway.address) as second,
    ):
        await first.send(post("/v1/chat/completions", chat()))
        await upstream.until(lambda: len(upstream.requests) == 1)
        await second.send(post("/v1/chat/completions", chat()))
        pool = gateway.runtime.pools["up"]
        async with asyncio.timeout(WAIT):
            while not pool.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        second.leave()
        (event,) = await gateway.usage()
        assert (event.outcome, event.attempts) == ("cancelled", [])
        assert (event.tokens.prompt, event.estimated) == (0, False)
        assert pool.waiting == 0
        assert gateway.used("concurrency") == 1
        assert pool.open_connections == 1


async def test_between_two_attempts(tmp_path: Path) -> None:
    async def busy(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(b"{}", status=b"503 Busy"))

    retry = Retry(attempts=2, backoff=1000)
    async with (
        raw_upstream(busy) as upstream,
        running_worker(settings_for(provider(upstream.base_url, retry=retry), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat()))
        await upstream.until(lambda: upstream.peers[0].served == 1 if upstream.peers else False)
        pool = gateway.runtime.pools["up"]
        async with asyncio.timeout(WAIT):
            while pool.active:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        client.leave()
        (event,) = await gateway.usage()
        assert event.outcome == "cancelled"
        assert [attempt.reason for attempt in event.attempts] == ["status_503"]
        assert gateway.used("concurrency") == 0


@pytest.mark.parametrize(
    "sent", [b"POST /v1/chat/comp", head("/v1/chat/completions", b"content-length: 100") + b'{"model']
)
async def test_before_the_request_is_complete(tmp_path: Path, sent: bytes) -> None:
    async with (
        raw_upstream(silent) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(sent)
        async with asyncio.timeout(WAIT):
            while not gateway.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        client.leave()
        async with asyncio.timeout(WAIT):
            while gateway.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert gateway.runtime.active == 0
        assert upstream.requests == []
        assert gateway.sink.events == []


async def test_in_the_middle_of_an_upload(tmp_path: Path) -> None:
    async def receiving(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    async with (
        raw_upstream(receiving) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        start = head(
            "/v1/audio/transcriptions", b"content-length: 100000", content_type="multipart/form-data; boundary=b"
        )
        await client.send(start + FORM_START + b"a" * 1000)
        await upstream.until(lambda: len(upstream.requests) == 1)
        left = time.monotonic()
        client.leave()
        await freed(gateway, upstream, left)
