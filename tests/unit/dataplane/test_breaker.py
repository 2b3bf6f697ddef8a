"""The circuit breaker, by a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.breaker import CLOSED, HALF_OPEN, LONGEST_LIMIT, OPEN, Breaker
from gateway.settings.model import Breaker as Settings


def breaker(failures: int = 3, cooldown: float = 10.0) -> Breaker:
    return Breaker(Settings(failures=failures, cooldown=cooldown))


def opened(now: float = 0.0, cooldown: float = 10.0) -> Breaker:
    one = breaker(1, cooldown)
    one.failed(now)
    assert one.state == OPEN
    return one


def test_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    one = breaker(3)
    for now in range(10):
        one.failed(now)
        one.failed(now)
        one.succeeded()
    assert (one.state, one.failures, one.opened) == (CLOSED, 0, 0)
    for _ in range(3):
        one.failed(100.0)
    assert (one.state, one.open_until, one.opened) == (OPEN, 110.0, 1)
    assert not one.passes(109.9)


def test_failures_of_requests_that_began_before_do_not_prolong_the_rest() -> None:
    one = opened(0.0)
    for now in (1.0, 5.0, 9.9):
        one.failed(now)
    assert (one.open_until, one.opened, one.failures) == (10.0, 1, 4)


def test_one_probe_passes_and_its_failure_opens_again() -> None:
    one = opened(0.0)
    assert one.passes(10.0)
    assert one.state == HALF_OPEN
    assert not one.passes(10.0)
    assert not one.passes(99.0)
    one.failed(12.0)
    assert (one.state, one.open_until, one.opened) == (OPEN, 22.0, 2)


def test_a_probe_that_is_answered_closes_on_probation() -> None:
    one = breaker(3)
    for _ in range(3):
        one.failed(0.0)
    assert one.passes(10.0)
    one.answered()
    assert (one.state, one.failures) == (CLOSED, 2)
    one.failed(11.0)
    assert one.state == OPEN, "the answer broke off"
    assert one.passes(21.0)
    one.answered()
    one.succeeded()
    one.failed(22.0)
    assert one.state == CLOSED


def test_a_first_piece_says_nothing_while_it_is_closed_or_open() -> None:
    one = breaker(3)
    one.failed(0.0)
    one.answered()
    assert (one.state, one.failures) == (CLOSED, 1)
    other = opened()
    other.answered()
    assert other.state == OPEN


def test_a_probe_that_tells_nothing_leaves_its_place_to_the_next() -> None:
    one = opened(0.0)
    assert one.passes(10.0)
    one.release(13.0)
    assert one.passes(13.0)
    assert not one.passes(13.0)
    one.succeeded()
    one.release(14.0)
    assert one.state == CLOSED, "a verdict is not taken back"


def test_a_busy_target_is_preferred_again_when_its_time_is_over() -> None:
    one = breaker()
    one.limited(100.0, 5.0)
    assert one.passes(100.0), "it lives: it is only asked last"
    assert one.rests_until(104.9) == 105.0
    assert one.rests_until(105.0) == 0.0
    one.limited(200.0, 1e9)
    assert one.rests_until(200.0) == 200.0 + LONGEST_LIMIT


def test_the_order_of_resting_targets_is_that_of_their_return() -> None:
    soon, late, probed, fine = opened(0.0, 5.0), opened(0.0, 50.0), opened(0.0, 1.0), breaker()
    assert probed.passes(2.0)
    ranked = sorted([late, soon, probed, fine], key=lambda one: one.rests_until(2.0))
    assert ranked == [fine, probed, soon, late]


async def test_those_who_wait_go_when_the_probe_has_succeeded() -> None:
    loop = asyncio.get_running_loop()
    one = opened(loop.time(), 0.05)
    waiting = [asyncio.create_task(one.recovered(loop.time() + 5, 10)) for _ in range(5)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    assert one.state == HALF_OPEN
    assert one.waiting == 4
    one.succeeded()
    assert await asyncio.gather(*waiting) == [True] * 5
    assert one.waiting == 0


async def test_nobody_waits_for_what_will_not_come_in_time() -> None:
    now = asyncio.get_running_loop().time()
    one = opened(now, 60.0)
    async with asyncio.timeout(4):
        assert not await one.recovered(now + 5, 10)


async def test_a_wait_ends_when_patience_does() -> None:
    loop = asyncio.get_running_loop()
    one = opened(loop.time(), 0.01)
    assert await one.recovered(loop.time() + 1, 10)
    began = loop.time()
    assert not await one.recovered(began + 0.1, 10), "the probe is still out"
    assert 0.09 <= loop.time() - began < 5


async def test_the_room_to_wait_in_is_bounded() -> None:
    loop = asyncio.get_running_loop()
    one = opened(loop.time(), 0.2)
    assert not await one.recovered(loop.time() + 5, 0)
    waiting = [asyncio.create_task(one.recovered(loop.time() + 5, 2)) for _ in range(3)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [False]
    assert one.waiting == 2
    await asyncio.wait(waiting[:2], return_when=asyncio.FIRST_COMPLETED)
    one.succeeded()
    assert [task.result() for task in done] + await asyncio.gather(*waiting[:2]) == [False, True, True]


async def test_one_who_leaves_while_waiting_is_forgotten() -> None:
    loop = asyncio.get_running_loop()
    one = opened(loop.time(), 1.0)
    task = asyncio.create_task(one.recovered(loop.time() + 5, 10))
    await asyncio.sleep(0)
    assert one.waiting == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert one.waiting == 0


STEPS = st.lists(st.tuples(st.sampled_from(["fail", "pass", "answer", "succeed", "release"]), st.floats(0, 20)))


@given(STEPS, st.integers(1, 4))
def test_whatever_happens_at_most_one_probe_is_out_and_a_rest_ends(
    steps: list[tuple[str, float]], failures: int
) -> None:
    one = breaker(failures, 10.0)
    now = 0.0
    out = 0
    for step, seconds in steps:
        now += seconds
        if step == "pass":
            before = one.state
            if one.passes(now) and before != CLOSED:
                out += 1
                assert one.state == HALF_OPEN
        elif step == "fail":
            one.failed(now)
        elif step == "answer":
            one.answered()
        elif step == "succeed":
            one.succeeded()
        else:
            one.release(now)
        if one.state != HALF_OPEN:
            out = 0
        assert out <= 1
        assert one.open_until <= now + 10.0
    if one.state == OPEN:
        assert one.passes(now + 10.0)
