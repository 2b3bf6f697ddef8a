"""A model's own upstream is away: its fallback answers, and the client and the usage event are told so, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.contract.usage import Fallback, UsageEvent
from gateway.domain.ledger.ingest import row_of
from gateway.settings.model import Breaker, Model, Provider, Retry, Server, Settings, Split, Target, Timeouts
from tests.faults.resilience.stage import NEVER, Got
from tests.faults.upstream.provider import FaultyProvider, faulty_provider
from tests.support.ports import free_port
from tests.support.raw_upstream import WAIT
from tests.support.wire import chat, post, wire
from tests.support.worker import RunningWorker, running_worker, settings_for

ONCE = Retry(attempts=1)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
HEADER = "x-gateway-fallback"


def nowhere() -> str:
    """An address at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}/v1"


def settings(up: str, spare: FaultyProvider, fault: str, **own: Any) -> Settings:
    """``m``, and behind it ``small model``."""
    timeouts = Timeouts(connect=5, first_token=WAIT, stall=0.3, total=WAIT)
    breaker = own.pop("breaker", NEVER)
    providers = (
        Provider(name="up", base_url=up, retry=ONCE, breaker=breaker, timeouts=timeouts),
        Provider(name="spare", base_url=spare.base_url, retry=ONCE, breaker=NEVER),
    )
    target = Target(provider="up", model=fault, **own)
    models = (
        Model(name="m", targets=(target,), fallbacks=("small model",)),
        Model(name="small model", targets=(Target(provider="spare", model="healthy", prefill="message"),)),
    )
    return replace(settings_for(*providers, models=models), server=Server(drain=5))


@asynccontextmanager
async def serving(folder: Path, fault: str, *, up: str | None = None, **own: Any) -> AsyncIterator[RunningWorker]:
    async with faulty_provider() as first, faulty_provider() as spare:
        found = settings(up or first.base_url, spare, fault, **own)
        async with running_worker(found, folder) as gateway:
            yield gateway


async def ask(gateway: RunningWorker, *, stream: bool = False, **fields: Any) -> tuple[Got, UsageEvent]:
    count = len(gateway.sink.events) + 1
    async with wire(gateway.address) as client:
        await client.send(post("/v1/chat/completions", chat(stream=stream, **fields)))
        got = Got(await client.answer(), 0.0)
    return got, (await gateway.usage(count))[-1]


@BOTH
async def test_who_answers_for_themselves_is_no_fallback(tmp_path: Path, stream: bool) -> None:
    async with serving(tmp_path, "healthy") as gateway:
        got, event = await ask(gateway, stream=stream)
        assert got.is_whole
        assert HEADER not in got.headers
        assert event.fallback is None


@BOTH
async def test_nobody_listens(tmp_path: Path, stream: bool) -> None:
    async with serving(tmp_path, "healthy", up=nowhere()) as gateway:
        got, event = await ask(gateway, stream=stream)
        assert got.is_whole
        assert got.headers[HEADER] == "small_model; reason=connect"
        assert event.fallback == Fallback("small model", "connect")
        assert (event.model, event.provider, event.target) == ("m", "spare", "healthy")
        assert msgspec.json.decode(msgspec.json.encode(event), type=UsageEvent) == event
        unpriced: Any = lambda *_: None  # noqa: E731 - a rater keeps more than it is called for
        row = row_of(event, unpriced, 0)
        assert row["metadata"] == {"fallback": {"model": "small model", "reason": "connect"}}


@BOTH
async def test_it_rests(tmp_path: Path, stream: bool) -> None:
    breaker = Breaker(failures=1, cooldown=60, wait=0)
    async with serving(tmp_path, "healthy", up=nowhere(), breaker=breaker) as gateway:
        await ask(gateway)
        got, event = await ask(gateway, stream=stream)
        assert got.headers["x-gateway-attempts"] == "1"
        assert got.headers[HEADER] == "small_model; reason=circuit_open"
        assert event.fallback == Fallback("small model", "circuit_open")


async def test_it_does_not_take_the_request(tmp_path: Path) -> None:
    async with serving(tmp_path, "healthy", context_length=64) as gateway:
        messages = [{"role": "user", "content": "one long prompt " * 200}]
        got, event = await ask(gateway, messages=messages)
        assert got.headers[HEADER] == "small_model; reason=not_eligible"
        assert event.fallback == Fallback("small model", "not_eligible")


async def test_it_breaks_off_in_mid_stream(tmp_path: Path) -> None:
    """The head is out by then: the event tells whose the end of the answer was."""
    async with serving(tmp_path, "stream-stall") as gateway:
        got, event = await ask(gateway, stream=True)
        assert got.is_whole
        assert HEADER not in got.headers
        assert event.fallback == Fallback("small model", "stall_timeout")


async def test_a_share_is_no_fallback(tmp_path: Path) -> None:
    async with faulty_provider() as up, faulty_provider() as spare:
        found = settings(up.base_url, spare, "healthy")
        m, small = found.models
        m = replace(m, split=(Split(model="canary", share=1.0),))
        canary = Model(name="canary", targets=(Target(provider="spare", model="steady"),))
        async with running_worker(replace(found, models=(m, small, canary)), tmp_path) as gateway:
            got, event = await ask(gateway)
            assert got.headers["x-gateway-target"] == "spare/steady"
            assert HEADER not in got.headers
            assert event.fallback is None
