"""Uploads that end badly: each is answered once, settled once, and no fault of the upstream's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.settings.model import Breaker, Limit, Timeouts
from tests.support.raw_upstream import LAST_CHUNK, Peer, answer, chunk, raw_upstream
from tests.support.wire import FORM_START, Wire, head, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

PATH = "/v1/audio/transcriptions"
TYPE = "multipart/form-data; boundary=b"
LIMITS = (Limit(metric="concurrency", limit=5),)
MOST = 2_000_000
TEXT = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
PIECES = b"".join([chunk(b"y" * 4096)] * 8)
"""Several pieces of a file that come in one read."""


async def receives(peer: Peer) -> None:
    """Takes whatever comes and never answers."""
    await peer.head()
    await peer.gone()


async def answers(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(answer(b'{"text":"hello"}'))


async def push(client: Wire, first: bytes, more: bytes = b"", times: int = 0) -> None:
    """Send; the gateway may close its side in the middle."""
    try:
        await client.send(first)
        for _ in range(times):
            await client.send(more)
    except ConnectionError:
        return


async def settled_once(gateway: RunningWorker) -> None:
    await gateway.usage()
    assert [event.status for event in gateway.sink.events] in ([400], [413])
    assert gateway.runtime.active == 0
    assert gateway.used("concurrency") == 0


@pytest.mark.parametrize("fault", ["too large", "malformed"])
async def test_an_upload_refused_in_the_middle_is_settled_once(tmp_path: Path, fault: str) -> None:
    async with (
        raw_upstream(receives) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url), limits=LIMITS, max_body_bytes=MOST), tmp_path
        ) as gateway,
    ):
        async with wire(gateway.address) as client:
            await client.send(head(PATH, b"transfer-encoding: chunked", content_type=TYPE) + chunk(FORM_START + b"x"))
            await upstream.until(lambda: len(upstream.requests) == 1)
            if fault == "too large":
                sending = asyncio.create_task(push(client, PIECES, PIECES, 2 * MOST // len(PIECES)))
            else:
                for _ in range(1_200_000 // len(PIECES)):
                    await client.send(PIECES)
                bad = chunk(b"\r\n--b\r\n\x01 no header\r\n")
                sending = asyncio.create_task(push(client, bad + PIECES, PIECES, 20))
            got = await client.answer()
            expected = (413, "request_too_large") if fault == "too large" else (400, "invalid_multipart")
            assert (got.status, got.code) == expected
            await settled_once(gateway)
            await sending
        async with wire(gateway.address) as other:
            await other.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await other.answer()).status == 200
        await settled_once(gateway)


async def test_a_client_that_stops_sending_is_told_and_the_target_stays_in_use(tmp_path: Path) -> None:
    async with raw_upstream(answers) as upstream:
        rests = Breaker(failures=2, cooldown=60)
        target = provider(upstream.base_url, timeouts=Timeouts(first_token=0.2), breaker=rests)
        settings = settings_for(target, limits=LIMITS)
        async with running_worker(settings, tmp_path) as gateway:
            for _ in range(3):
                async with wire(gateway.address) as client:
                    start = head(PATH, b"content-length: 100000", content_type=TYPE)
                    await client.send(start + FORM_START + b"x")
                    got = await client.answer()
                    assert 400 <= got.status < 500
                    assert got.code == "request_timeout"
                    assert got.headers["connection"] == "close"
            (asked,) = gateway.runtime.router.routes["m"].targets
            assert (asked.breaker.failures, asked.breaker.open_until) == (0, 0.0)
            assert gateway.used("concurrency") == 0
            async with wire(gateway.address) as client:
                await client.send(post(PATH, FORM_START + b"x\r\n--b--\r\n", content_type=TYPE))
                assert (await client.answer()).status == 200


async def test_an_upstream_that_is_silent_after_a_whole_upload_is_to_blame(tmp_path: Path) -> None:
    async with (
        raw_upstream(receives) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url, timeouts=Timeouts(first_token=0.2))), tmp_path
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post(PATH, FORM_START + b"x\r\n--b--\r\n", content_type=TYPE))
        assert (await client.answer()).status == 504
        assert gateway.runtime.router.routes["m"].targets[0].breaker.failures == 1


@pytest.mark.parametrize(
    "disposition",
    [
        b'form-data; name="x"; name="model"',
        b'form-data; name="model"; name="x"',
        b"form-data; name=\"x\"; name*=utf-8''model",
        b'form-data; name="model"; NAME="model"',
    ],
)
async def test_a_part_with_two_names_is_refused(tmp_path: Path, disposition: bytes) -> None:
    """Which of them an upstream reads isn't known: it might be a model nobody checked."""
    async with (
        raw_upstream(receives) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        two = b"\r\n--b\r\ncontent-disposition: " + disposition + b"\r\n\r\ndear\r\n--b--\r\n"
        await client.send(post(PATH, FORM_START + b"x" + two, content_type=TYPE))
        got = await client.answer()
        assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (answer(b'{"error":{"message":"no"}}', status=b"400 Bad Request"), 400),
        (answer(b'{"text":"enough"}'), 200),
        (TEXT + b"content-length: 6\r\n\r\nenough", 200),
        (TEXT + b"transfer-encoding: chunked\r\n\r\n" + chunk(b"enough") + LAST_CHUNK, 200),
    ],
    ids=["error", "json", "text", "text in pieces"],
)
async def test_an_answer_before_the_body_is_complete_closes_the_connection(
    tmp_path: Path, reply: bytes, status: int
) -> None:
    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.send(reply)
        await peer.gone()

    async with (
        raw_upstream(early) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(head(PATH, b"content-length: 100000", content_type=TYPE) + FORM_START + b"x")
        got = await client.answer()
        assert (got.status, got.complete) == (status, True)
        assert got.headers["connection"] == "close"
        assert await client.at_end()


@pytest.mark.parametrize("key", ["wrong", "gw_test_unit"], ids=["no key", "too large"])
async def test_a_refusal_before_the_body_closes_the_connection(tmp_path: Path, key: str) -> None:
    async with (
        raw_upstream(answers) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(head("/v1/chat/completions", b"content-length: 5000000", key=key))
        got = await client.answer()
        assert got.status == (401 if key == "wrong" else 413)
        assert got.headers["connection"] == "close"
        assert upstream.requests == []
