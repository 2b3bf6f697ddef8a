"""The end of a request, however it comes: nothing is leaked, kept, asked for again or billed by guess."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from gateway.contract.usage import Tokens
from gateway.settings.model import Connections, Limit, Price, Retry, Timeouts
from tests.support.raw_upstream import WAIT, Peer, answer, raw_upstream, serve_completions
from tests.support.wire import FORM_START, chat, post, wire
from tests.support.worker import provider, running_worker, settings_for

LIMITS = (Limit(metric="concurrency", limit=5), Limit(metric="tokens", limit=100_000, window="hour"))
PRICES = (Price(provider="up", model="x", input_per_1k=1, output_per_1k=1),)


@pytest.mark.parametrize(
    ("options", "field"), [(5, "stream_options"), ({"include_usage": "yes"}, "stream_options.include_usage")]
)
async def test_bad_stream_options_hold_no_connection(tmp_path: Path, options: object, field: str) -> None:
    few = Connections(max=3, queue=2)
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(
            settings_for(
                provider(upstream.base_url, connections=few, timeouts=Timeouts(first_token=2.0)), limits=LIMITS
            ),
            tmp_path,
        ) as gateway,
        wire(gateway.address) as client,
    ):
        pool = gateway.runtime.pools["up"]
        for _ in range(10):
            await client.send(post("/v1/chat/completions", chat(stream=True, stream_options=options)))
            got = await client.answer()
            assert (got.status, got.json["error"]["param"]) == (400, field)
            assert pool.open_connections <= 1
            assert not pool.active
        await client.send(post("/v1/chat/completions", chat()))
        assert (await client.answer()).status == 200
        assert gateway.used("concurrency") == 0
        assert gateway.used("tokens") == 7


class _Leaving:
    """Passes an answer on to an attempt, and breaks the client's connection off just before its end."""

    def __init__(self, attempt: Any) -> None:
        self._attempt = attempt
        self.on_head, self.on_data, self.on_fail = attempt.on_head, attempt.on_data, attempt.on_fail

    def on_end(self) -> None:
        self._attempt.exchange.wire.transport.abort()  # its end is told before the pipeline goes on
        self._attempt.on_end()

    def on_writable(self, writable: bool) -> None:
        self._attempt.on_writable(writable)


@pytest.mark.parametrize("backoff", [0.0, 0.05])
async def test_a_client_that_leaves_as_an_attempt_fails_is_not_asked_for_again(tmp_path: Path, backoff: float) -> None:
    """Both come in one turn of the loop: the attempt is finished, so it can't be cancelled any more."""

    async def fails_once(peer: Peer) -> None:
        await peer.request()
        if len(upstream.requests) == 1:
            (connection,) = gateway.runtime.pools["up"].active
            connection.handler = _Leaving(connection.handler)
            await peer.send(answer(b"{}", status=b"500 Oops"))
            await peer.request()
        await peer.gone()

    retry = Retry(attempts=3, backoff=backoff)
    async with (
        raw_upstream(fails_once) as upstream,
        running_worker(settings_for(provider(upstream.base_url, retry=retry), limits=LIMITS), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat()))
        (event,) = await gateway.usage()
        assert event.outcome == "cancelled"
        assert [attempt.reason for attempt in event.attempts] == ["status_500"]
        assert len(upstream.requests) == 1
        assert gateway.used("concurrency") == 0
        assert gateway.runtime.active == 0


@pytest.mark.parametrize(
    ("status", "header"), [(b"429 Slow", b"retry-after: 3"), (b"503 Busy", b"retry-after: 3")], ids=["429", "503"]
)
async def test_what_no_upstream_served_costs_nothing(tmp_path: Path, status: bytes, header: bytes) -> None:
    """The client leaves in the pause before another try: no one has counted a token."""

    async def busy(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(b"{}", header, status=status))

    async with (
        raw_upstream(busy) as upstream,
        running_worker(settings_for(provider(upstream.base_url), limits=LIMITS, prices=PRICES), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat("x" * 4000)))
        await upstream.until(lambda: len(upstream.requests) == 1)
        pool = gateway.runtime.pools["up"]
        async with asyncio.timeout(WAIT):
            while pool.active:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        client.leave()
        (event,) = await gateway.usage()
        assert (event.outcome, event.tokens, event.estimated) == ("cancelled", Tokens(), False)
        assert not event.cost_nanos
        assert len(event.attempts) == 1
        assert (gateway.used("tokens"), gateway.used("concurrency")) == (0, 0)


async def test_a_connection_that_is_over_is_freed_without_the_collector(tmp_path: Path) -> None:
    """Objects that refer to each other would wait for it: with many short connections, as megabytes."""
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
    ):
        gc.disable()
        try:
            async with wire(gateway.address) as client:
                await client.send(post("/v1/chat/completions", chat()))
                assert (await client.answer()).status == 200
                (connection,) = gateway.connections
                kept = weakref.ref(connection)
                del connection
            async with asyncio.timeout(WAIT):
                while kept() is not None:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        finally:
            gc.enable()


async def test_an_idle_connection_keeps_nothing_of_its_last_request(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        running_worker(settings_for(provider(upstream.base_url), max_body_bytes=9_000_000), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        for body in (
            post("/v1/chat/completions", chat("y" * 4_000_000)),
            post(
                "/v1/audio/transcriptions",
                FORM_START + b"y" * 4_000_000 + b"\r\n--b--\r\n",
                content_type="multipart/form-data; boundary=b",
            ),
        ):
            await client.send(body)
            assert (await client.answer()).status == 200
            (connection,) = gateway.connections
            exchange = connection.current
            assert exchange is None or (exchange._raw, exchange._body, exchange.fields) == (None, None, None)
            assert exchange is None or not exchange.take_body()
