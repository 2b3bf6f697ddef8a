"""Breakers: who is let through, who waits, who is told to come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.dataplane.breaker import CLOSED, HALF_OPEN, OPEN
from gateway.dataplane.breaker import Breaker as State
from gateway.settings.model import Breaker, Retry, Timeouts
from tests.faults.resilience.stage import Got, Stage, stage
from tests.faults.upstream.failing import PERIOD
from tests.support.raw_upstream import WAIT
from tests.support.wire import chat, post, wire

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
ONCE = Retry(attempts=1)
CROWD = 20
# Seconds that a busy machine may take for what takes none.
LATE = 4.0


def state(on: Stage) -> State:
    return on.gateway.runtime.router.routes["m"].targets[0].breaker


async def until(on: Stage, waiting: int) -> None:
    async with asyncio.timeout(WAIT):
        while state(on).waiting < waiting:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)


@BOTH
async def test_one_probe_decides_for_all(tmp_path: Path, stream: bool) -> None:
    """The target has recovered: of a crowd one request is the probe, and all are answered once it is."""
    breaker = Breaker(failures=1, cooldown=0.3, wait=5)
    async with stage(tmp_path, "500-once", retry=ONCE, breaker=breaker) as on:
        assert (await on.ask(stream=stream)).status == 500
        assert state(on).state == OPEN
        answers = await asyncio.gather(*(on.ask(stream=stream) for _ in range(CROWD)))
        assert all(got.is_whole for got in answers)
        assert state(on).state == CLOSED
        assert len(on.up.calls) == 1 + CROWD
        assert on.up.gaps[0] >= 0.29, "nobody went before its cooldown was over"
        assert on.up.calls[1].number == 2


@BOTH
async def test_while_the_probe_is_out_nobody_else_goes(tmp_path: Path, stream: bool) -> None:
    """The target is silent: each cooldown costs one call, whoever many wait."""
    breaker = Breaker(failures=1, cooldown=0.1, wait=0.7)
    timeouts = Timeouts(first_token=0.3)
    async with stage(tmp_path, "silence", retry=ONCE, breaker=breaker, timeouts=timeouts) as on:
        await on.ask(stream=stream)
        answers = await asyncio.gather(*(on.ask(stream=stream) for _ in range(CROWD)))
        codes = Counter(got.code for got in answers)
        assert set(codes) == {"first_token_timeout", "circuit_open"}
        # One when it was closed, and one a cooldown and deadline for as long as some waited.
        most = 2 + max(got.seconds for got in answers) / 0.35
        assert codes["circuit_open"] >= CROWD - most
        assert len(on.up.calls) <= 1 + most
        assert max(got.seconds for got in answers) < 0.7 + LATE, "the wait is bounded"
        assert all(gap >= 0.09 for gap in on.up.gaps)
        assert all(int(got.headers["retry-after"]) >= 1 for got in answers if got.code == "circuit_open")


@BOTH
async def test_a_resting_target_is_passed_over_while_another_answers(tmp_path: Path, stream: bool) -> None:
    breaker = Breaker(failures=2, cooldown=60, wait=60)
    async with stage(tmp_path, "503", spared="healthy", retry=ONCE, breaker=breaker) as on:
        for _ in range(10):
            got = await on.ask(stream=stream)
            assert got.is_whole
            assert got.seconds < LATE
        assert on.calls == (2, 10)
        assert state(on).state == OPEN


async def test_where_recovery_is_too_far_off_the_client_is_told_at_once(tmp_path: Path) -> None:
    breaker = Breaker(failures=1, cooldown=60, wait=5)
    async with stage(tmp_path, "503", retry=ONCE, breaker=breaker) as on:
        assert (await on.ask()).code == "overloaded"
        got = await on.ask()
        assert (got.status, got.code) == (503, "circuit_open")
        assert 50 <= int(got.headers["retry-after"]) <= 60
        assert got.seconds < LATE
        assert len(on.up.calls) == 1
        event = await on.event()
        assert (event.outcome, event.attempts, event.cost_nanos) == ("error", [], None)


async def test_a_requests_own_deadline_bounds_the_wait(tmp_path: Path) -> None:
    breaker = Breaker(failures=1, cooldown=30, wait=60)
    async with stage(tmp_path, "503", retry=ONCE, breaker=breaker) as on:
        await on.ask()
        got = await on.ask(b"x-gateway-timeout: 1")
        assert (got.status, got.code) == (503, "circuit_open")
        assert got.seconds < 1 + LATE


@BOTH
async def test_a_probe_whose_client_leaves_hands_over_to_the_next(tmp_path: Path, stream: bool) -> None:
    breaker = Breaker(failures=1, cooldown=0.1, wait=5)
    async with stage(tmp_path, "500-once", retry=ONCE, breaker=breaker) as on:
        await on.ask(stream=stream)
        target = on.gateway.runtime.router.routes["m"].targets[0]
        target.model_raw = type(target.model_raw)(b'"silence"')
        async with wire(on.gateway.address) as first:
            await first.send(post("/v1/chat/completions", chat(stream=stream)))
            await on.up.called(2)
            assert state(on).state == HALF_OPEN
            waiting = [asyncio.create_task(on.ask(stream=stream)) for _ in range(3)]
            await until(on, 3)
            target.model_raw = type(target.model_raw)(b'"500-once"')
            first.leave()
        assert all(got.is_whole for got in await asyncio.gather(*waiting))
        assert state(on).state == CLOSED
        await on.up.given_up(1)


async def test_a_client_that_leaves_while_it_waits_is_forgotten(tmp_path: Path) -> None:
    breaker = Breaker(failures=1, cooldown=4, wait=5)
    async with stage(tmp_path, "503", retry=ONCE, breaker=breaker) as on:
        await on.ask()
        async with wire(on.gateway.address) as client:
            await client.send(post("/v1/chat/completions", chat()))
            await until(on, 1)
            client.leave()
        event = (await on.gateway.usage(2))[-1]
        assert (event.outcome, event.attempts) == ("cancelled", [])
        assert state(on).waiting == 0
        assert len(on.up.calls) == 1


async def test_streams_that_are_always_cut_open_the_breaker(tmp_path: Path) -> None:
    """A first token alone is no recovery: it would hide a target that never ends an answer."""
    breaker = Breaker(failures=3, cooldown=60, wait=0)
    async with stage(tmp_path, "stream-cut", retry=ONCE, breaker=breaker) as on:
        codes = [(await on.ask(stream=True)).code for _ in range(5)]
        assert codes == ["upstream_reset"] * 3 + ["circuit_open"] * 2


@BOTH
async def test_a_flapping_target_with_another_behind_it(tmp_path: Path, stream: bool) -> None:
    breaker = Breaker(failures=3, cooldown=PERIOD / 2, wait=1)
    async with stage(tmp_path, "flapping", spared="healthy", retry=ONCE, breaker=breaker) as on:
        answers = await _for_a_minute(on, stream)
        assert all(got.is_whole for got in answers)
        assert max(got.seconds for got in answers) < LATE
        assert min(on.calls) > 0, "it is used while it is up"


@BOTH
async def test_a_flapping_target_alone(tmp_path: Path, stream: bool) -> None:
    breaker = Breaker(failures=3, cooldown=PERIOD / 2, wait=1)
    async with stage(tmp_path, "flapping", retry=Retry(attempts=2, backoff=0.05), breaker=breaker) as on:
        answers = await _for_a_minute(on, stream)
        codes = Counter(got.code for got in answers)
        assert set(codes) <= {"", "overloaded", "circuit_open"}
        assert codes[""] > len(answers) / 2
        assert max(got.seconds for got in answers) < 1 + LATE
        failed = sum(code != "" for code in codes.elements())
        assert failed < 60, "while it was down it was hardly asked"


async def _for_a_minute(on: Stage, stream: bool) -> list[Got]:
    """Four clients that ask without a break for as long as six times down and up."""

    async def client() -> list[Got]:
        found = []
        while loop.time() < ends:
            found.append(await on.ask(stream=stream))
        return found

    loop = asyncio.get_running_loop()
    ends = loop.time() + 12 * PERIOD
    return [got for each in await asyncio.gather(*(client() for _ in range(4))) for got in each]
