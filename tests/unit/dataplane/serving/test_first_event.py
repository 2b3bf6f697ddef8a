"""The first event of a stream is with the client before the rest of the read that brought it is dealt with."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from gateway.dataplane.stored.store import Store
from gateway.plugin.api import Plugin, PluginContext, Request
from tests.support.raw_upstream import DONE, LAST_CHUNK, STREAM_HEAD, Peer, chunk, delta, raw_upstream
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

LONGEST = 30.0  # seconds to wait for what must happen
FIRST = delta("first")
REST = (delta("second"), delta("", "stop"), DONE)


class Client(threading.Thread):
    """It reads in a thread of its own, and so also while the gateway's loop stands still."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self.got = b""
        self.has_first = threading.Event()
        self._address = address

    def run(self) -> None:
        with socket.create_connection(self._address, timeout=LONGEST) as sock:
            sock.sendall(post("/v1/chat/completions", chat(stream=True)))
            while not self.got.endswith(LAST_CHUNK):
                data = sock.recv(65_536)
                assert data, self.got
                self.got += data
                if FIRST in self.got:
                    self.has_first.set()


class Holds(Plugin):
    """Stands at the second event until the client has the first."""

    name = "holds"

    def __init__(self) -> None:
        super().__init__(None, PluginContext(data_dir=".", redis_url=None))
        self.client: Client | None = None
        self.had_first: bool | None = None

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        if b"second" in event and self.client is not None:
            self.had_first = self.client.has_first.wait(LONGEST)
        return event


@pytest.mark.parametrize("chunks", [[FIRST, *REST], [FIRST + b"".join(REST)]], ids=["chunk by chunk", "in one chunk"])
async def test_the_first_event_waits_for_nothing_that_came_with_it(tmp_path: Path, chunks: list[bytes]) -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"".join([STREAM_HEAD, *map(chunk, chunks), LAST_CHUNK]))
        await peer.gone()

    plugin = Holds()
    async with (
        raw_upstream(serve) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path, [(plugin, "closed")]) as gateway,
    ):
        client = plugin.client = Client(gateway.address)
        client.start()
        await asyncio.to_thread(client.join, LONGEST)
        assert not client.is_alive()
        (event,) = await gateway.usage()
    assert plugin.had_first is True
    assert [client.got.count(each) for each in (FIRST, *REST)] == [1, 1, 1, 1]
    assert event.outcome == "ok"


async def test_a_response_in_the_background_has_no_connection_to_hurry(tmp_path: Path) -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"".join([STREAM_HEAD, *map(chunk, (FIRST, *REST)), LAST_CHUNK]))
        await peer.gone()

    async with (
        raw_upstream(serve) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        store = gateway.worker.stored = Store(tmp_path / "responses.sqlite", 3_600.0, 1_048_576)
        asked = {"model": "m", "input": "hi", "background": True, "stream": True}
        await client.send(post("/v1/responses", asked))
        got = await client.answer()
        (event,) = await gateway.usage()
        await store.close()
    assert got.body.count(b"event: response.output_text.delta\n") == 2, got.body
    assert b"event: response.completed\n" in got.body
    assert event.outcome == "ok"
