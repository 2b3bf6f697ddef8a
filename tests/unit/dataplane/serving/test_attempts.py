"""Retries, fallbacks and resting targets, as the client and the usage event see them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.model import Breaker, Connections, Model, Retry, Target, Timeouts
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    Peer,
    Script,
    answer,
    chunk,
    completion,
    delta,
    raw_upstream,
    serve_completions,
    usage_event,
)
from tests.support.wire import Answer, chat, post, wire
from tests.support.worker import RunningWorker, provider, running_worker, settings_for

ERROR = b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}'


def first(status: bytes, *headers: bytes, times: int = 1, body: bytes = ERROR) -> Script:
    """Answers the first requests of the upstream with an error, the others well."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            bad = len(peer.upstream.requests) <= times
            await peer.send(answer(body, *headers, status=status) if bad else answer(completion()))

    return script


def always(status: bytes, *headers: bytes, body: bytes = ERROR) -> Script:
    return first(status, *headers, times=10**9, body=body)


async def ask(gateway: RunningWorker, **fields: Any) -> Answer:
    async with wire(gateway.address) as client:
        await client.send(post("/v1/chat/completions", chat(**fields)))
        return await client.answer()


def reasons(gateway: RunningWorker) -> list[str]:
    return [attempt.reason for attempt in gateway.sink.events[-1].attempts]


@pytest.mark.parametrize("status", [b"500 Oops", b"502 Bad", b"503 Busy", b"529 Overloaded", b"429 Slow", b"408 Late"])
async def test_a_passing_failure_is_tried_again(tmp_path: Path, status: bytes) -> None:
    async with (
        raw_upstream(first(status)) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
    ):
        got = await ask(gateway)
        assert got.status == 200
        assert got.headers["x-gateway-attempts"] == "2"
        assert len(upstream.requests) == 2
        assert upstream.requests[0].body == upstream.requests[1].body
        assert reasons(gateway) == [f"status_{int(status[:3])}", "ok"]


@pytest.mark.parametrize("status", [b"400 Bad", b"401 Who", b"403 No", b"404 None", b"413 Large", b"422 Odd"])
async def test_a_refusal_is_passed_on_at_once(tmp_path: Path, status: bytes) -> None:
    async with (
        raw_upstream(always(status, b"x-ratelimit-limit-requests: 7")) as upstream,
        raw_upstream(serve_completions) as other,
        running_worker(settings_for(provider(upstream.base_url), provider(other.base_url, "two")), tmp_path) as gateway,
    ):
        got = await ask(gateway)
        assert got.status == int(status[:3])
        assert got.body == ERROR
        assert got.headers["x-ratelimit-limit-requests"] == "7"
        assert len(upstream.requests) == 1
        assert other.requests == []
        assert gateway.sink.events[0].outcome == "error"


async def test_the_last_failure_is_what_the_client_gets(tmp_path: Path) -> None:
    async with (
        raw_upstream(always(b"503 Busy", b"retry-after: 0")) as upstream,
        running_worker(
            settings_for(provider(upstream.base_url, retry=Retry(attempts=3, backoff=0))), tmp_path
        ) as gateway,
    ):
        got = await ask(gateway)
        assert (got.status, got.body, got.headers["retry-after"]) == (503, ERROR, "0")
        assert len(upstream.requests) == 3
        assert reasons(gateway) == ["status_503"] * 3


async def test_a_busy_target_is_left_for_the_next_at_once(tmp_path: Path) -> None:
    async with (
        raw_upstream(always(b"429 Slow")) as busy,
        raw_upstream(serve_completions) as free,
        running_worker(settings_for(provider(busy.base_url), provider(free.base_url, "two")), tmp_path) as gateway,
    ):
        got = await ask(gateway)
        assert got.status == 200
        assert got.headers["x-gateway-target"] == "two/x"
        assert len(busy.requests) == 1
        assert reasons(gateway) == ["status_429", "ok"]


async def test_a_long_retry_after_is_not_waited_for(tmp_path: Path) -> None:
    async with (
        raw_upstream(always(b"503 Busy", b"retry-after: 3600")) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
    ):
        got = await ask(gateway)
        assert (got.status, got.headers["retry-after"]) == (503, "3600")
        assert len(upstream.requests) == 1


async def test_a_refused_connection_goes_to_the_fallback(tmp_path: Path) -> None:
    async with raw_upstream(serve_completions) as gone:
        nowhere = gone.base_url
    async with raw_upstream(serve_completions) as upstream:
        one, two = provider(nowhere, "one"), provider(upstream.base_url, "two")
        models = (
            Model(name="m", targets=(Target(provider="one", model="x"),), fallbacks=("n",)),
            Model(name="n", targets=(Target(provider="two", model="y"),)),
        )
        async with running_worker(settings_for(one, two, models=models), tmp_path) as gateway:
            got = await ask(gateway)
            assert got.status == 200
            assert got.headers["x-gateway-target"] == "two/y"
            assert got.headers["x-gateway-attempts"] == "3"
            assert reasons(gateway) == ["connect", "connect", "ok"]
            (event,) = gateway.sink.events
            assert (event.model, event.provider, event.target) == ("m", "two", "y")
            assert b'"model":"y"' in upstream.requests[0].body


async def test_a_failing_target_rests_and_is_not_asked(tmp_path: Path) -> None:
    breaker = Breaker(failures=2, cooldown=60)
    async with (
        raw_upstream(always(b"500 Oops")) as bad,
        raw_upstream(serve_completions) as good,
        running_worker(
            settings_for(provider(bad.base_url, breaker=breaker), provider(good.base_url, "two")), tmp_path
        ) as gateway,
    ):
        for _ in range(4):
            assert (await ask(gateway)).status == 200
        assert len(bad.requests) == 2
        assert len(good.requests) == 4
        async with wire(gateway.address) as client:
            await client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await client.answer()).json["status"] == "degraded"


async def test_no_json_is_a_fault_of_the_upstream(tmp_path: Path) -> None:
    async with (
        raw_upstream(first(b"200 OK", body=b"<html>")) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
    ):
        assert (await ask(gateway)).status == 200
        assert reasons(gateway) == ["protocol", "ok"]


def cut(*pieces: bytes, reset: bool = False) -> Script:
    """Sends these pieces and breaks the first connection off; answers well on the others."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number:
            await peer.send(answer(completion()))
            await peer.gone()
        else:
            await peer.send(*pieces)
            peer.close(reset=reset)

    return script


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200",), (answer(completion())[:-9],), (STREAM_HEAD,)])
async def test_an_answer_cut_before_anything_went_out_is_tried_again(
    tmp_path: Path, pieces: tuple[bytes, ...], reset: bool
) -> None:
    async with (
        raw_upstream(cut(*pieces, reset=reset)) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
    ):
        got = await ask(gateway)
        assert got.status == 200
        assert reasons(gateway) == ["reset", "ok"]


async def test_a_stream_cut_in_the_middle_ends_with_an_error_and_is_not_tried_again(tmp_path: Path) -> None:
    async with (
        raw_upstream(cut(STREAM_HEAD, chunk(delta("a")))) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/chat/completions", chat(stream=True)))
        got = await client.answer()
        assert got.complete
        assert got.body.startswith(delta("a") + b'data: {"error":')
        assert DONE not in got.body
        assert len(upstream.requests) == 1
        (event,) = gateway.sink.events
        assert (event.outcome, event.estimated, event.status) == ("cut", True, 200)
        await client.send(post("/v1/chat/completions", chat()))
        assert (await client.answer()).status == 200, "the connection goes on"


@pytest.mark.parametrize("length", [b"transfer-encoding: chunked", b"content-length: 100"])
async def test_a_relayed_body_that_is_cut_looks_cut_to_the_client(tmp_path: Path, length: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n" + length + b"\r\n\r\n"
    piece = chunk(b"ID3") if b"chunked" in length else b"ID3"
    async with (
        raw_upstream(cut(head + piece)) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/audio/speech", {"model": "m", "input": "x", "voice": "v"}))
        got = await client.answer()
        assert got.body.startswith(b"ID3") or got.body == b""
        assert not got.complete
        assert await client.at_end()
        assert gateway.sink.events[0].outcome == "cut"


async def test_a_relayed_body_that_is_whole_is_whole(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.send(chunk(b"ID3"), chunk(b"more"), LAST_CHUNK)
        await peer.gone()

    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        await client.send(post("/v1/audio/speech", {"model": "m", "input": "x", "voice": "v"}))
        got = await client.answer()
        assert (got.body, got.complete, got.headers["content-type"]) == (b"ID3more", True, "audio/mpeg")


def streamed(*pieces: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, *(chunk(piece) for piece in pieces), LAST_CHUNK)
        await peer.gone()

    return script


@pytest.mark.parametrize(
    "ending",
    [
        (delta("", "stop"),),
        (delta("", "stop"), usage_event()),
        (delta("", "stop"), b"data: [DONE]\n"),
        (delta("", "stop"), b"data: [DONE]"),
        (delta("", "stop"), DONE),
    ],
)
@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_that_says_it_is_finished_ends_with_done(
    tmp_path: Path, ending: tuple[bytes, ...], asks: bool
) -> None:
    async with (
        raw_upstream(streamed(delta("a"), *ending)) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
        wire(gateway.address) as client,
    ):
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
        await client.send(post("/v1/chat/completions", chat(stream=True, **options)))
        got = await client.answer()
        usage = usage_event() if asks and usage_event() in ending else b""
        assert got.body.rstrip(b"\n") == (delta("a") + delta("", "stop") + usage + DONE).rstrip(b"\n")
        assert gateway.sink.events[0].outcome == "ok"


async def test_a_stream_that_stops_without_a_word_is_cut(tmp_path: Path) -> None:
    async with (
        raw_upstream(streamed(delta("a"))) as upstream,
        running_worker(settings_for(provider(upstream.base_url)), tmp_path) as gateway,
    ):
        got = await ask(gateway, stream=True)
        assert b'data: {"error"' in got.body
        assert gateway.sink.events[0].outcome == "cut"


@pytest.mark.parametrize(
    ("deadline", "status", "code"), [("first_token", 504, "first_token_timeout"), ("total", 504, "total_timeout")]
)
async def test_a_silent_upstream_is_a_504_and_not_asked_again(
    tmp_path: Path, deadline: str, status: int, code: str
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    timeouts = Timeouts(**{deadline: 0.2})
    async with (
        raw_upstream(silent) as upstream,
        running_worker(settings_for(provider(upstream.base_url, timeouts=timeouts)), tmp_path) as gateway,
    ):
        got = await ask(gateway)
        assert (got.status, got.code) == (status, code)
        assert len(upstream.requests) == 1


async def test_a_full_queue_is_a_503_with_retry_after(tmp_path: Path) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    limits = Connections(max=1, queue=0)
    async with (
        raw_upstream(silent) as upstream,
        running_worker(settings_for(provider(upstream.base_url, connections=limits)), tmp_path) as gateway,
        wire(gateway.address) as first_client,
    ):
        await first_client.send(post("/v1/chat/completions", chat()))
        await upstream.until(lambda: len(upstream.requests) == 1)
        got = await ask(gateway)
        assert (got.status, got.code) == (503, "upstream_busy")
        assert "retry-after" in got.headers


async def test_a_stale_connection_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The upstream closes every kept connection just as it is used again, and answers on fresh ones."""

    async def script(peer: Peer) -> None:
        await peer.request()
        answered.append(peer.number)
        await peer.send(answer(completion()))
        await peer.reader.read(1)  # the next request has begun to arrive: nothing of it is answered
        peer.close()

    answered: list[int] = []
    retry = Retry(attempts=1, backoff=0)
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url, retry=retry)), tmp_path) as gateway,
    ):
        for number in range(5):
            got = await ask(gateway)
            assert got.status == 200
            assert got.headers["x-gateway-attempts"] == ("2" if number else "1")
            assert len(answered) == number + 1
        first, *others = await gateway.usage(5)
        assert [attempt.reason for attempt in first.attempts] == ["ok"]
        for event in others:
            assert event.outcome == "ok"
            assert [attempt.reason for attempt in event.attempts] == ["stale_connection", "ok"]
            assert event.attempts[0].status is None


async def test_a_request_that_kills_its_connection_is_not_sent_to_all_of_them(tmp_path: Path) -> None:
    """An upstream that breaks at one request: the idle connections must not be used up on it."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if b"poison" in request.body:
                poisoned.append(peer.number)
                peer.close(reset=True)
                return
            await go(len(peer.upstream.requests))
            await peer.send(answer(completion()))

    async def go(count: int) -> None:
        await upstream.until(lambda: len(upstream.requests) >= 8)

    poisoned: list[int] = []
    retry = Retry(attempts=1, backoff=0)
    async with (
        raw_upstream(script) as upstream,
        running_worker(settings_for(provider(upstream.base_url, retry=retry)), tmp_path) as gateway,
    ):
        await asyncio.gather(*(ask(gateway) for _ in range(8)))
        got = await ask(gateway, text="poison")
        assert got.status == 502
        assert len(poisoned) <= 2
