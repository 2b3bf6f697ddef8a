"""Nobody is read faster than the other side reads."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from gateway.plugin.api import Plugin, PluginContext, Request
from gateway.plugin.failures import Fail
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    WAIT,
    Peer,
    answer,
    chunk,
    completion,
    delta,
    raw_upstream,
)
from tests.support.wire import FORM_START, chat, head, post, wire
from tests.support.worker import provider, running_worker, settings_for

CONTEXT = PluginContext(data_dir=".", redis_url=None)
EVENT = delta("x" * 20_000)
COUNT = 2000
QUIET = 0.3
"""Seconds without progress after which somebody is taken to stand still."""


class Passes(Plugin):
    """Passes every event on, by way of the event loop."""

    name = "passes"

    async def on_chunk(self, request: Request, event: bytes) -> bytes:
        await asyncio.sleep(0)
        return event


class Sender:
    """Sends the events as fast as they are taken, and counts."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        for _ in range(COUNT):
            await peer.send(chunk(EVENT))
            self.sent += 1
        await peer.send(chunk(delta("", "stop")), chunk(DONE), LAST_CHUNK)
        await peer.gone()

    async def stands(self) -> int:
        """How many were sent when no more were taken for a while."""
        async with asyncio.timeout(WAIT):
            while True:
                before = self.sent
                await asyncio.sleep(QUIET)
                if before == self.sent and before:
                    return before


@pytest.mark.parametrize("plugins", [[], [(Passes(None, CONTEXT), "closed")]], ids=["plain", "waiting plugin"])
async def test_a_client_that_does_not_read_stops_the_upstream_and_goes_on_when_it_reads(
    tmp_path: Path, plugins: list[tuple[Plugin, Fail]]
) -> None:
    sender = Sender()
    async with (
        raw_upstream(sender) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path, plugins) as gateway,
        wire(gateway.address, receive_buffer=16_384) as client,
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        stood = await sender.stands()
        assert stood < COUNT // 2, "forty megabytes were to be sent; most must still be with the upstream"
        (connection,) = gateway.connections
        assert connection.transport.get_write_buffer_size() < 4_000_000
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 30_000, f"{grown} KiB"
        got = await client.answer()
        assert got.complete
        assert got.body == EVENT * COUNT + delta("", "stop") + DONE
        assert (await gateway.usage())[0].outcome == "ok"


async def test_a_plugin_that_waits_stops_the_upstream(tmp_path: Path) -> None:
    class Holds(Plugin):
        name = "holds"

        async def on_chunk(self, request: Request, event: bytes) -> bytes:
            await go.wait()
            return event

    go = asyncio.Event()
    sender = Sender()
    async with (
        raw_upstream(sender) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(Holds(None, CONTEXT), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        assert await sender.stands() < COUNT
        go.set()
        got = await client.answer()
        assert got.body == EVENT * COUNT + delta("", "stop") + DONE


TYPE = "multipart/form-data; boundary=b"


async def test_an_upstream_that_does_not_read_an_upload_stops_the_client(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        await go.wait()
        received = 0
        async for piece in peer.body(request):
            received += len(piece)
        sizes.append(received)
        await peer.send(answer(completion()))
        await peer.gone()

    go, sizes = asyncio.Event(), list[int]()
    size = 40_000_000
    body = FORM_START + b"a" * (size - len(FORM_START) - 9) + b"\r\n--b--\r\n"
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url), max_body_bytes=size), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = head("/v1/audio/transcriptions", b"content-length: %d" % len(body), content_type=TYPE)
        sent = 0

        async def send() -> None:
            nonlocal sent
            await client.send(start)
            for at in range(0, len(body), 65_536):
                await client.send(body[at : at + 65_536])
                sent = at

        sending = asyncio.create_task(send())
        async with asyncio.timeout(WAIT):
            seen = -1
            while seen != sent or not sent:
                seen = sent
                await asyncio.sleep(QUIET)
        assert sent < size * 3 // 4
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
        go.set()
        await sending
        assert (await client.answer()).status == 200
        assert sizes == [len(body)], "the model's name has the length of its target's"
