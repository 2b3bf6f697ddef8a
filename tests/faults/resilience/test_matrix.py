"""Every fault, whole and streamed, alone and with another target: what the client got and what the provider saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.resilience.expected import ROWS, SPECIAL, Row
from tests.faults.resilience.stage import Got, Stage, stage
from tests.faults.upstream.call import TEXT
from tests.faults.upstream.registry import every

EACH = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.fault}-{'stream' if row.stream else 'whole'}")
PROMPTLY = 4.0
"""Seconds within which a call that is no longer wanted must be given up."""

Score = Callable[..., None]


def test_every_fault_has_its_rows() -> None:
    """A fault nobody tests is not there."""
    assert {row.fault for row in ROWS} | SPECIAL == set(every())
    assert len({(row.fault, row.stream) for row in ROWS}) == len(ROWS) == 2 * len(every()) - 2 * len(SPECIAL)


@EACH
async def test_alone(tmp_path: Path, row: Row, score: Score) -> None:
    async with stage(tmp_path, row.fault, timeouts=row.timeouts) as on:
        got = await on.ask(stream=row.stream)
        ended = time.monotonic()
        score(row.fault, row.stream, "alone", got.told, len(on.up.calls))
        assert (got.code, got.status) == (row.alone, row.status), got.body[-300:]
        _is_no_lie(got, whole=not row.alone)
        if row.words:
            assert len(got.text.split()) == row.words
        assert len(on.up.calls) == row.calls
        await _tells(on, got, row.calls)
        if row.left:
            assert await on.up.given_up() - ended < PROMPTLY


@EACH
async def test_with_another_target(tmp_path: Path, row: Row, score: Score) -> None:
    context = (128, 100_000) if row.fault == "context-length" else (None, None)
    async with stage(tmp_path, row.fault, spared="healthy", timeouts=row.timeouts, context=context) as on:
        got = await on.ask(stream=row.stream)
        ended = time.monotonic()
        score(row.fault, row.stream, "spared", got.told, sum(on.calls))
        assert got.code == row.spared, got.body[-300:]
        _is_no_lie(got, whole=not row.spared)
        assert on.calls == row.spared_calls
        await _tells(on, got, sum(row.spared_calls))
        if row.left:
            moved_on = on.spare.calls[0].at if on.spare.calls else ended
            assert await on.up.given_up() - moved_on < PROMPTLY


def _is_no_lie(got: Got, *, whole: bool) -> None:
    """Either the whole answer, or none that looks whole."""
    assert got.is_whole is whole
    assert got.complete, "the connection broke instead of telling"
    if whole:
        assert got.text == TEXT
    else:
        assert TEXT.startswith(got.text)
        assert not got.terminated


async def _tells(on: Stage, got: Got, calls: int) -> None:
    """The head and the usage event tell of each attempt."""
    event = await on.event()
    assert len(event.attempts) == calls
    assert (event.outcome == "ok") is got.is_whole
    reasons = [attempt.reason for attempt in event.attempts]
    assert reasons.count("ok") == (1 if got.is_whole else 0)
    assert all(reasons)
    if got.status != 200 or event.attempts[-1].reason == "ok":
        last = event.attempts[-1]
        assert (event.provider, event.target) == (last.provider, last.model)
