"""A client that leaves: whatever the gateway is doing for it, the upstream hears of it within a second."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.settings.model import Breaker, Retry
from tests.faults.resilience.stage import stage
from tests.support.wire import chat, post, wire

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
PROMPTLY = 4.0


@BOTH
@pytest.mark.parametrize("fault", ["silence", "headers-then-silence", "stream-stall"])
async def test_a_call_under_way_is_given_up(tmp_path: Path, fault: str, stream: bool) -> None:
    async with stage(tmp_path, fault, spared="healthy") as on, wire(on.gateway.address) as client:
        await client.send(post("/v1/chat/completions", chat(stream=stream)))
        await on.up.called()
        if stream and fault == "stream-stall":
            await client.piece(await client.head())
        left = time.monotonic()
        client.leave()
        assert await on.up.given_up() - left < PROMPTLY
        event = await on.event()
        assert (event.outcome, [attempt.reason for attempt in event.attempts]) == ("cancelled", ["cancelled"])
        assert on.calls == (1, 0), "nobody is asked for who is gone"
        assert on.gateway.runtime.router.routes["m"].targets[0].breaker.failures == 0


@BOTH
async def test_between_two_tries_no_second_one_is_made(tmp_path: Path, stream: bool) -> None:
    retry, breaker = Retry(attempts=2, backoff=0), Breaker(failures=100)
    async with stage(tmp_path, "429-once-date", retry=retry, breaker=breaker) as on, wire(on.gateway.address) as client:
        await client.send(post("/v1/chat/completions", chat(stream=stream)))
        await on.up.called()
        client.leave()
        event = await on.event()
        assert (event.outcome, [attempt.reason for attempt in event.attempts]) in (
            ("cancelled", ["status_429"]),
            ("cancelled", ["cancelled"]),
        )
        assert len(on.up.calls) == 1
        assert on.gateway.runtime.active == 0
