"""One connection, one request after the other: each is judged by the key it carries, whatever came before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from gateway.dataplane.auth import Presented
from gateway.settings.model import Key, Settings
from tests.support.raw_upstream import Peer, answer, completion, raw_upstream
from tests.support.wire import Wire, chat, post, wire
from tests.support.worker import KEY, RunningWorker, provider, running_worker, settings_for

PATH = "/v1/chat/completions"
OTHER = "gw_test_other"


async def answers(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(answer(completion("yes")))


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[RunningWorker, Settings, Wire]]:
    async with raw_upstream(answers) as upstream:
        settings = settings_for(provider(upstream.base_url))
        settings = msgspec.structs.replace(settings, keys=(*settings.keys, Key(key=OTHER, name="other")))
        async with running_worker(settings, tmp_path) as gateway, wire(gateway.address) as client:
            yield gateway, settings, client


async def status(client: Wire, *extra: bytes, key: str = KEY) -> int:
    await client.send(post(PATH, chat(), *extra, key=key))
    return (await client.answer()).status


async def test_each_request_is_the_callers_whose_key_it_carries(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, _, client):
        keys = [KEY, KEY, OTHER, "gw_test_nobody", OTHER, KEY, KEY[:-1], KEY + "x", KEY]
        assert [await status(client, key=key) for key in keys] == [200, 200, 200, 401, 200, 200, 401, 401, 200]
        assert [event.credential for event in await gateway.usage(6)] == [
            "unit", "unit", "other", "other", "unit", "unit",
        ]  # fmt: skip


async def test_a_key_that_was_taken_out_is_refused_on_a_connection_that_had_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, settings, client):
        assert await status(client) == 200
        await gateway.take_up(msgspec.structs.replace(settings, keys=settings.keys[1:]), tmp_path)
        assert [await status(client), await status(client, key=OTHER)] == [401, 200]


async def test_of_two_headers_the_first_counts_though_the_second_was_sent_before(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, _, client):
        assert await status(client) == 200
        again = b"authorization: Bearer " + KEY.encode()
        assert await status(client, again, key=OTHER) == 200
        assert await status(client, again, key="gw_test_nobody") == 401
        body = msgspec.json.encode(chat())
        lines = [b"authorization: ", again, b"content-type: application/json", b"content-length: %d" % len(body)]
        await client.send(b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", b"host: x", *lines, b"", body]))
        assert (await client.answer()).code == "invalid_authorization"
        assert [event.credential for event in await gateway.usage(2)] == ["unit", "other"]


def test_a_long_header_is_not_kept() -> None:
    presented = Presented()
    for length, kept in ((100, True), (600, False)):
        header = b"Bearer " + b"k" * length
        presented.remember(header, header[7:])
        assert presented.is_again(header) is kept
