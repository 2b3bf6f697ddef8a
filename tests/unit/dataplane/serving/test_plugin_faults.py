"""What plugins do wrong, or late: the client still gets one well-formed answer and the usage event is the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.contract.usage import Tokens, UsageEvent
from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Plugin, PluginContext, Request, Response
from gateway.settings.model import Limit
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    Peer,
    answer,
    chunk,
    completion,
    delta,
    raw_upstream,
    serve_completions,
)
from tests.support.wire import FORM_START, chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

CONTEXT = PluginContext(data_dir=".", redis_url=None)
LIMITS = (Limit(metric="concurrency", limit=5),)


class Refuses(Plugin):
    name = "refuses"

    def on_response(self, request: Request, response: Response) -> None:
        raise GatewayError(Kind.FORBIDDEN, "not_that_word", "That word may not be said.")


class Shouts(Plugin):
    name = "shouts"

    def on_response(self, request: Request, response: Response) -> None:
        response.body = response.body.upper()


def on_request(change: Callable[[Request], None]) -> Plugin:
    class Changes(Plugin):
        name = "changes"

        def on_request(self, request: Request) -> None:
            change(request)

    return Changes(None, CONTEXT)


async def streams(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(STREAM_HEAD, chunk(delta("one")), chunk(delta("two", "stop")), chunk(DONE), LAST_CHUNK)


async def test_an_answer_that_is_refused_was_made_all_the_same(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(Refuses(None, CONTEXT), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat()))
        got = await client.answer()
        assert (got.status, got.code) == (403, "not_that_word")
        (event,) = await gateway.usage()
        assert (event.provider, event.target, event.tokens) == ("up", "x", Tokens(prompt=5, completion=2))
        assert [(attempt.provider, attempt.status) for attempt in event.attempts] == [("up", 200)]


async def inner_cancelled() -> None:
    inner = asyncio.ensure_future(asyncio.sleep(60))
    inner.cancel()
    await inner


async def late_cancelled() -> None:
    await asyncio.sleep(0.01)
    await inner_cancelled()


async def breaks() -> None:
    await asyncio.sleep(0)
    raise RuntimeError("a fault of the plugin")


@pytest.mark.parametrize("fault", [inner_cancelled, late_cancelled, breaks])
@pytest.mark.parametrize("at", [b"one", b"two", b"DONE"])
async def test_a_waiting_hook_that_fails_in_any_way_ends_the_stream(
    tmp_path: Path, at: bytes, fault: Callable[[], Any]
) -> None:
    class Fails(Plugin):
        name = "fails"

        async def on_chunk(self, request: Request, event: bytes) -> bytes:
            if at in event:
                await fault()
            return event

    async with (
        raw_upstream(streams) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url), limits=LIMITS), tmp_path, [(Fails(None, CONTEXT), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        got = await client.answer()
        assert got.complete
        assert b'"error"' in got.body
        if at == b"one":
            assert got.status == 500
        else:
            assert (got.status, b"one" in got.body, DONE in got.body) == (200, True, False)
        (event,) = await gateway.usage()
        assert event.outcome == "error"
        assert (gateway.used("concurrency"), gateway.runtime.active) == (0, 0)


class Unprintable:
    """An object that JSON has no form for."""


@pytest.mark.parametrize(
    "tags",
    [{"team": object()}, {Unprintable(): "x"}, {"a": "kept", "b": {1: object()}}],
    ids=["value", "name", "nested"],
)
async def test_a_tag_that_is_no_text_spoils_no_usage_event(tmp_path: Path, tags: dict[Any, Any]) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url), limits=LIMITS),
            tmp_path,
            [(on_request(lambda request: request.tags.update(tags)), "closed")],
        ) as gateway,
        wire(gateway.address) as client,
    ):
        for _ in range(2):
            await client.send(post("/v1/chat/completions", chat()))
            got = await client.answer()
            assert (got.status, got.body) == (200, completion())
        assert (gateway.used("concurrency"), gateway.runtime.active) == (0, 0)
        events = await gateway.usage(2)
        gateway.sink.file.flush()
        lines = b"".join(file.read_bytes() for file in (tmp_path / "usage").glob("*.jsonl")).splitlines()
        assert [orjson.loads(line)["id"] for line in lines] == [event.id for event in events]
        assert all(orjson.loads(line)["tags"].get("a", "kept") == "kept" for line in lines)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [("x-bad", 5), ("x-bad", None), ("x-bad\r\nx-split", "1"), ("x bad", "1"), ("", "1"), ("x-bad", "1\r\nx-split: 1")],
)
async def test_a_header_that_is_none_leaves_the_answer_well_formed(
    tmp_path: Path, name: str, value: Any, stream: bool
) -> None:
    plugin = on_request(
        lambda request: request.response_headers.update({"x-good": "yes", name: value, "x-last": "yes"})
    )
    async with (
        raw_upstream(streams if stream else serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path, [(plugin, "closed")]) as gateway,
        wire(gateway.address) as client,
    ):
        for _ in range(2):
            await client.send(post("/v1/chat/completions", chat(stream=stream)))
            got = await client.answer()
            assert (got.status, got.complete) == (200, True)
            assert (got.headers["x-good"], got.headers["x-last"]) == ("yes", "yes")
            assert "x-split" not in got.headers
            assert all(each and " " not in each for each in got.headers)


@pytest.mark.parametrize("status", [b"799 Odd", b"600 Odd", b"299 Odd", b"418 Teapot", b"999 Odd"])
async def test_any_status_of_an_upstream_is_answered(tmp_path: Path, status: bytes) -> None:
    async def odd(peer: Peer) -> None:
        while True:
            await peer.request()
            body = b'{"error":{"message":"x","type":"t","param":null,"code":null}}'
            await peer.send(answer(body, status=status) if len(upstream.requests) == 1 else answer(completion()))

    async with (
        raw_upstream(odd) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat()))
        got = await client.answer()
        number = int(status[:3])
        assert got.status == (number if number < 600 else 502)
        assert got.json["error"]["message"]
        await client.send(post("/v1/chat/completions", chat()))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("kind", [b"Text/Plain; charset=utf-8", b"text/x-subrip", b"application/x-subrip"])
@pytest.mark.parametrize("plugin", [Refuses, Shouts])
async def test_a_transcript_as_text_goes_through_the_plugins(tmp_path: Path, plugin: type[Plugin], kind: bytes) -> None:
    async def transcribes(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: 6\r\n\r\nsecret" % kind)
        await peer.gone()

    async with (
        raw_upstream(transcribes) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url)), tmp_path, [(plugin(None, CONTEXT), "closed")]
        ) as gateway,
        wire(gateway.address) as client,
    ):
        form = FORM_START + b"RIFF\r\n--b--\r\n"
        await client.send(post("/v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b"))
        got = await client.answer()
        if plugin is Refuses:
            assert (got.status, got.code) == (403, "not_that_word")
        else:
            assert (got.status, got.body, got.headers["content-type"]) == (200, b"SECRET", kind.decode())
        assert b"secret" not in got.body


@pytest.mark.parametrize("headers", [None, 5, "x-bad: 1"])
async def test_headers_that_are_no_mapping_leave_the_answer_well_formed(tmp_path: Path, headers: Any) -> None:
    plugin = on_request(lambda request: setattr(request, "response_headers", headers))
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path, [(plugin, "open")]) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat()))
        got = await client.answer()
        assert (got.status, got.complete) == (200, True)
        assert got.headers["x-request-id"]


@pytest.mark.parametrize(
    ("field", "nonsense"), [("tokens", None), ("cost_nanos", "free"), ("cost_nanos", -5), ("tokens", Tokens(-1))]
)
async def test_a_spoilt_usage_event_is_made_anew(tmp_path: Path, field: str, nonsense: Any) -> None:
    class Spoils(Plugin):
        name = "spoils"

        def on_usage(self, request: Request, event: UsageEvent) -> None:
            setattr(event, field, nonsense)

    async with raw_upstream(serve_completions) as upstream:
        settings = settings_for(provider(upstream.base_url), limits=LIMITS)
        async with running_worker(settings, tmp_path, [(Spoils(None, CONTEXT), "closed")]) as gateway:
            async with wire(gateway.address) as client:
                await client.send(post("/v1/chat/completions", chat()))
                assert (await client.answer()).status == 200
            (event,) = await gateway.usage()
            assert event.tokens.prompt > 0
            assert gateway.used("concurrency") == 0
