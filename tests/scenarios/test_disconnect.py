"""A client that leaves at any moment, seen on the wire: the provider's connection closes within a second."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.material import assert_closed_soon, marker
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.raw_http import RawConnection, request
from tests.support.raw_upstream import Peer, raw_upstream

BOTH = pytest.mark.parametrize("stream", [False, True])


def ask(gateway: RunningGateway, model: str, said: str, **more: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": said}], **more}
    return request("/v1/chat/completions", json.dumps(body).encode(), key=gateway.key)


@pytest.mark.parametrize("reset", [False, True])
@BOTH
def test_before_the_first_token(gateway: RunningGateway, fake: FakeOpenAI, stream: bool, reset: bool) -> None:
    said = marker()
    with RawConnection(gateway.address) as connection:
        connection.send(ask(gateway, "never", said, stream=stream))
        fake.recording.wait_request(said)
        if reset:
            connection.reset_on_close()
    assert_closed_soon(fake, said, time.monotonic())


@pytest.mark.parametrize("model", ["endless", "stuck", "gated"])
def test_in_the_middle_of_a_stream(gateway: RunningGateway, fake: FakeOpenAI, model: str) -> None:
    said = marker()
    fake.gates.release(said, 3)
    with RawConnection(gateway.address) as connection:
        connection.send(ask(gateway, model, said, stream=True, metadata={"gate": said}))
        response = connection.begin_response()
        assert response.readline().startswith(b"data: {")
    assert_closed_soon(fake, said, time.monotonic())


def test_without_reading_anything(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    said = marker()
    with RawConnection(gateway.address) as connection:
        connection.send(ask(gateway, "endless", said, stream=True))
        fake.recording.wait_sent(fake.recording.wait_request(said), 20)
    assert_closed_soon(fake, said, time.monotonic())


def test_with_another_request_already_sent(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    said, next_one = marker(), marker()
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(ask(gateway, "never", said) + ask(gateway, "fake-chat", next_one))
        fake.recording.wait_request(said)
    assert_closed_soon(fake, said, time.monotonic())
    assert not any(next_one.encode() in each.body for each in fake.recording.since(mark))


def test_in_the_middle_of_the_request(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    said = marker()
    whole = ask(gateway, "fake-chat", said)
    mark = fake.recording.mark()
    with RawConnection(gateway.address) as connection:
        connection.send(whole[:-10])
    with RawConnection(gateway.address) as connection:
        connection.send(ask(gateway, "fake-chat", "after"))
        assert connection.response().status == 200
    assert [json.loads(each.body)["messages"][0]["content"] for each in fake.recording.since(mark)] == ["after"]


def test_hundred_at_once(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    said = [marker() for _ in range(100)]
    connections = [RawConnection(gateway.address) for _ in said]
    for connection, each in zip(connections, said, strict=True):
        connection.send(ask(gateway, "never", each, stream=True))
    for each in said:
        fake.recording.wait_request(each)
    for connection in connections:
        connection.close()
    left_at = time.monotonic()
    for each in said:
        assert_closed_soon(fake, each, left_at)


def test_a_finished_answer_keeps_the_upstream_connection(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    said = marker()
    with RawConnection(gateway.address) as connection:
        connection.send(ask(gateway, "fake-chat", said))
        assert connection.response().status == 200
    with RawConnection(gateway.address) as connection:
        connection.send(ask(gateway, "fake-chat", "after"))
        assert connection.response().status == 200
    assert fake.recording.wait_request(said).connection.closed_at is None


def test_a_client_that_reads_slowly_holds_the_provider_back(gateway: RunningGateway, fake: FakeOpenAI) -> None:
    # About 30 MB are on offer; far less may leave the provider while the client reads nothing.
    said = marker()
    text = said + " repeat=3000 " + "x" * 10_000
    small = struct.pack("i", 4096)
    with RawConnection(gateway.address, (socket.SOL_SOCKET, socket.SO_RCVBUF, small)) as connection:
        connection.send(ask(gateway, "fake-chat", text, stream=True))
        held = fake.recording.wait_quiet(fake.recording.wait_request(said))
        assert held.chunks_sent < 3 * 3000
        response = connection.begin_response()
        assert response.read().endswith(b"data: [DONE]\n\n")


async def test_a_client_that_reads_slowly_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    # The last bytes from the provider are too much for the client: what it gets of them is a thousand times as long.
    packed = gzip.compress(bytes(12_000_000))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-encoding: gzip\r\n"

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(head + b"content-length: %d\r\n\r\n" % len(packed) + packed)

    async with raw_upstream(script) as upstream:
        config = {
            "server": {"port": 0},
            "data_dir": "data",
            "providers": [{"name": "up", "base_url": upstream.base_url}],
            "models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}]}],
            "keys": [{"key": "gw_live_slow_0123456789", "name": "slow", "organization": "tests"}],
        }
        with running_gateway(config, tmp_path, command="proxy") as gateway:
            sizes = await asyncio.to_thread(lambda: [_listen_slowly(gateway) for _ in range(3)])
        assert sizes == [12_000_000] * 3
        assert len(upstream.peers) == 1, "the connection was good for all of them"


def _listen_slowly(gateway: RunningGateway) -> int:
    small = struct.pack("i", 4096)
    body = b'{"model":"m","input":"Say it.","voice":"v"}'
    with RawConnection(gateway.address, (socket.SOL_SOCKET, socket.SO_RCVBUF, small)) as connection:
        connection.send(request("/v1/audio/speech", body, key=gateway.key))
        return len(connection.response().body)
