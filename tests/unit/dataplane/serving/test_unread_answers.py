"""A client that asks and asks and never reads: what it is owed waits with it, not in the gateway's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
from msgspec.structs import replace

from gateway.settings.model import Timeouts
from tests.support.raw_upstream import (
    STREAM_HEAD,
    WAIT,
    Peer,
    answer,
    chunk,
    completion,
    raw_upstream,
    serve_completions,
)
from tests.support.streams import DONE, breaks, event, role, text, two
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

QUIET = 0.3
"""Seconds without progress after which a side is taken to be stopped."""
MOST = 4_000_000
"""Bytes the gateway may keep for one client: some answers, not all of them."""


async def stands(progress: Callable[[], int]) -> int:
    """What ``progress`` is at when it has not changed for a while."""
    async with asyncio.timeout(2 * WAIT):
        before = -1
        while before != progress() or not before:
            before = progress()
            await asyncio.sleep(QUIET)
    return before


async def test_refusals_wait_until_they_are_read(tmp_path: Path) -> None:
    blocks, each = 100, 400
    refused = post("/v1/chat/completions", b"", key="wrong") * 3 + post("/v1/chat/completions", content_type="text/x")
    sent = 0
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address, receive_buffer=16_384) as client,
    ):

        async def send() -> None:
            nonlocal sent
            for _ in range(blocks):
                await client.send(refused * (each // 4))
                sent += 1

        sending = asyncio.create_task(send())
        await stands(lambda: sent)
        (connection,) = gateway.connections
        assert connection.transport.get_write_buffer_size() < MOST
        for _ in range(blocks * each // 4):
            assert [(await client.answer()).status for _ in range(4)] == [401, 401, 401, 415]
        await sending
        assert gateway.runtime.active == 0


async def test_large_answers_wait_until_they_are_read(tmp_path: Path) -> None:
    async def large(peer: Peer) -> None:
        while True:
            number = orjson.loads((await peer.request()).body)["user"]
            await peer.send(answer(completion(number + "z" * 1_000_000)))

    count = 24
    async with (
        raw_upstream(large) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address, receive_buffer=16_384) as client,
    ):
        await client.send(b"".join(post("/v1/chat/completions", chat(user=f"{at:04}")) for at in range(count)))
        asked = await stands(lambda: len(upstream.requests))
        assert asked < count, "most are to be asked for when there is room for their answers"
        (connection,) = gateway.connections
        assert connection.transport.get_write_buffer_size() < MOST
        for at in range(count):
            got = await client.answer()
            assert got.json["choices"][0]["message"]["content"][:5] == f"{at:04}z"
        assert len(upstream.requests) == count


async def test_a_client_that_leaves_its_answers_unread_is_forgotten(tmp_path: Path) -> None:
    async def large(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(completion("z" * 1_000_000)))

    async with (
        raw_upstream(large) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address, receive_buffer=16_384) as client,
    ):
        await client.send(post("/v1/chat/completions", chat()) * 24)
        await stands(lambda: len(upstream.requests))
        client.leave(reset=True)
        async with asyncio.timeout(WAIT):
            while gateway.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert gateway.runtime.active == 0


async def test_a_stream_that_another_target_goes_on_with_waits_until_it_is_read(tmp_path: Path) -> None:
    """The client reads no more already when the first target breaks off, by an event that is none."""
    padded = event({"content": "One "}).replace(b"data: {", b'data: {"x":"' + b"z" * 8_000_000 + b'",')
    count, size = 40, 1_000_000
    written = 0

    async def goes_on(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        await peer.send(STREAM_HEAD, chunk(role("c2")))
        for _ in range(count):
            await peer.send(chunk(text("z" * size, "c2")))
            written += 1
        await peer.send(chunk(event({}, "stop", id="c2") + DONE), b"0\r\n\r\n")

    async with (
        raw_upstream(breaks(role(), padded, b"data: {\n\n")) as first,
        raw_upstream(goes_on) as second,
    ):
        settings = two(first.base_url, second.base_url)
        patient = Timeouts(first_token=60, stall=60, total=120)
        settings = replace(settings, providers=tuple(replace(each, timeouts=patient) for each in settings.providers))
        async with (
            running_worker(settings, tmp_path) as gateway,
            wire(gateway.address, receive_buffer=16_384) as client,
        ):
            await client.send(post("/v1/chat/completions", chat(stream=True)))
            assert await stands(lambda: written) < count // 2
            (connection,) = gateway.connections
            assert connection.transport.get_write_buffer_size() < 8_000_000 + MOST
            got = await client.answer()
            assert got.complete
            assert len(got.body) > 8_000_000 + count * size
            assert got.body.endswith(DONE)
