"""A client that sends the same head again: each request is what it would be as the first of its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dataplane.receiving import DISCARDED
from gateway.dataplane.server import GatewayProtocol
from gateway.settings.model import Key, Settings
from tests.support.naming import counts, named, names
from tests.support.raw_upstream import LAST_CHUNK, RawUpstream, chunk, raw_upstream
from tests.support.wire import FORM_START, Wire, chat, head, post, wire
from tests.support.worker import KEY, RunningWorker, provider, running_worker, settings_for

PATH = "/v1/chat/completions"
OTHER = "gw_test_other"
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
LARGE = "large ".ljust(90_000, "x")
WAIT_FOR = b"x-gateway-timeout: total=20"


class Served:
    """``parsed`` is what went to the parser of the client's connection."""

    def __init__(self, gateway: RunningWorker, upstream: RawUpstream, config: Settings) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.config = config
        self.parsed = b""

    def watch(self, connection: GatewayProtocol) -> None:
        connection.parser = Watched(connection.parser, self)  # type: ignore[assignment]


class Watched:
    """A parser, and what it was fed."""

    def __init__(self, parser: Any, served: Served) -> None:
        self._parser = parser
        self._served = served

    def feed_data(self, data: bytes) -> None:
        self._served.parsed += data
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[Served, Wire, GatewayProtocol]]:
    async with raw_upstream(names) as upstream:
        config = settings_for(provider(upstream.base_url))
        config = msgspec.structs.replace(config, keys=(*config.keys, Key(key=OTHER, name="other")))
        async with running_worker(config, tmp_path) as gateway, wire(gateway.address) as client:
            while not gateway.connections:  # noqa: ASYNC110
                await asyncio.sleep(0)
            (connection,) = gateway.connections
            at = Served(gateway, upstream, config)
            at.watch(connection)
            yield at, client, connection


def said(text: str, *extra: bytes, key: str = KEY) -> bytes:
    return post(PATH, chat(text), *extra, key=key)


def chunked(text: str) -> bytes:
    body = orjson.dumps(chat(text))
    return head(PATH, b"transfer-encoding: chunked") + chunk(body[:9]) + chunk(body[9:]) + LAST_CHUNK


async def told(client: Wire) -> str:
    got = await client.head()
    if got.status == 100:
        got = await client.head()
    await client.rest(got)
    assert got.complete
    return got.json["choices"][0]["message"]["content"] if got.status == 200 else str(got.status)


async def make_known(client: Wire) -> None:
    """Ask until the head of what :func:`said` says is known."""
    for _ in range(2):
        await client.send(said("a"))
        assert await told(client) == named("a")


REQUESTS: dict[str, tuple[bytes, str]] = {
    "short": (said("short"), named("short")),
    "long": (said("long " * 30), named("long " * 30)),
    "large": (said(LARGE), named(LARGE)),
    "another agent": (said("short", b"user-agent: two"), named("short") + "two"),
    "another key": (said("short", key=OTHER), named("short")),
    "nobody": (said("short", key="gw_test_none"), "401"),
    "no JSON": (post(PATH, b"{"), "400"),
    "empty": (post(PATH, b""), "400"),
    "a deadline": (said("short", WAIT_FOR), named("short")),
    "chunked": (chunked("chunks"), named("chunks")),
    "expecting": (said("short", b"expect: 100-continue"), named("short")),
}
USUAL = ["short", "long", "large", "no JSON", "empty"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_follows_whatever_in_reads_of_any_size(tmp_path: Path, data: st.DataObject) -> None:
    one = st.sampled_from(USUAL) | st.sampled_from(list(REQUESTS))
    runs = data.draw(st.lists(st.tuples(one, st.integers(1, 4)), min_size=1, max_size=4))
    kinds = [kind for kind, count in runs for _ in range(count)]
    sent = b"".join(REQUESTS[kind][0] for kind in kinds) + HEALTH
    ends = [0]
    for kind in kinds:
        ends.append(ends[-1] + len(REQUESTS[kind][0]))
    near = st.builds(lambda end, by: min(max(end + by, 0), len(sent)), st.sampled_from(ends), st.integers(-9, 200))
    places = near | st.integers(0, len(sent))
    cuts = sorted({0, *ends[1:], *data.draw(st.lists(places, max_size=9)), len(sent)})
    if data.draw(st.booleans()):
        cuts = [cut for cut in cuts if cut in (0, len(sent)) or cut not in ends]

    async def feed() -> None:
        async with served(tmp_path) as (_, client, connection):
            for begin, end in pairwise(cuts):
                connection.data_received(sent[begin:end])
            for kind in kinds:
                assert await told(client) == REQUESTS[kind][1], kind
            assert (await client.answer()).json["status"] == "healthy"

    asyncio.run(feed())


async def test_a_head_that_is_repeated_is_parsed_twice(tmp_path: Path) -> None:
    async with served(tmp_path) as (at, client, _):
        for text in ("a", "b" * 20, "c" * 300, LARGE, "e"):
            await client.send(said(text))
            assert await told(client) == named(text)
        assert at.parsed == said("a") + said("b" * 20)
        assert [event.credential for event in await at.gateway.usage(5)] == ["unit"] * 5
        await client.send(HEALTH)
        assert (await client.answer()).status == 200
        assert at.parsed.endswith(HEALTH)
        for _ in range(2):
            await client.send(said("g"))
            assert await told(client) == named("g")
        assert at.parsed.endswith(HEALTH)


async def test_many_at_once_are_answered_in_order(tmp_path: Path) -> None:
    async with served(tmp_path) as (at, client, _):
        for text in ("a", "b"):
            await client.send(said(text))
            await told(client)
        before = len(at.parsed)
        texts = [f"text {number}" for number in range(40)]
        await client.send(b"".join(said(text) for text in texts))
        assert [await told(client) for _ in texts] == [named(text) for text in texts]
        assert len(at.parsed) == before


async def test_a_key_that_was_taken_out_is_refused_though_its_head_is_known(tmp_path: Path) -> None:
    async with served(tmp_path) as (at, client, _):
        for _ in range(3):
            await client.send(said("a"))
            assert await told(client) == named("a")
        await at.gateway.take_up(msgspec.structs.replace(at.config, keys=at.config.keys[1:]), tmp_path)
        for request, expected in ((said("a"), "401"), (said("a", key=OTHER), named("a"))):
            await client.send(request)
            assert await told(client) == expected


async def test_a_body_that_is_too_large_is_refused_though_its_head_is_known(tmp_path: Path) -> None:
    async with served(tmp_path) as (at, client, _):
        await make_known(client)
        before = at.parsed
        too_many = at.gateway.worker.max_body_bytes + DISCARDED
        await client.send(head(PATH, b"content-length: %d" % too_many) + b"{")
        refused = await client.answer()
        assert (refused.status, refused.headers["connection"]) == (413, "close")
        assert at.parsed == before
        assert await client.at_end()
        assert len(at.upstream.requests) == 2


async def test_a_worker_that_ends_says_so_though_the_head_is_known(tmp_path: Path) -> None:
    async with served(tmp_path) as (at, client, _):
        await make_known(client)
        at.gateway.worker.draining = at.gateway.worker.leaving = True
        await client.send(said("a"))
        refused = await client.answer()
        assert (refused.status, refused.code, refused.headers["connection"]) == (503, "shutting_down", "close")


@pytest.mark.parametrize("at_once", [True, False])
async def test_nothing_is_served_behind_a_last_request(tmp_path: Path, at_once: bool) -> None:
    async with served(tmp_path) as (at, client, connection):
        for _ in range(3):
            await client.send(said("a"))
            await told(client)
        last = said("b", b"connection: close")
        for data in (last + said("a"),) if at_once else (last, said("a")):
            connection.data_received(data)
        assert await told(client) == named("b")
        assert await client.at_end()
        assert len(at.upstream.requests) == 4


async def test_a_body_that_breaks_off_asks_no_upstream(tmp_path: Path) -> None:
    async with served(tmp_path) as (at, client, connection):
        await make_known(client)
        await client.send(said("a")[:-1])
        client.leave()
        while connection in at.gateway.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert len(at.upstream.requests) == 2


async def test_a_body_may_come_in_many_reads(tmp_path: Path) -> None:
    async with served(tmp_path) as (at, client, connection):
        await make_known(client)
        sent = said(LARGE) + said("b") + said(LARGE)
        before = at.parsed
        for begin in range(0, len(sent), 20_000):
            connection.data_received(sent[begin : begin + 20_000])
        assert [await told(client) for _ in range(3)] == [named(LARGE), named("b"), named(LARGE)]
        assert len(at.parsed) - len(before) < len(said(LARGE)), "of the first and second nothing"


async def test_a_head_is_what_a_read_begins_with(tmp_path: Path) -> None:
    """What ends one message is no part of the next one's head, though both came at once."""
    async with served(tmp_path) as (at, client, connection):
        await client.send(said("a"))
        await told(client)
        body, odd = orjson.dumps(chat("a")), b"user-agent: odd"
        connection.data_received(head(PATH, odd, b"content-length: %d" % len(body)) + body[:5])
        connection.data_received(body[5:] + said("a", odd))
        assert [await told(client) for _ in range(2)] == [named("a") + "odd"] * 2
        connection.data_received(body[5:] + said("a", odd))
        assert await told(client) == "400"
        assert await client.at_end()
        assert len(at.upstream.requests) == 3


async def test_a_head_that_comes_in_two_reads_changes_nothing_of_the_one_before(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, connection):
        for sent in (said("a"), said("a"), said("a", b"user-agent: odd"), said("a")):
            for part in (sent[:40], sent[40:]) if b"odd" in sent else (sent,):
                connection.data_received(part)
            assert await told(client) == named("a") + "odd" * (b"odd" in sent)


async def test_of_several_heads_in_a_read_none_is_taken_for_another(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, connection):
        await client.send(said("a"))
        await told(client)
        one, two = (said("a", b"user-agent: " + name) for name in (b"one", b"two"))
        for sent in (one + two, one, two, two + one, one, one + two + one, two):
            connection.data_received(sent)
            agents = [line.removeprefix(b"user-agent: ").decode() for line in sent.split(b"\r\n") if b"agent" in line]
            assert [await told(client) for _ in agents] == [named("a") + agent for agent in agents]


async def test_what_upstreams_are_told_of_the_client_is_repeated_too(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, __):
        for _ in range(4):
            await client.send(said("a", b"user-agent: odd"))
            assert await told(client) == named("a") + "odd"


async def test_forms_may_have_a_head_that_is_repeated(tmp_path: Path) -> None:
    async with (
        raw_upstream(counts) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        start = FORM_START.replace(b'name="file"', b'name="file"; filename="a.wav"')
        for size in (1, 20, 300, 90_000, 5):
            body = start + b"z" * size + b"\r\n--b--\r\n"
            length = b"content-length: %d" % len(body)
            sent = head("/v1/audio/transcriptions", length, content_type="multipart/form-data; boundary=b") + body
            for begin in range(0, len(sent), 30_000):
                await client.send(sent[begin : begin + 30_000])
            assert (await client.answer()).json["text"] == str(size)
        assert len(await gateway.usage(5)) == 5


async def test_an_older_client_is_answered_as_such_each_time(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, __):
        for _ in range(4):
            await client.send(post(PATH, chat("a"), b"connection: keep-alive", version="1.0"))
            got = await client.answer()
            assert (got.status, got.headers["connection"]) == (200, "keep-alive")


async def test_each_request_has_what_its_head_says(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client, connection):
        lengths = []
        for text in ("a", "bb", "ccc", "dddd"):
            connection.data_received(said(text, b"x-gateway-timeout: total=20", b"x-gateway-stream-recovery: restart"))
            exchange = connection.cycle
            lengths.append(int(exchange.headers["content-length"]))
            assert (exchange.declared_length, exchange.wanted.total) == (lengths[-1], 20.0)
            assert (exchange.recovery, exchange.content_type) == ("restart", b"application/json")
            assert await told(client) == named(text)
        assert lengths == [lengths[0] + number for number in range(4)]
