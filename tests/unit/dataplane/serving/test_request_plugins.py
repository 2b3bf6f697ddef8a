"""Plugins at a request's start: whatever way they wait, the request is served the same and can be left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.plugin.api import Answer, Plugin, PluginContext, Request
from tests.support.raw_upstream import WAIT, raw_upstream, serve_completions
from tests.support.wire import chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

CONTEXT = PluginContext(data_dir=".", redis_url=None)
Work = Callable[[], Awaitable[None]]


class Coroutine(Plugin):
    """A hook that is a coroutine function."""

    name = "waits"
    work: Work

    async def on_request(self, request: Request) -> None:
        await self.work()


class ReturnsCoroutine(Plugin):
    """A plain hook that returns a coroutine."""

    name = "waits"
    work: Work

    def on_request(self, request: Request) -> Awaitable[Answer | None]:
        async def wait() -> None:
            await self.work()

        return wait()


class ReturnsFuture(Plugin):
    """A plain hook that returns a future."""

    name = "waits"
    work: Work

    def on_request(self, request: Request) -> Awaitable[Answer | None]:
        return asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        await self.work()


KINDS: list[type[Coroutine | ReturnsCoroutine | ReturnsFuture]] = [Coroutine, ReturnsCoroutine, ReturnsFuture]


def plugin(kind: type[Coroutine | ReturnsCoroutine | ReturnsFuture], work: Work) -> Plugin:
    made = kind(None, CONTEXT)
    made.work = work
    return made


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def with_a_timeout() -> None:
    """As HTTP clients do it: with a time limit, which only a task has."""
    async with asyncio.timeout(WAIT):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("work", [turns, with_a_timeout])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_hook_may_wait_in_any_way(
    tmp_path: Path, kind: type[Coroutine | ReturnsCoroutine | ReturnsFuture], work: Work
) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(plugin(kind, work), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        for _ in range(3):
            await client.send(post("/v1/chat/completions", chat()))
            assert (await client.answer()).status == 200
        assert [event.outcome for event in await gateway.usage(3)] == ["ok"] * 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_may_leave_while_a_hook_waits(
    tmp_path: Path, kind: type[Coroutine | ReturnsCoroutine | ReturnsFuture]
) -> None:
    async def stuck() -> None:
        entered.set()
        await go.wait()

    entered, go = asyncio.Event(), asyncio.Event()
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(plugin(kind, stuck), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat()))
        async with asyncio.timeout(WAIT):
            await entered.wait()
        client.leave()
        (event,) = await gateway.usage()
        assert event.outcome == "cancelled"
        assert gateway.runtime.active == 0
        assert upstream.requests == []
        go.set()
