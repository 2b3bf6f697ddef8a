"""The limit on calls under way: it finds what a target can bear, falls when that falls, and comes back."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.concurrency import BACK_OFF, INITIAL, LEAST, STEEPEST, WINDOW, Limit
from gateway.dataplane.latency import DOUBLES, MOST, OUTLIER, Latency
from gateway.settings.model import Concurrency

BASE = 0.2


def limit(**settings: int | float) -> Limit:
    return Limit(Concurrency(**settings), "up/x")  # type: ignore[arg-type]


class Simulated:
    """A target that answers ``capacity`` calls in ``BASE`` seconds, and more of them later in proportion."""

    def __init__(self, of: Limit, clients: int) -> None:
        self.limit = of
        self.clients = clients
        self.now = 100.0
        self.most = 0
        self._calls: list[tuple[float, int, float]] = []
        self._number = 0

    def run(self, seconds: float, capacity: int) -> float:
        """Let clients call without a break; the mean time to an answer in the last quarter."""
        until, late = self.now + seconds, self.now + seconds * 0.75
        took: list[float] = []
        while self.now < until:
            while len(self._calls) < self.clients and self.limit.take():
                self._number += 1
                self.most = max(self.most, self.limit.in_flight)
                sent = self.now + 0.001 * (self._number % 7)
                wait = BASE * max(1.0, self.limit.in_flight / capacity)
                heappush(self._calls, (sent + wait, self._number, sent))
            self.now, _, sent = heappop(self._calls)
            if self.now > late:
                took.append(self.now - sent)
            self.limit.answered(7, self.now - sent, self.now)
            self.limit.release(None)
            assert self.limit.in_flight == len(self._calls)
        return sum(took) / len(took)


def test_it_finds_what_the_target_can_bear() -> None:
    found = limit()
    target = Simulated(found, clients=400)
    took = target.run(60, capacity=40)
    assert 40 <= found.limit <= 160
    assert took < 4 * BASE, "400 at once would take ten times as long as usual"


def test_it_falls_when_latency_rises_and_comes_back() -> None:
    found = limit()
    target = Simulated(found, clients=400)
    target.run(60, capacity=64)
    well = found.limit
    target.run(30, capacity=8)
    assert found.limit < well / 3
    assert found.lowered > 0
    target.run(60, capacity=64)
    assert found.limit > well / 2


def test_it_keeps_to_its_bounds() -> None:
    found = limit(min=6, max=30)
    target = Simulated(found, clients=100)
    target.run(20, capacity=1000)
    assert found.limit == target.most == 30
    target.run(30, capacity=1)
    assert found.limit >= 6
    for _ in range(50):
        target.now += 10
        found.overloaded(target.now - 1, target.now)
    assert found.limit == 6


def test_while_little_of_it_is_used_it_stays() -> None:
    found = limit(initial=40)
    target = Simulated(found, clients=5)
    target.run(20, capacity=1000)
    assert found.limit == 40
    target.run(20, capacity=1)
    assert found.limit == 40, "five calls do not tell what forty would do"


def test_it_begins_by_doubling() -> None:
    found = limit()
    assert found.limit == INITIAL
    seen = []
    target = Simulated(found, clients=1_000)
    for _ in range(4):
        target.run(WINDOW * 1.2, capacity=10_000)
        seen.append(found.limit)
    assert seen[-1] >= INITIAL * 8, seen


@pytest.mark.parametrize(("settings", "first"), [({"max": 8}, 8), ({"min": 30}, 30), ({"initial": 50}, 50)])
def test_it_begins_within_its_bounds(settings: dict[str, int], first: int) -> None:
    assert limit(**settings).limit == first


def test_a_fixed_number_stays() -> None:
    found = limit(min=10, max=10)
    target = Simulated(found, clients=50)
    target.run(10, capacity=1)
    found.overloaded(target.now, target.now)
    assert (found.limit, target.most, found.lowered) == (10, 10, 0)


def test_what_was_sent_before_it_was_lowered_does_not_lower_it_again() -> None:
    found = limit(initial=100)
    for sent in (1.0, 2.0, 3.0):
        found.overloaded(sent, 10.0)
    assert found.limit == int(100 * BACK_OFF)
    found.overloaded(11.0, 12.0)
    assert found.limit == int(100 * BACK_OFF * BACK_OFF)


def test_late_answers_to_what_was_sent_before_tell_nothing() -> None:
    found = limit(initial=4)
    feed(found, [0.1] * LEAST, 1.0)
    found.overloaded(1.0, 2.0)
    assert found.limit == 5
    feed(found, [1.9] * 5 * LEAST, 2.1)
    assert found.limit == 5


def feed(to: Limit, seconds: list[float], now: float) -> None:
    """Answers to calls that use it all."""
    to.in_flight = to.limit
    for each in seconds:
        to.answered(0, each, now)
    to.in_flight = 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("answered"), st.floats(0, 1_000)),
            st.tuples(st.just("overloaded"), st.floats(0, 10)),
            st.tuples(st.just("pass"), st.floats(0, 10)),
        ),
        max_size=200,
    ),
    st.integers(1, 50),
    st.integers(0, 500),
)
def test_whatever_it_is_told_it_keeps_to_its_bounds(steps: list[tuple[str, float]], least: int, more: int) -> None:
    found = limit(min=least, max=least + more)
    now = 1.0
    for what, value in steps:
        if what == "pass":
            now += value
        elif what == "overloaded":
            found.overloaded(now - value, now)
        else:
            found.in_flight = found.limit
            found.answered(int(value) % 5, value, now)
            found.in_flight = 0
        assert least <= found.limit <= least + more


def test_one_look_lowers_it_by_half_at_most() -> None:
    found = limit(initial=100)
    feed(found, [0.1] * LEAST, 1.0)
    before = found.limit
    feed(found, [0.1 * OUTLIER] * LEAST, 2.0)
    assert found.limit == int(before * STEEPEST)


def test_a_reload_keeps_what_is_known_and_under_way() -> None:
    found = limit(initial=80)
    assert all(found.take() for _ in range(50))
    found.configure(Concurrency(max=60, queue=3))
    assert (found.limit, found.in_flight, found.room.places) == (60, 50, 3)


# who waits


async def test_who_waits_begins_when_a_call_is_over() -> None:
    found = limit(min=1, max=1)
    loop = asyncio.get_running_loop()
    assert found.take()
    assert not found.take()
    waiting = [loop.create_task(found.turn("acme", 1.0, loop.time() + 60)) for _ in range(2)]
    await asyncio.sleep(0)
    assert len(found.room) == 2
    found.release(None)
    first = await waiting[0]
    assert (found.in_flight, len(found.room)) == (1, 1)
    found.release(first)
    found.release(await waiting[1])
    assert (found.in_flight, len(found.room)) == (0, 0)
    assert found.room.served == 2


async def test_who_leaves_just_as_its_turn_comes_hands_it_on() -> None:
    found = limit(min=1, max=1)
    loop = asyncio.get_running_loop()
    assert found.take()
    first, second = (loop.create_task(found.turn("acme", 1.0, loop.time() + 60)) for _ in range(2))
    await asyncio.sleep(0)
    found.release(None)
    first.cancel()
    found.release(await second)
    assert first.cancelled()
    assert (found.in_flight, len(found.room)) == (0, 0)


async def test_a_higher_limit_lets_waiters_in_at_once() -> None:
    found = limit(min=1, max=1)
    loop = asyncio.get_running_loop()
    assert found.take()
    waiting = [loop.create_task(found.turn("acme", 1.0, loop.time() + 60)) for _ in range(5)]
    await asyncio.sleep(0)
    found.configure(Concurrency(min=4, max=4))
    for _ in range(3):
        await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, True, False, False]
    assert found.in_flight == 4
    for task in waiting[3:]:
        task.cancel()
    await asyncio.gather(*waiting[3:], return_exceptions=True)
    assert len(found.room) == 0


# how late a target is


def test_like_is_compared_with_like() -> None:
    """Twice as many long prompts as before is no overload."""
    latency = Latency()
    for kind, seconds in ((1, 0.1), (2, 3.0)):
        for _ in range(30):
            latency.add(kind, seconds)
    assert latency.close(1.0) == 1.0
    for _ in range(30):
        latency.add(2, 3.0)
    assert latency.close(1.0) == pytest.approx(1.0)
    for _ in range(30):
        latency.add(1, 0.25)
    assert latency.close(1.0) == pytest.approx(2.5)


def test_an_overload_does_not_become_usual_soon() -> None:
    latency = Latency()
    for _ in range(20):
        latency.add(1, 0.1)
    latency.close(1.0)
    for _ in range(60):
        for _ in range(100):
            latency.add(1, 0.5)
        ratio = latency.close(1.0)
    assert ratio > 4.5, "a minute of it"
    for _ in range(int(3 * DOUBLES)):
        for _ in range(100):
            latency.add(1, 0.5)
        ratio = latency.close(1.0)
    assert ratio == pytest.approx(1.0, abs=0.1), "half an hour of it"


def test_an_improvement_is_usual_soon() -> None:
    latency = Latency()
    for seconds in (1.0, 0.2, 0.2, 0.2, 0.2, 0.2):
        for _ in range(100):
            latency.add(1, seconds)
        latency.close(1.0)
    for _ in range(100):
        latency.add(1, 0.5)
    assert latency.close(1.0) > 2.0


def test_one_outlier_says_little() -> None:
    latency = Latency()
    for _ in range(50):
        latency.add(1, 0.1)
    latency.close(1.0)
    for seconds in [0.1] * 49 + [600.0]:
        latency.add(1, seconds)
    assert latency.close(1.0) < 1.2


def test_kinds_are_bounded() -> None:
    latency = Latency()
    for kind in range(10 * MOST):
        latency.add(kind, 1.0)
    assert latency.count == MOST
    latency.drop()
    assert latency.close(1.0) == 1.0
