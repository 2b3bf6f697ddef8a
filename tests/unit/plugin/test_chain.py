from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from msgspec import Struct

from gateway.contract.usage import UsageEvent
from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Answer, NoConfig, Plugin, PluginContext, Request, Response, Route
from gateway.plugin.chain import Chain
from gateway.plugin.failures import Guard
from plugins.noop import Noop
from tests.support.plugins import chain_of, make_request, run_stream, usage_event

CONTEXT = PluginContext(data_dir=".", redis_url=None)
REFUSAL = GatewayError(Kind.FORBIDDEN, "content_blocked", "no")


class Recorder(Plugin):
    """Writes down each hook's turn; ``act`` says what ``on_request`` does."""

    name = "recorder"

    def __init__(self, label: str, log: list[str], act: Any = None) -> None:
        super().__init__(NoConfig(), CONTEXT)
        self.label, self.log, self.act = label, log, act

    def on_request(self, request: Request) -> Answer | None:
        self.log.append(f"{self.label}.request")
        if isinstance(self.act, Exception):
            raise self.act
        return self.act  # type: ignore[no-any-return]

    def on_route(self, request: Request, route: Route) -> None:
        self.log.append(f"{self.label}.route")

    async def on_response(self, request: Request, response: Response) -> None:
        self.log.append(f"{self.label}.response")
        response.body += self.label.encode()

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        self.log.append(f"{self.label}.chunk")
        return event.replace(b"\n\n", self.label.encode() + b"\n\n")

    def on_usage(self, request: Request, event: UsageEvent) -> None:
        self.log.append(f"{self.label}.usage")
        event.tags[self.label] = "1"

    async def on_error(self, request: Request, error: GatewayError) -> None:
        self.log.append(f"{self.label}.error")


def three(second: Any = None) -> tuple[Chain, list[str]]:
    log: list[str] = []
    return chain_of(Recorder("a", log), Recorder("b", log, second), Recorder("c", log)), log


async def test_only_overridden_hooks_are_bound() -> None:
    class Tagger(Plugin):
        name = "tagger"

        def on_usage(self, request: Request, event: UsageEvent) -> None:
            event.tags["x"] = "1"

    chain = chain_of(Tagger(NoConfig(), CONTEXT))
    assert len(chain.on_usage) == 1
    assert [chain.on_request, chain.on_route, chain.on_response, chain.on_chunk, chain.on_error] == [()] * 5
    event = usage_event()
    await chain.usage(make_request({}, chain=chain), event)
    assert event.tags == {"x": "1"}


async def test_hooks_run_in_order_and_post_hooks_in_reverse() -> None:
    chain, log = three()
    request = make_request({}, chain=chain)
    assert await chain.request(request) is None
    await chain.route(request, Route("m", "p", "t"))
    response = Response(200, "application/json", b"")
    await chain.response(request, response)
    assert response.body == b"cba"
    assert await chain.chunk(request, b"data: \n\n") == b"data: cba\n\n"
    await chain.usage(request, usage_event())
    await chain.error(request, REFUSAL)
    forward = [f"{label}.{hook}" for hook in ("request", "route") for label in "abc"]
    backward = [f"{label}.{hook}" for hook in ("response", "chunk", "usage", "error") for label in "cba"]
    assert log == forward + backward


async def test_an_answer_passes_back_through_the_plugins_before_it() -> None:
    chain, log = three(Answer(b"hi", cached=True))
    request = make_request({}, chain=chain)
    answer = await chain.request(request)
    assert answer is not None
    assert (answer.body, answer.cached) == (b"hia", True)
    await chain.usage(request, usage_event())
    assert log == ["a.request", "b.request", "a.response", "b.usage", "a.usage"]


async def test_a_streamed_answer_passes_back_event_by_event() -> None:
    chain, log = three(Answer(events=iter([b"data: 1\n\n", b"data: 2\n\n"])))
    answer = await chain.request(make_request({"stream": True}, chain=chain))
    assert answer is not None
    assert answer.events is not None
    assert list(answer.events) == [b"data: 1a\n\n", b"data: 2a\n\n"]
    assert log == ["a.request", "b.request", "a.chunk", "a.chunk"]


async def test_a_refusal_ends_the_turns() -> None:
    chain, log = three(REFUSAL)
    request = make_request({}, chain=chain)
    with pytest.raises(GatewayError) as caught:
        await chain.request(request)
    assert caught.value is REFUSAL
    await chain.error(request, REFUSAL)
    await chain.usage(request, usage_event())
    assert log == ["a.request", "b.request", "b.error", "a.error", "b.usage", "a.usage"]


async def test_a_plugin_that_fails_open_is_as_if_absent(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(Plugin):
        name = "breaks"

        def on_request(self, request: Request) -> None:
            request.body["half"] = "done"
            request.changed()
            request.model = "other"
            raise RuntimeError("secret prompt text")

        def on_response(self, request: Request, response: Response) -> None:
            raise AssertionError("its turn is over")

    log: list[str] = []
    failures: list[tuple[str, str]] = []
    uses: list[Any] = [(Breaks(NoConfig(), CONTEXT), "open"), (Recorder("b", log), "closed")]
    chain = Chain(uses, on_failure=lambda plugin, hook: failures.append((plugin, hook)))
    with caplog.at_level(logging.ERROR, "gateway.plugin"):
        for _ in range(3):
            request = make_request({"model": "m"}, chain=chain)
            assert await chain.request(request) is None
            assert (request.body, request.raw, request.model) == ({"model": "m"}, b'{"model":"m"}', "m")
            response = Response(200, "application/json", b"")
            await chain.response(request, response)
            assert response.body == b"b"
    assert failures == [("breaks", "on_request")] * 3
    assert chain.guards[0].failures == {"on_request": 3}
    assert len(caplog.records) == 1
    assert "breaks" in caplog.text
    assert "secret" not in caplog.text


async def test_a_plugin_that_fails_closed_refuses_by_name() -> None:
    chain, log = three(RuntimeError("secret"))
    request = make_request({}, chain=chain)
    with pytest.raises(GatewayError, match="'recorder'") as caught:
        await chain.request(request)
    assert (caught.value.kind, caught.value.code) == (Kind.INTERNAL, "plugin_failed")
    assert "secret" not in caught.value.message
    await chain.error(request, caught.value)
    assert log == ["a.request", "b.request", "b.error", "a.error"]


class Fails(Plugin):
    name = "fails"

    def __init__(self, error: BaseException) -> None:
        super().__init__(NoConfig(), CONTEXT)
        self.failure = error

    async def on_route(self, request: Request, route: Route) -> None:
        raise self.failure

    def on_response(self, request: Request, response: Response) -> None:
        response.body = b"half"
        response.status = 500
        raise self.failure

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        raise self.failure

    async def on_usage(self, request: Request, event: UsageEvent) -> None:
        raise self.failure

    def on_error(self, request: Request, error: GatewayError) -> None:
        raise self.failure


async def test_each_post_hook_can_fail_open() -> None:
    chain = chain_of(Fails(ValueError()), fail="open")
    request = make_request({}, chain=chain)
    response = Response(200, "application/json", b"whole")
    await chain.route(request, Route("m", "p", "t"))
    await chain.response(request, response)
    assert (response.status, response.body) == (200, b"whole")
    assert await chain.chunk(request, b"data: 1\n\n") == b"data: 1\n\n"
    await chain.usage(request, usage_event())
    await chain.error(request, REFUSAL)
    assert chain.guards[0].failures == dict.fromkeys(["on_route", "on_response", "on_chunk", "on_usage", "on_error"], 1)


@pytest.mark.parametrize("error", [ValueError(), REFUSAL])
async def test_usage_and_error_hooks_never_raise(error: Exception) -> None:
    chain = chain_of(Fails(error))
    request = make_request({}, chain=chain)
    await chain.usage(request, usage_event())
    await chain.error(request, REFUSAL)
    for step in (chain.route(request, Route("m", "p", "t")), chain.response(request, Response(200, "", b""))):
        with pytest.raises(GatewayError):
            await step
    with pytest.raises(GatewayError):
        await chain.chunk(request, b"data: 1\n\n")


async def test_a_refusal_refuses_even_where_failures_are_open() -> None:
    chain = chain_of(Fails(REFUSAL), fail="open")
    with pytest.raises(GatewayError, match="no"):
        await chain.route(make_request({}, chain=chain), Route("m", "p", "t"))


async def test_cancellation_passes_through_every_hook() -> None:
    class Cancelled(Fails):
        async def on_request(self, request: Request) -> None:
            raise self.failure

    log: list[str] = []
    uses: list[Any] = [(Cancelled(asyncio.CancelledError()), "open"), (Recorder("b", log), "open")]
    chain = Chain(uses)
    request = make_request({}, chain=chain)
    with pytest.raises(asyncio.CancelledError):
        await chain.request(request)
    assert request.turns == 0b01
    for step in (
        chain.route(request, Route("m", "p", "t")),
        chain.response(request, Response(200, "", b"")),
        chain.chunk(request, b"data: 1\n\n"),
        chain.usage(request, usage_event()),
        chain.error(request, REFUSAL),
    ):
        with pytest.raises(asyncio.CancelledError):
            await step
    assert log == []


class Doubles(Plugin):
    name = "doubles"

    async def on_chunk(self, request: Request, event: bytes) -> bytes:
        return event + event


class Drops(Plugin):
    name = "drops"

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        return b"" if b"drop" in event else event


class Counts(Plugin):
    name = "counts"

    def on_chunk(self, request: Request, event: bytes) -> None:
        request.state.setdefault("seen", []).append(event)


async def test_a_hook_that_returns_several_events_feeds_them_one_by_one() -> None:
    chain = chain_of(Counts(NoConfig(), CONTEXT), Doubles(NoConfig(), CONTEXT), Drops(NoConfig(), CONTEXT))
    assert chain.chunk_sync is None
    request = make_request({}, chain=chain)
    out = await run_stream(chain, request, [b"data: 1\r\n\r\n", b"data: drop\n\n", b": ping\n\n"])
    assert out == [b"data: 1\r\n\r\n" * 2, b": ping\n\n" * 2]
    assert request.state["seen"] == [b"data: 1\r\n\r\n"] * 2 + [b": ping\n\n"] * 2


async def test_plain_chunk_hooks_are_offered_without_awaiting() -> None:
    class Splits(Plugin):
        name = "splits"

        def on_chunk(self, request: Request, event: bytes) -> bytes:
            return b"data: 1\n\ndata: drop\n\n"

    chain = chain_of(Counts(NoConfig(), CONTEXT), Drops(NoConfig(), CONTEXT), Splits(NoConfig(), CONTEXT))
    assert chain.chunk_sync is not None
    request = make_request({}, chain=chain)
    assert chain.chunk_sync(request, b"data: 0\n\n") == b"data: 1\n\n"
    assert request.state["seen"] == [b"data: 1\n\n"]


async def test_a_plain_chunk_hook_may_not_return_an_awaitable() -> None:
    class Sneaky(Plugin):
        name = "sneaky"

        def on_chunk(self, request: Request, event: bytes) -> Any:
            async def later() -> bytes:
                return event

            return later()

    chain = chain_of(Sneaky(NoConfig(), CONTEXT))
    with pytest.raises(GatewayError, match="sneaky"):
        await chain.chunk(make_request({}, chain=chain), b"data: 1\n\n")


async def test_start_is_in_order_and_stop_in_reverse_even_after_a_failure() -> None:
    log: list[str] = []

    class Lives(Plugin):
        name = "lives"

        def __init__(self, label: str, broken: str = "") -> None:
            super().__init__(NoConfig(), CONTEXT)
            self.label, self.broken = label, broken

        async def start(self) -> None:
            log.append(f"start {self.label}")
            if self.broken == "start":
                raise OSError("no")

        async def stop(self) -> None:
            log.append(f"stop {self.label}")
            if self.broken == "stop":
                raise OSError("no")

    chain = chain_of(Lives("a"), Lives("b", "stop"), Lives("c"))
    await chain.start()
    await chain.stop()
    assert log == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]
    assert chain.guards[1].failures == {"stop": 1}
    log.clear()
    with pytest.raises(OSError, match="no"):
        await chain_of(Lives("a"), Lives("b", "start"), Lives("c")).start()
    assert log == ["start a", "start b", "stop a"]


def test_failures_are_logged_once_a_minute_with_their_count(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    guard = Guard("p", "open", clock=lambda: now[0])
    for second in (0, 10, 59, 60, 70):
        now[0] = second
        guard.failed("on_chunk", ValueError("x"))
    assert [record.args[3] for record in caplog.records if isinstance(record.args, tuple)] == [1, 3]
    assert guard.failures == {"on_chunk": 5}


def test_a_response_body_and_its_json_agree() -> None:
    response = Response(200, "application/json", b'{"a":1}')
    assert response.json == {"a": 1}
    response.body = b'{"a":2}'
    assert response.json == {"a": 2}
    response.json = {"a": 3}
    assert response.body == b'{"a":3}'


async def test_noop_overrides_every_hook_and_changes_nothing() -> None:
    chain = chain_of(Noop(NoConfig(), CONTEXT))
    hooks = (chain.on_request, chain.on_route, chain.on_response, chain.on_chunk, chain.on_usage, chain.on_error)
    assert all(len(hook) == 1 for hook in hooks)
    assert chain.chunk_sync is not None
    request = make_request({"a": 1}, chain=chain)
    assert await chain.request(request) is None
    assert request.raw == b'{"a":1}'
    assert chain.chunk_sync(request, b"data: 1\n\n") == b"data: 1\n\n"
    assert issubclass(Noop.Config, Struct)
