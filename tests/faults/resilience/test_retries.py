"""When the same target is called again: how long after, how often, and when not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.dataplane.retries import RESERVE
from gateway.settings.model import Retry
from tests.faults.resilience.stage import QUICK, stage
from tests.faults.upstream import busy
from tests.faults.upstream.busy import SECONDS

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
LATE = 4.0
"""Seconds by which a busy machine may be late."""


@BOTH
@pytest.mark.parametrize(
    ("fault", "least"),
    [
        ("429-once-seconds", SECONDS),
        ("429-once-milliseconds", SECONDS),
        ("429-once-reset", SECONDS),
        ("503-retry-after", SECONDS),
        ("429-once-date", 1.0),
    ],
)
async def test_an_upstream_that_names_a_time_is_left_alone_for_it(
    tmp_path: Path, fault: str, least: float, stream: bool
) -> None:
    async with stage(tmp_path, fault) as on:
        got = await on.ask(stream=stream)
        assert got.is_whole
        assert least <= on.up.gaps[0] + 0.01 < least + LATE
        assert got.headers["x-gateway-attempts"] == "2"


@BOTH
async def test_another_target_is_asked_at_once_where_there_is_one(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, "429-once-date", spared="healthy") as on:
        got = await on.ask(stream=stream)
        assert got.is_whole
        assert on.spare.calls[0].at - on.up.calls[0].at < LATE
        assert (await on.ask(stream=stream)).is_whole
        assert on.calls == (1, 2), "for as long as it asked for, the other is preferred"


@BOTH
async def test_a_pause_is_drawn_below_the_backoff(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, "503", retry=Retry(attempts=4, backoff=0.1)) as on:
        assert (await on.ask(stream=stream)).status == 503
        assert len(on.up.gaps) == 3
        for gap, most in zip(on.up.gaps, (0.1, 0.2, 0.4), strict=True):
            assert gap < most + LATE


@BOTH
async def test_a_pause_that_ends_behind_the_deadline_is_not_begun(
    tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "SECONDS", 4.5)
    async with stage(tmp_path, "429-once-seconds") as on:
        got = await on.ask(b"x-gateway-timeout: 4", stream=stream)
        assert (got.status, got.code) == (429, "rate_limit_exceeded")
        assert got.seconds < 4
        assert len(on.up.calls) == 1


async def test_retries_are_a_share_of_the_calls_when_everything_fails(tmp_path: Path) -> None:
    """Twice as many requests as retries are saved up: the load on a failing target does not double."""
    requests = int(RESERVE) * 2
    async with stage(tmp_path, "503", retry=Retry(attempts=2, backoff=0.0, budget=0.1)) as on:
        for _ in range(requests // 20):
            await asyncio.gather(*(on.ask() for _ in range(20)))
        retries = len(on.up.calls) - requests
        seconds = on.up.calls[-1].at - on.up.calls[0].at
        assert RESERVE <= retries <= RESERVE + requests * 0.1 + seconds + 1
        assert on.gateway.runtime.router.routes["m"].targets[0].budget.refused == requests - retries


@BOTH
async def test_what_is_too_long_goes_to_a_target_with_more_room_only(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, "context-length", spared="healthy", context=(128, 100_000)) as on:
        assert (await on.ask(stream=stream)).is_whole
        assert on.calls == (1, 1)
    async with stage(tmp_path / "smaller", "context-length", spared="healthy", context=(128, 128)) as on:
        got = await on.ask(stream=stream)
        assert (got.status, got.code) == (400, "context_length_exceeded")
        assert on.calls == (1, 0)


async def test_a_refusal_says_nothing_against_the_target(tmp_path: Path) -> None:
    async with stage(tmp_path, "content-filter", retry=QUICK) as on:
        for _ in range(10):
            assert (await on.ask()).code == "content_filter"
        assert on.gateway.runtime.router.routes["m"].targets[0].breaker.failures == 0
        assert len(on.up.calls) == 10
