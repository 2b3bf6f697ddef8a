"""Copies of requests: what is sent, recorded and paid, and that the client notices nothing of it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.contract.usage import Tokens, UsageEvent
from gateway.dataplane.admission import replay
from gateway.dataplane.concurrency import Limit as Limiting
from gateway.dataplane.shadowing import LARGEST, Mirror, Spending
from gateway.settings.model import Concurrency, Limit, Model, Price, Settings, Shadow, Target
from tests.support.raw_upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    WAIT,
    Peer,
    RawUpstream,
    Script,
    answer,
    chunk,
    completion,
    raw_upstream,
    serve_completions,
)
from tests.support.streams import QUICK, ask, sent, stream, whole
from tests.support.worker import RunningWorker, provider, running_worker, settings_for


def settings(first: str, second: str, shadow: Shadow, *limits: Limit) -> Settings:
    models = (
        Model(name="m", targets=(Target(provider="up", model="x"),), shadow=shadow),
        Model(name="next", targets=(Target(provider="spare", model="y"),)),
    )
    return settings_for(
        provider(first, timeouts=QUICK),
        provider(second, "spare", timeouts=QUICK),
        models=models,
        prices=(Price(provider="spare", model="y", input_per_1k=0.001, output_per_1k=0.002),),
        limits=limits,
        max_body_bytes=4_000_000,
    )


@asynccontextmanager
async def mirrored(
    directory: Path, second: Script, shadow: Shadow | None = None, *limits: Limit, first: Script = serve_completions
) -> AsyncIterator[tuple[RunningWorker, RawUpstream, Mirror]]:
    async with raw_upstream(first) as up, raw_upstream(second) as spare:
        made = settings(up.base_url, spare.base_url, shadow or Shadow(model="next", budget=1.0), *limits)
        async with running_worker(made, directory) as gateway:
            mirror = gateway.runtime.router.routes["m"].mirror
            assert mirror is not None
            yield gateway, spare, mirror
            async with asyncio.timeout(WAIT):
                while mirror.running:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)


def copies(events: list[UsageEvent]) -> list[UsageEvent]:
    return [event for event in events if event.outcome == "shadow"]


async def test_the_answer_is_recorded_and_not_returned(tmp_path: Path) -> None:
    async def other(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(completion("never seen", prompt=7, completion=3)))

    async with mirrored(tmp_path, other) as (gateway, spare, mirror):
        got = await ask(gateway, stream=False, temperature=0.5)
        assert b"never seen" not in got.body
        assert got.headers["x-gateway-attempts"] == "1"
        events = await gateway.usage(2)
        copy = copies(events)[0]
        own = next(event for event in events if event.outcome == "ok")
        assert copy.id == f"{own.id}-shadow"
        assert copy.tags == {"shadow_of": own.id, "asked": "m"}
        assert (copy.model, copy.provider, copy.target, copy.status) == ("next", "spare", "y", 200)
        assert (copy.tokens, copy.cost_nanos) == (Tokens(), 0), "nobody is billed for it"
        attempt = copy.attempts[0]
        assert (attempt.reason, attempt.tokens) == ("ok", Tokens(prompt=7, completion=3))
        assert attempt.cost_nanos == 7 * 1_000 + 3 * 2_000 == mirror.spending.nanos
        assert len(own.attempts) == 1
        body = sent(spare.requests[0])
        assert (body["model"], body["temperature"]) == ("y", 0.5)
        assert (mirror.made, mirror.passed) == (1, 0)


async def test_a_stream_is_copied_as_one_and_its_usage_asked_for(tmp_path: Path) -> None:
    async def streams(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(STREAM_HEAD, *map(chunk, whole("one ", "two", prompt=9)), LAST_CHUNK)

    async with mirrored(tmp_path, streams, first=streams) as (gateway, spare, _):
        got = await stream(gateway)
        assert got.text == "one two"
        assert not any("usage" in document for document in got.documents)
        attempt = copies(await gateway.usage(2))[0].attempts[0]
        assert attempt.tokens == Tokens(prompt=9, completion=2)
        assert sent(spare.requests[0])["stream_options"] == {"include_usage": True}


async def fails(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer(b'{"error":{"message":"no"}}', status=b"500 Oops"))
    peer.close()


async def resets(peer: Peer) -> None:
    await peer.request()
    peer.close(reset=True)


async def stalls(peer: Peer) -> None:
    await peer.request()
    await peer.send(STREAM_HEAD, chunk(whole("one")[1]))
    await peer.gone()


@pytest.mark.parametrize(("script", "reason"), [(fails, "status_500"), (resets, "reset"), (stalls, "stall_timeout")])
async def test_a_copy_that_fails_is_recorded_once_and_never_tried_again(
    tmp_path: Path, script: Script, reason: str
) -> None:
    async with mirrored(tmp_path, script) as (gateway, spare, _):
        assert (await ask(gateway, stream=False)).status == 200
        copy = copies(await gateway.usage(2))[0]
        assert [attempt.reason for attempt in copy.attempts] == [reason]
        assert len(spare.requests) == 1
        assert gateway.runtime.router.routes["next"].targets[0].breaker.failures == 0, "clients' targets are not judged"


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def test_the_client_waits_for_no_copy_and_its_memory_goes(tmp_path: Path) -> None:
    async with mirrored(tmp_path, silent) as (gateway, spare, mirror):
        begun = time.monotonic()
        assert (await ask(gateway, stream=False)).status == 200
        assert time.monotonic() - begun < 5.0
        await spare.until(lambda: len(spare.requests) == 1)
        assert mirror.running == 1
        (copy,) = (handler for pool in gateway.runtime.pools.values() for handler in (c.handler for c in pool.active))
        gc.collect()
        held = {type(found).__name__ for found in gc.get_referents(copy)}
        assert not held & {"Exchange", "Attempt", "GatewayProtocol", "bytes"}
        for peer in spare.peers:
            peer.close()


async def test_the_budget_ends_copies_and_a_day_begins_anew(tmp_path: Path) -> None:
    one = 28 * 1_000 + 10 * 2_000
    shadow = Shadow(model="next", budget=2.5 * one / 1e9)
    async with mirrored(tmp_path, silent, shadow) as (gateway, spare, mirror):
        for _ in range(4):
            await ask(gateway, stream=False, max_tokens=10)
        assert (mirror.made, mirror.passed) == (2, 2), mirror.spending.nanos
        await spare.until(lambda: len(spare.requests) == 2)
        for peer in spare.peers:
            peer.close()
    spending = Spending()
    assert spending.take(60, 100, 86_400 * 5)
    assert not spending.take(60, 100, 86_400 * 5 + 86_399)
    spending.settle(60, 30)
    assert spending.take(60, 100, 86_400 * 5 + 86_399)
    assert spending.take(60, 100, 86_400 * 6)


async def test_a_copy_holds_a_place_and_waits_for_none(tmp_path: Path) -> None:
    async with mirrored(tmp_path, silent, Shadow(model="next", budget=100)) as (gateway, spare, mirror):
        target = gateway.runtime.router.routes["next"].targets[0]
        target.limit = limit = Limiting(Concurrency(min=1, max=1), target.name)
        for _ in range(3):
            await ask(gateway, stream=False)
        assert (mirror.made, mirror.passed, limit.in_flight, len(limit.room)) == (1, 2, 1, 0)
        await spare.until(lambda: len(spare.requests) == 1)
        for peer in spare.peers:
            peer.close()
    assert limit.in_flight == 0


async def test_no_more_copies_run_than_may(tmp_path: Path) -> None:
    async with mirrored(tmp_path, silent, Shadow(model="next", budget=100, concurrency=3)) as (gateway, spare, mirror):
        for _ in range(5):
            await ask(gateway, stream=False)
        assert (mirror.running, mirror.made, mirror.passed) == (3, 3, 2)
        await spare.until(lambda: len(spare.requests) == 3)
        for peer in spare.peers:
            peer.close()


async def test_a_share_is_copied_and_what_is_large_is_not(tmp_path: Path) -> None:
    async with mirrored(tmp_path, serve_completions, Shadow(model="next", budget=100, share=0.3)) as (
        gateway,
        _,
        mirror,
    ):
        for _ in range(150):
            await ask(gateway, stream=False)
        assert 20 < mirror.made < 75
        before = mirror.made
        for _ in range(20):
            await ask(gateway, stream=False, messages=[{"role": "user", "content": "x" * LARGEST}])
        assert mirror.made == before


async def test_a_copy_counts_against_no_limit(tmp_path: Path) -> None:
    limit = Limit(metric="requests", limit=100, window="month")
    async with mirrored(tmp_path, serve_completions, None, limit) as (gateway, _, _):
        await ask(gateway, stream=False)
        events = await gateway.usage(2)
        assert gateway.used("requests") == 1
        policy: Any = type("Policy", (), {"model": None, "provider": None})()
        assert [replay.counts(policy, event) for event in events] == [event.outcome != "shadow" for event in events]
