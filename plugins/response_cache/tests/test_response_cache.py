from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Answer, NoConfig, Plugin, PluginContext, Request, Response
from gateway.plugin.chain import Chain
from gateway.plugin.load import PluginError
from plugins.response_cache import ResponseCache
from plugins.response_cache.keys import key_of
from plugins.response_cache.store import COOLDOWN, Store
from tests.support.plugins import configured, delta, make_request, run_stream, sse, usage_event
from tests.support.redis_server import RedisServer, running_redis

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
STREAM = {**BODY, "stream": True}
EVENTS = sse(delta("he"), delta("llo"), delta(finish="stop"), "[DONE]")
ANSWER = b'{"choices":[{"message":{"content":"hello"}}]}'


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def chain(request: pytest.FixtureRequest) -> AsyncIterator[Chain]:
    config: dict[str, Any] = {"backend": request.param, "namespace": request.node.name[:60], "wait": 30}
    url = request.getfixturevalue("redis").url if request.param == "redis" else None
    if url is not None:
        config["timeout"] = 10.0
    chain = configured("response_cache", config, redis_url=url)
    await chain.start()
    yield chain
    await chain.stop()


def cache_of(chain: Chain) -> ResponseCache:
    plugin = next(plugin for plugin in chain.plugins if isinstance(plugin, ResponseCache))
    return plugin


async def ask(chain: Chain, body: dict[str, Any] | None = None, **more: Any) -> tuple[Answer | None, Request]:
    request = make_request(BODY if body is None else body, chain=chain, **more)
    return await chain.request(request), request


async def serve(chain: Chain, body: dict[str, Any] | None = None, answer: bytes = ANSWER, **more: Any) -> Request:
    """A request that misses and is answered by the upstream."""
    found, request = await ask(chain, body, **more)
    assert found is None
    await chain.response(request, Response(200, "application/json", answer))
    await chain.usage(request, usage_event())
    await cache_of(chain).store.settled()
    return request


async def serve_stream(chain: Chain, events: list[bytes], **more: Any) -> None:
    found, request = await ask(chain, STREAM, **more)
    assert found is None
    assert await run_stream(chain, request, events) == events
    await chain.usage(request, usage_event())
    await cache_of(chain).store.settled()


async def test_the_second_same_request_is_answered_from_the_cache(chain: Chain) -> None:
    first = await serve(chain)
    assert first.response_headers == {"x-gateway-cache": "miss"}
    answer, second = await ask(chain)
    assert answer is not None
    assert (answer.body, answer.status, answer.content_type, answer.cached) == (ANSWER, 200, "application/json", True)
    assert answer.events is None
    assert second.response_headers["x-gateway-cache"] == "hit"
    assert 0 <= int(second.response_headers["age"]) < 60


async def test_a_stream_is_replayed_as_it_was(chain: Chain) -> None:
    await serve_stream(chain, [EVENTS[0], EVENTS[1], EVENTS[2], EVENTS[3]])
    answer, _ = await ask(chain, STREAM)
    assert answer is not None
    assert answer.events is not None
    assert list(answer.events) == EVENTS
    assert answer.cached
    assert (await ask(chain))[0] is None


async def test_organisations_share_nothing(chain: Chain) -> None:
    await serve(chain, organization="acme")
    await serve(chain, organization="acme2")
    answer, _ = await ask(chain, organization="acme")
    assert answer is not None


async def test_comments_are_not_replayed(chain: Chain) -> None:
    await serve_stream(chain, [b": keep-alive\n\n", *EVENTS])
    answer, _ = await ask(chain, STREAM)
    assert answer is not None
    assert answer.events is not None
    assert list(answer.events) == EVENTS


@pytest.mark.parametrize(
    "events",
    [
        EVENTS[:-1],
        [EVENTS[0], *sse({"error": {"message": "broke"}}, "[DONE]")],
        [EVENTS[0], b"event: error\ndata: {}\n\n", EVENTS[-1]],
    ],
)
async def test_a_stream_that_did_not_end_well_is_not_stored(events: list[bytes]) -> None:
    chain = configured("response_cache")
    await serve_stream(chain, events)
    assert (await ask(chain, STREAM))[0] is None


async def test_text_about_errors_is_stored_all_the_same() -> None:
    chain = configured("response_cache")
    events = [*sse(delta("an error"), {**delta("x"), "error": None}), EVENTS[-1]]
    await serve_stream(chain, events)
    assert (await ask(chain, STREAM))[0] is not None


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (500, "application/json", ANSWER),
        (201, "application/json", ANSWER),
        (200, "text/html", ANSWER),
        (200, "application/json", b"{broken"),
        (200, "application/json", b'{"error":{"message":"no"}}'),
        (200, "application/json", b'{"x":"' + b"x" * 1000 + b'"}'),
    ],
)
async def test_only_whole_successful_answers_are_stored(status: int, kind: str, body: bytes) -> None:
    chain = configured("response_cache", {"max_body_bytes": 500})
    _, request = await ask(chain)
    await chain.response(request, Response(status, kind, body))
    await cache_of(chain).store.settled()
    assert (await ask(chain))[0] is None


async def test_a_stream_that_is_too_long_is_not_stored() -> None:
    chain = configured("response_cache", {"max_body_bytes": 200})
    await serve_stream(chain, EVENTS)
    assert (await ask(chain, STREAM))[0] is None


@pytest.mark.parametrize(
    ("header", "stored", "answered"),
    [("no-store", False, False), ("no-cache", True, False), ("max-age=60", True, True), ("max-age=0", True, True)],
)
async def test_cache_control_is_honoured(header: str, stored: bool, answered: bool) -> None:
    chain = configured("response_cache")
    request = await serve(chain, headers={"cache-control": header})
    bypassed = header in ("no-store", "no-cache")
    assert request.response_headers["x-gateway-cache"] == ("bypass" if bypassed else "miss")
    assert ((await ask(chain))[0] is not None) is stored
    if stored:
        answer, request = await ask(chain, headers={"cache-control": header})
        assert (answer is not None) is answered


async def test_an_entry_older_than_max_age_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = configured("response_cache")
    await serve(chain)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert (await ask(chain, headers={"cache-control": "max-age=99"}))[0] is None
    answer, request = await ask(chain, headers={"cache-control": "max-age=100"})
    assert answer is not None
    assert request.response_headers["age"] == "100"


async def test_only_if_cached_never_goes_upstream() -> None:
    chain = configured("response_cache")
    with pytest.raises(GatewayError) as caught:
        await ask(chain, headers={"cache-control": "only-if-cached"})
    assert (caught.value.kind, caught.value.code) == (Kind.TIMEOUT, "not_cached")
    await serve(chain)
    assert (await ask(chain, headers={"cache-control": "Only-If-Cached"}))[0] is not None


async def test_other_endpoints_and_bodies_are_left_alone() -> None:
    chain = configured("response_cache")
    for request in (make_request(None, chain=chain), make_request(BODY, endpoint="images.generations", chain=chain)):
        assert await chain.request(request) is None
        await chain.response(request, Response(200, "application/json", ANSWER))
        assert request.response_headers == {}


async def waiting_for(chain: Chain, leader: Request, count: int) -> None:
    """Until so many requests wait for the leader's answer."""
    future = cache_of(chain)._leaders[key_of(leader)]
    while len(future._callbacks or ()) < count:  # noqa: ASYNC110 - each turn lets the others run one step
        await asyncio.sleep(0)


async def test_the_same_requests_at_once_are_asked_once(chain: Chain) -> None:
    _, leader = await ask(chain)
    followers = [asyncio.create_task(ask(chain)) for _ in range(5)]
    strangers = asyncio.create_task(ask(chain, organization="other"))
    assert (await strangers)[0] is None
    await waiting_for(chain, leader, 5)
    await chain.response(leader, Response(200, "application/json", ANSWER))
    for answer, request in await asyncio.gather(*followers):
        assert answer is not None
        assert (answer.body, request.response_headers["x-gateway-cache"]) == (ANSWER, "hit")


@pytest.mark.parametrize("end", ["usage", "error", "failed answer"])
async def test_a_leader_that_fails_sets_the_others_free(chain: Chain, end: str) -> None:
    _, leader = await ask(chain)
    followers = [asyncio.create_task(ask(chain)) for _ in range(2)]
    await waiting_for(chain, leader, 2)
    if end == "usage":
        await chain.usage(leader, usage_event(outcome="cancelled"))
    elif end == "error":
        await chain.error(leader, GatewayError(Kind.UPSTREAM, "upstream_error", "x"))
    else:
        await chain.response(leader, Response(500, "application/json", b"{}"))
    assert [answer for answer, _ in await asyncio.gather(*followers)] == [None, None]


async def test_a_follower_that_leaves_disturbs_nobody() -> None:
    chain = configured("response_cache")
    _, leader = await ask(chain)
    leaver, stayer = asyncio.create_task(ask(chain)), asyncio.create_task(ask(chain))
    await waiting_for(chain, leader, 2)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    await chain.response(leader, Response(200, "application/json", ANSWER))
    assert (await stayer)[0] is not None


async def test_waiting_for_a_leader_has_an_end() -> None:
    chain = configured("response_cache", {"wait": 0.01})
    await ask(chain)
    assert (await ask(chain))[0] is None


async def test_coalescing_can_be_off_and_streams_never_wait() -> None:
    chain = configured("response_cache", {"coalesce": False})
    assert [(await ask(chain))[0] for _ in range(2)] == [None, None]
    chain = configured("response_cache")
    assert [(await ask(chain, STREAM))[0] for _ in range(2)] == [None, None]


async def test_a_cached_answer_passes_back_through_the_plugins_before() -> None:
    class Marks(Plugin):
        name = "marks"

        def on_response(self, request: Request, response: Response) -> None:
            response.body += b" marked"

    context = PluginContext(data_dir=".", redis_url=None)
    cache = configured("response_cache").plugins[0]
    chain = Chain([(Marks(NoConfig(), context), "closed"), (cache, "open")])
    await serve(chain)
    answer, _ = await ask(chain)
    assert answer is not None
    assert answer.body == ANSWER + b" marked"


async def test_entries_end_after_their_time(redis: RedisServer) -> None:
    for backend in ("memory", "redis"):
        config = {"backend": backend, "ttl": 0.05, "namespace": "ttl", "timeout": 10.0}
        chain = configured("response_cache", config, redis_url=redis.url)
        await chain.start()
        await serve(chain)
        deadline = time.monotonic() + 20
        while (await ask(chain))[0] is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
        await chain.stop()


async def test_two_gateways_share_a_redis_but_not_across_namespaces(redis: RedisServer) -> None:
    chains = [
        configured("response_cache", {"backend": "redis", "namespace": name, "timeout": 10.0}, redis_url=redis.url)
        for name in ("shared", "shared", "own")
    ]
    for chain in chains:
        await chain.start()
    await serve(chains[0])
    assert (await ask(chains[1]))[0] is not None
    assert (await ask(chains[2]))[0] is None
    for chain in chains:
        await chain.stop()


async def test_requests_go_on_while_redis_is_down_and_the_cache_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    with running_redis() as server:
        chain = configured("response_cache", {"backend": "redis", "coalesce": False}, redis_url=server.url)
        await chain.start()
        cache = cache_of(chain)
        await serve(chain)
        server.stop()
        for _ in range(20):
            await serve(chain)
        assert cache.store.failures == 1
        assert len([record for record in caplog.records if record.name == "gateway.plugin"]) == 1
        server.start()
        cache.store._down_until -= COOLDOWN
        await serve(chain)
        assert (await ask(chain))[0] is not None
        await chain.stop()


async def test_a_redis_that_does_not_answer_costs_one_deadline_and_then_nothing() -> None:
    accepted: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = {"backend": "redis", "timeout": 0.05, "coalesce": False}
    chain = configured("response_cache", config, redis_url=f"redis://127.0.0.1:{port}/0")
    await chain.start()
    for _ in range(10):
        assert (await ask(chain))[0] is None
    assert cache_of(chain).store.failures == 1
    await chain.stop()
    for writer in accepted:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_what_another_version_stored_is_a_miss() -> None:
    chain = configured("response_cache")
    request = make_request(BODY, chain=chain)
    await cache_of(chain).store._cache.set(key_of(request), b"\xc1 not ours")
    assert await chain.request(request) is None


async def test_writes_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.response_cache.store.MAX_PENDING", 2)
    chain = configured("response_cache")
    await chain.start()
    store: Store = cache_of(chain).store
    for content in "abc":
        _, request = await ask(chain, {**BODY, "messages": [{"role": "user", "content": content}]})
        await chain.response(request, Response(200, "application/json", ANSWER))
        assert len(store._pending) <= 2
    await chain.stop()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"backend": "disk"}, "plugins[0].with.backend: expected one of memory, redis"),
        ({"backend": "redis"}, "plugins[0].with.backend: backend redis needs redis_url"),
        ({"ttl": 0}, "plugins[0].with.ttl: expected `float` >="),
        ({"tll": 5}, 'plugins[0].with.tll: unknown key (did you mean "ttl"?)'),
    ],
)
def test_a_bad_configuration_is_explained(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(PluginError) as caught:
        configured("response_cache", config)
    assert expected in str(caught.value)


def test_a_missing_redis_package_is_told_with_its_remedy() -> None:
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from pathlib import Path\n"
        "from gateway.plugin.api import PluginContext\n"
        "from gateway.plugin.load import PluginError, load_plugins\n"
        "from gateway.settings.model import PluginUse\n"
        "use = PluginUse(name='response_cache', with_={'backend': 'redis'})\n"
        "try:\n"
        "    load_plugins([use], PluginContext(data_dir='.', redis_url='redis://127.0.0.1:1'), Path())\n"
        "except PluginError as error:\n"
        "    print(error)\n"
    )
    # A process of its own: here the package is imported already.
    told = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert "plugins[0].with.backend: backend redis needs the package redis, which is not installed" in told
    assert ".venv/bin/python -m pip install -e '.[redis]' in the gateway's checkout" in told
