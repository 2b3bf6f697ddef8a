"""Large bodies are read past the parser: whatever the reads are, each request is the one that was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dataplane.server import GatewayProtocol
from tests.support.naming import counts, named, names
from tests.support.raw_upstream import WAIT, RawUpstream, raw_upstream
from tests.support.wire import FORM_START, Wire, chat, head, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

PATH = "/v1/chat/completions"
LARGE = "large ".ljust(70_000, "x")
LARGER = "larger ".ljust(300_000, "y")


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[RunningWorker, RawUpstream]]:
    async with (
        raw_upstream(names) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
    ):
        yield gateway, upstream


@asynccontextmanager
async def connected(gateway: RunningWorker) -> AsyncIterator[tuple[Wire, GatewayProtocol]]:
    """A client, and the gateway's end of its connection."""
    before = set(gateway.connections)
    async with wire(gateway.address) as client:
        async with asyncio.timeout(WAIT):
            while not (made := set(gateway.connections) - before):  # noqa: ASYNC110
                await asyncio.sleep(0)
        yield client, made.pop()


def said(text: str, *extra: bytes, key: str = "gw_test_unit") -> bytes:
    return post(PATH, chat(text), *extra, key=key)


async def told(client: Wire) -> str:
    got = await client.answer()
    return got.json["choices"][0]["message"]["content"] if got.status == 200 else str(got.status)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_reads_of_any_size(tmp_path: Path, data: st.DataObject) -> None:
    texts = data.draw(st.permutations(["", "small", LARGE, LARGER]))
    sent = b"".join(said(text) for text in texts)
    near = [sent.index(b"\r\n\r\n") + 4, *(len(said(texts[0])) + by for by in (-1, 0, 1))]
    places = st.integers(0, len(sent)) | st.sampled_from(near)
    cuts = sorted({0, *data.draw(st.lists(places, max_size=12)), len(sent)})

    async def feed() -> None:
        async with served(tmp_path) as (gateway, _), connected(gateway) as (client, connection):
            for begin, end in pairwise(cuts):
                connection.data_received(sent[begin:end])
            assert [await told(client) for _ in texts] == [named(text) for text in texts]

    asyncio.run(feed())


@pytest.mark.parametrize("text", ["small", LARGE])
@pytest.mark.parametrize("at_once", [True, False])
async def test_what_follows_a_last_request_is_let_pass(tmp_path: Path, text: str, at_once: bool) -> None:
    async with served(tmp_path) as (gateway, upstream), connected(gateway) as (client, connection):
        last, behind = said(text, b"connection: close"), said("more") + b"no HTTP"
        for data in (last[:50_000], last[50_000:] + behind) if at_once else (last[:50_000], last[50_000:], behind):
            connection.data_received(data)
        assert await told(client) == named(text)
        assert await client.at_end()
        assert len(upstream.requests) == 1


async def test_a_refused_body_is_let_go_by_and_the_next_request_is_served(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, upstream), connected(gateway) as (client, connection):
        refused = said(LARGER, key="wrong")
        connection.data_received(refused[:1_000])
        connection.data_received(refused[1_000:] + said(LARGE)[:1_000])
        connection.data_received(said(LARGE)[1_000:])
        assert [await told(client), await told(client)] == ["401", named(LARGE)]
        assert len(upstream.requests) == 1


async def test_garbage_behind_a_large_body_is_told_as_such(tmp_path: Path) -> None:
    async with served(tmp_path) as (gateway, _), connected(gateway) as (client, connection):
        sent = said(LARGE)
        connection.data_received(sent[:-1])
        connection.data_received(sent[-1:] + b"no HTTP\r\n\r\n")
        assert await told(client) == named(LARGE)
        assert await client.at_end()


async def test_a_large_form_arrives_whole(tmp_path: Path) -> None:
    async with (
        raw_upstream(counts) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        connected(gateway) as (client, connection),
    ):
        body = FORM_START.replace(b'name="file"', b'name="file"; filename="a.wav"') + b"z" * 200_000 + b"\r\n--b--\r\n"
        length = b"content-length: %d" % len(body)
        sent = head("/v1/audio/transcriptions", length, content_type="multipart/form-data; boundary=b") + body
        for begin in range(0, len(sent), 30_000):
            connection.data_received(sent[begin : begin + 30_000])
        connection.data_received(said("hello"))
        got = await client.answer()
        assert (got.status, got.json["text"]) == (200, "200000")
        assert (await client.answer()).status == 200
