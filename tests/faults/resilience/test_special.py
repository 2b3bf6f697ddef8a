"""Faults that one request on one target does not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.model import Breaker, Retry
from tests.faults.resilience.stage import stage
from tests.faults.upstream.call import TEXT

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@BOTH
async def test_connections_that_end_when_they_are_used_again_cost_no_try(tmp_path: Path, stream: bool) -> None:
    once, breaker = Retry(attempts=1), Breaker(failures=1, cooldown=60, wait=0)
    async with stage(tmp_path, "stale-keep-alive", retry=once, breaker=breaker) as on:
        ended = 0
        for number in range(1, 5):
            got = await on.ask(stream=stream)
            assert got.is_whole
            *before, last = await on.reasons()
            assert last == "ok"
            assert set(before) <= {"stale_connection"}
            assert got.headers["x-gateway-attempts"] == str(len(before) + 1)
            ended += len(before)
            assert sum(call.nth == 1 for call in on.up.calls) == number, "each was answered once"
        stale = [call for call in on.up.calls if call.nth > 1]
        assert len({call.connection for call in stale}) == len(stale) == ended == 3
        assert on.gateway.runtime.router.routes["m"].targets[0].budget.refused == 0


async def test_a_target_that_refuses_to_go_on_is_not_asked_to_again(tmp_path: Path) -> None:
    async with stage(tmp_path, "stream-cut", spared="no-prefill") as on:
        got = await on.ask(stream=True)
        assert got.code == "upstream_reset"
        assert not got.is_whole
        assert TEXT.startswith(got.text)
        assert [bool(call.prefill) for call in on.spare.calls] == [True]
        assert (await on.ask(stream=True)).code == "upstream_reset"
        assert len(on.spare.calls) == 1, "it has said that it can't"


async def test_where_it_can_not_be_gone_on_with_the_answer_begins_anew_if_that_is_wanted(tmp_path: Path) -> None:
    async with stage(tmp_path, "stream-cut", spared="no-prefill", stream_recovery="restart") as on:
        got = await on.ask(stream=True)
        assert not got.code
        assert got.terminated
        assert got.text.endswith(TEXT)
        assert on.spare.calls[-1].prefill == ""


@BOTH
async def test_all_targets_fail_in_their_own_ways(tmp_path: Path, stream: bool) -> None:
    """The last one's error is the one that is told, and every attempt is in the usage event."""
    async with stage(tmp_path, "html-200", spared="error-200") as on:
        got = await on.ask(stream=stream)
        assert (got.status, got.code) == (503, "503")
        assert await on.reasons() == ["protocol", "protocol", "error_body", "error_body"]
        assert on.calls == (2, 2)
