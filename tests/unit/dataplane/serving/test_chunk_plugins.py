"""Plugins in a stream: waiting for one changes nothing of what the client gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Plugin, PluginContext, Request
from gateway.plugin.failures import Fail
from gateway.plugin.sse import data_of
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    Peer,
    Script,
    chunk,
    delta,
    raw_upstream,
    usage_event,
)
from tests.support.wire import Answer, chat, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

CONTEXT = PluginContext(data_dir=".", redis_url=None)
Change = Callable[[bytes], bytes]


def at_once(change: Change) -> Plugin:
    class AtOnce(Plugin):
        name = "changes"

        def on_chunk(self, request: Request, event: bytes) -> bytes:
            return change(event)

    return AtOnce(None, CONTEXT)


def waiting(change: Change, turns: int = 3) -> Plugin:
    class Waits(Plugin):
        name = "changes"

        async def on_chunk(self, request: Request, event: bytes) -> bytes:
            for _ in range(turns):
                await asyncio.sleep(0)
            return change(event)

    return Waits(None, CONTEXT)


def shout(event: bytes) -> bytes:
    return event.replace(b"text", b"TEXT")


def double(event: bytes) -> bytes:
    return event if DONE in event else event + event


def swallow(event: bytes) -> bytes:
    return b"" if data_of(event) is not None and b"drop" in event else event


def refuse(event: bytes) -> bytes:
    if b"bad" in event:
        raise GatewayError(Kind.FORBIDDEN, "not_that_word", "That word may not be said.")
    return event


def breaks(event: bytes) -> bytes:
    if b"text 3" in event:
        raise RuntimeError("a fault of the plugin")
    return event


def sends(*pieces: bytes, end: bytes | None = LAST_CHUNK) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, *(chunk(piece) for piece in pieces))
        if end is None:
            peer.close()
        else:
            await peer.send(end)
            await peer.gone()

    return script


TEXTS = [delta(f"text {number}") for number in range(8)]
FINISH = delta("", "stop")
CRLF = [event.replace(b"\n", b"\r\n") for event in (*TEXTS, FINISH, DONE)]
STREAMS: dict[str, Script] = {
    "whole": sends(*TEXTS, FINISH, usage_event(), DONE),
    "in one write": sends(b"".join([*TEXTS, FINISH, usage_event(), DONE])),
    "cut anywhere": sends(*(b"".join([*TEXTS, FINISH, DONE])[at : at + 11] for at in range(0, 1000, 11))),
    "crlf": sends(*CRLF),
    "without done": sends(*TEXTS, FINISH),
    "with words to drop": sends(delta("a"), delta("drop"), delta("b drop"), FINISH, DONE),
    "all to drop": sends(delta("drop"), delta("drop", "stop"), DONE),
    "cut off": sends(*TEXTS, end=None),
    "stopped": sends(*TEXTS),
    "refused first": sends(delta("bad"), *TEXTS, FINISH, DONE),
    "refused later": sends(*TEXTS, delta("bad"), *TEXTS, FINISH, DONE),
    "an error inside": sends(*TEXTS, b'data: {"error":{"message":"x"}}\n\n'),
    "more than waits": sends(*([delta("text " + "x" * 5000)] * 200), FINISH, DONE),
}


async def relayed(
    tmp_path: Path, script: Script, *plugins: Plugin, fail: Fail = "closed"
) -> tuple[Answer, RunningWorker]:
    async with (
        raw_upstream(script) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(each, fail) for each in plugins]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        got = await client.answer()
        await gateway.usage()
        return got, gateway


def seen(got: Answer, gateway: RunningWorker) -> tuple[object, ...]:
    event = gateway.sink.events[0]
    return got.status, got.body, got.complete, event.outcome, event.status, event.tokens, event.attempts[-1].reason


@pytest.mark.parametrize("change", [shout, double, swallow, refuse, breaks])
@pytest.mark.parametrize("stream", STREAMS)
async def test_a_hook_that_waits_gives_what_a_plain_one_gives(tmp_path: Path, stream: str, change: Change) -> None:
    plain = seen(*await relayed(tmp_path, STREAMS[stream], at_once(change)))
    waited = seen(*await relayed(tmp_path, STREAMS[stream], waiting(change)))
    assert waited == plain


@pytest.mark.parametrize("make", [at_once, waiting])
async def test_what_the_client_gets(tmp_path: Path, make: Callable[[Change], Plugin]) -> None:
    got, gateway = await relayed(tmp_path, STREAMS["whole"], make(shout))
    assert got.body == b"".join(map(shout, TEXTS)) + FINISH + DONE
    assert gateway.sink.events[0].tokens.completion == 2


@pytest.mark.parametrize("make", [at_once, waiting])
async def test_a_refusal_before_the_first_event_is_a_plain_error(
    tmp_path: Path, make: Callable[[Change], Plugin]
) -> None:
    got, gateway = await relayed(tmp_path, STREAMS["refused first"], make(refuse))
    assert (got.status, got.code) == (403, "not_that_word")
    assert gateway.sink.events[0].outcome == "error"


@pytest.mark.parametrize("make", [at_once, waiting])
async def test_a_refusal_later_is_the_last_event(tmp_path: Path, make: Callable[[Change], Plugin]) -> None:
    got, _ = await relayed(tmp_path, STREAMS["refused later"], make(refuse))
    assert got.complete
    assert got.body.startswith(b"".join(TEXTS) + b'data: {"error":')
    assert b"not_that_word" in got.body
    assert b"bad" not in got.body


@pytest.mark.parametrize("make", [at_once, waiting])
async def test_a_stream_of_which_nothing_is_left_is_still_a_stream(
    tmp_path: Path, make: Callable[[Change], Plugin]
) -> None:
    got, gateway = await relayed(tmp_path, STREAMS["all to drop"], make(lambda event: b""))
    assert got.status == 200
    assert got.headers["content-type"].startswith("text/event-stream")
    assert (got.body, got.complete) == (b"", True)
    assert gateway.sink.events[0].outcome == "ok"


async def test_events_before_a_broken_connection_reach_the_client_in_order(tmp_path: Path) -> None:
    got, gateway = await relayed(tmp_path, STREAMS["cut off"], waiting(shout, turns=50))
    assert got.complete
    assert got.body.startswith(b"".join(map(shout, TEXTS)) + b'data: {"error":')
    assert gateway.sink.events[0].outcome == "cut"


async def test_a_client_that_leaves_while_a_plugin_waits(tmp_path: Path) -> None:
    class Stuck(Plugin):
        name = "stuck"

        async def on_chunk(self, request: Request, event: bytes) -> bytes:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            return event

    entered, left = asyncio.Event(), asyncio.Event()
    async with (
        raw_upstream(STREAMS["whole"]) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(Stuck(None, CONTEXT), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        await asyncio.wait_for(entered.wait(), 30)
        client.leave()
        await asyncio.wait_for(left.wait(), 30)
        (event,) = await gateway.usage()
        assert event.outcome == "cancelled"
