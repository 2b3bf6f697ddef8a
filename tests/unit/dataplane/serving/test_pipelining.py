"""Several requests on one connection, in pieces of any size: answered in order, each as its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from gateway.plugin.api import Plugin, PluginContext, Request
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    WAIT,
    Peer,
    RawUpstream,
    answer,
    chunk,
    completion,
    delta,
    raw_upstream,
)
from tests.support.wire import Wire, chat, head, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

CONTEXT = PluginContext(data_dir=".", redis_url=None)
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer gw_test_unit\r\n\r\n"


async def echo(peer: Peer) -> None:
    """Answers with the text it was sent; as a stream where one was asked for."""
    while True:
        request = await peer.request()
        asked = orjson.loads(request.body)
        text = asked["messages"][0]["content"]
        if asked.get("stream"):
            events = [delta(text), delta("", "stop"), DONE]
            await peer.send(STREAM_HEAD, *(chunk(event) for event in events), LAST_CHUNK)
        else:
            await peer.send(answer(completion(text)))


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[RunningWorker, RawUpstream, Wire]]:
    async with (
        raw_upstream(echo) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        yield gateway, upstream, client


def said(text: str, **fields: object) -> bytes:
    return post("/v1/chat/completions", chat(text, **fields))


async def texts(client: Wire, count: int) -> list[str]:
    found = []
    for _ in range(count):
        got = await client.answer()
        assert got.complete
        found.append(got.json["choices"][0]["message"]["content"] if got.status == 200 else str(got.status))
    return found


LARGE = "x" * 300_000


@pytest.mark.parametrize("size", [1_000, 70_001, 299_999, 10_000_000])
async def test_large_requests_among_others_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    """The rest of a body does not pass the parser; what follows it does again, in the same read or the next."""
    async with served(tmp_path) as (gateway, _, client):
        asked = ["a", LARGE, "b", LARGE + "y", LARGE + "z", "c"]
        data = b"".join(said(text) for text in asked) + HEALTH + said(LARGE)
        sending = asyncio.create_task(_in_pieces(client, data, size))
        assert await texts(client, len(asked)) == asked
        assert (await client.answer()).status == 200
        assert await texts(client, 1) == [LARGE]
        await sending
        assert len(await gateway.usage(len(asked) + 1)) == len(asked) + 1


async def _in_pieces(client: Wire, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        await client.send(data[start : start + size])
        await asyncio.sleep(0)


async def test_garbage_behind_a_large_request_is_refused_on_its_own(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, __, client):
        await client.send(said(LARGE) + b"\x00\x01 nonsense\r\n\r\n")
        assert await texts(client, 1) == [LARGE]


async def test_a_large_body_that_breaks_off_asks_no_upstream(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, upstream, client):
        await client.send(said(LARGE)[:-1])
        (connection,) = gateway.connections
        client.leave()
        async with asyncio.timeout(WAIT):
            while connection in gateway.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert upstream.requests == []


async def test_requests_sent_at_once_are_answered_in_order(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, upstream, client):
        await client.send(b"".join(said(f"t{number}") for number in range(40)))
        assert await texts(client, 40) == [f"t{number}" for number in range(40)]
        assert len(await gateway.usage(40)) == 40
        assert [orjson.loads(r.body)["messages"][0]["content"] for r in upstream.requests] == [
            f"t{number}" for number in range(40)
        ]


async def test_inference_and_the_rest_keep_their_order(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, __, client):
        await client.send(
            said("one") + HEALTH + said("two", stream=True) + MODELS + HEALTH + said("three") + said("four")
        )
        one = await client.answer()
        assert "one" in one.body.decode()
        assert (await client.answer()).json["status"] == "healthy"
        streamed = await client.answer()
        assert streamed.headers["content-type"] == "text/event-stream"
        assert streamed.body.endswith(DONE)
        assert b"two" in streamed.body
        assert [model["id"] for model in (await client.answer()).json["data"]] == ["m"]
        assert (await client.answer()).json["status"] == "healthy"
        assert await texts(client, 2) == ["three", "four"]


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_requests_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    async with served(tmp_path) as (_, __, client):
        chunked = head("/v1/chat/completions", b"transfer-encoding: chunked")
        body = orjson.dumps(chat("chunked"))
        wire_bytes = said("plain") + chunked + chunk(body[:9]) + chunk(body[9:]) + LAST_CHUNK + HEALTH + said("last")
        reading = asyncio.create_task(texts(client, 2))
        for at in range(0, len(wire_bytes), size):
            await client.send(wire_bytes[at : at + size])
            await asyncio.sleep(0)
        assert await reading == ["plain", "chunked"]
        assert (await client.answer()).status == 200
        assert await texts(client, 1) == ["last"]


async def test_refused_requests_among_served_ones(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, upstream, client):
        await client.send(
            said("a")
            + post("/v1/chat/completions", chat("b"), key="wrong")
            + post("/v1/chat/completions", b"{")
            + said("c")
            + post("/v1/chat/completions", {"model": "none", "messages": [{}]})
            + said("d")
        )
        assert await texts(client, 6) == ["a", "401", "400", "c", "404", "d"]
        assert len(upstream.requests) == 3


async def test_a_thousand_refusals_behind_a_slow_answer(tmp_path: Path) -> None:
    """Each refusal is answered when its turn comes, and none of them deep within another."""

    async def slow(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(answer(completion("first")))
        await peer.gone()

    go = asyncio.Event()
    async with (
        raw_upstream(slow) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        refused = post("/v1/chat/completions", b"{}", key="wrong")
        sending = asyncio.create_task(client.send(said("x") + refused * 1000 + HEALTH))
        await upstream.until(lambda: len(upstream.requests) == 1)
        go.set()
        assert await texts(client, 1001) == ["first"] + ["401"] * 1000
        assert (await client.answer()).status == 200
        await sending


async def test_many_requests_waiting_on_a_connection_are_bounded(tmp_path: Path) -> None:
    """While the first is being answered the gateway reads no more than some, whatever is sent."""

    async def never(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with (
        raw_upstream(never) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        large = said("y" * 60_000)
        sending = asyncio.create_task(client.send(said("x") + large * 400))
        await upstream.until(lambda: len(upstream.requests) == 1)
        (connection,) = gateway.connections
        async with asyncio.timeout(30):
            while connection.reading:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert len(connection.pipeline) < 32
        sending.cancel()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_connection_close_is_honoured(tmp_path: Path, version: str) -> None:
    async with served(tmp_path) as (_, __, client):
        lines = [] if version == "1.0" else [b"connection: close"]
        await client.send(post("/v1/chat/completions", chat("bye"), *lines, version=version))
        assert await texts(client, 1) == ["bye"]
        assert await client.at_end()


async def test_http_1_0_may_keep_its_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, __, client):
        for _ in range(2):
            await client.send(post("/v1/chat/completions", chat("hi"), b"connection: keep-alive", version="1.0"))
            got = await client.answer()
            assert got.headers["connection"] == "keep-alive"
            assert got.complete


async def test_a_stream_for_http_1_0_ends_with_its_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, __, client):
        await client.send(
            post("/v1/chat/completions", chat("old", stream=True), b"connection: keep-alive", version="1.0")
        )
        got = await client.answer()
        assert "transfer-encoding" not in got.headers
        assert got.headers["connection"] == "close"
        assert got.body == delta("old") + delta("", "stop") + DONE


async def test_an_upgrade_nobody_serves_is_ignored(tmp_path: Path) -> None:
    """As Java's client sends it with its first request (RFC 9110 §7.8: a server may go on as if it weren't there)."""
    async with served(tmp_path) as (_, __, client):
        lines = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAEAAEAA")
        await client.send(post("/v1/chat/completions", chat("upgraded"), *lines))
        assert await texts(client, 1) == ["upgraded"]
        await client.send(said("next"))
        assert await texts(client, 1) == ["next"]


async def test_an_upgrade_may_be_followed_by_a_request_in_the_same_packet(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, __, client):
        lines = (b"connection: Upgrade", b"upgrade: h2c")
        await client.send(post("/v1/chat/completions", chat("upgraded"), *lines) + said("next") + HEALTH)
        assert await texts(client, 2) == ["upgraded", "next"]
        assert (await client.answer()).status == 200


async def test_endless_trailers_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, _, client):
        start = head("/v1/chat/completions", b"transfer-encoding: chunked") + chunk(orjson.dumps(chat("x"))) + b"0\r\n"
        await client.send(start)
        for _ in range(100):
            if client.reader._buffer:  # type: ignore[attr-defined]
                break
            await client.send(b"x-trailer: " + b"a" * 1000 + b"\r\n")
            await asyncio.sleep(0)
        got = await client.answer()
        assert got.status in (400, 431)
        assert gateway.worker.runtime.active == 0


async def test_trailers_do_not_become_headers(tmp_path: Path) -> None:
    class Looks(Plugin):
        name = "looks"

        def on_request(self, request: Request) -> None:
            seen.append(dict(request.headers))

    seen: list[dict[str, str]] = []
    async with (
        raw_upstream(echo) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(Looks(None, CONTEXT), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        start = head("/v1/chat/completions", b"transfer-encoding: chunked")
        await client.send(start + chunk(orjson.dumps(chat("x"))) + b"0\r\nx-role: admin\r\n\r\n")
        assert await texts(client, 1) == ["x"]
        assert "x-role" not in seen[0]
