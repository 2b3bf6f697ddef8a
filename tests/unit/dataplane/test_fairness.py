"""Turns among organisations: bounded, in order within each, by weight between them, and with nothing left over."""

from __future__ import annotations

from collections import Counter, deque
from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.fairness import LONGEST, Entry, FairQueue

NAMES = ("acme", "bolt", "cove", "dyne")
WEIGHTS = st.sampled_from((0.25, 0.5, 1.0, 2.0, 3.0, 10.0))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from(NAMES), WEIGHTS),
        st.tuples(st.just("pop"), st.just(""), st.just(0.0)),
        st.tuples(st.just("leave"), st.just(""), st.floats(0, 0.999)),
        st.tuples(st.just("done"), st.just(""), st.floats(0, 200)),
    ),
    max_size=120,
)


@given(STEPS)
def test_whatever_happens_the_order_holds_and_nothing_is_left_over(steps: list[tuple[str, str, float]]) -> None:
    queue: FairQueue[int] = FairQueue(timed=True)
    lines: dict[str, deque[int]] = {name: deque() for name in NAMES}
    waiting: dict[int, Entry[int]] = {}
    running: list[Entry[int]] = []
    for number, (what, name, value) in enumerate(steps):
        if what == "push":
            waiting[number] = queue.push(name, value, number)
            lines[name].append(number)
        elif what == "pop":
            served = queue.pop()
            assert (served is None) is (not waiting), "somebody waits and nobody is served"
            if served is not None:
                assert lines[served.flow.name].popleft() == served.item, "not who came first"
                assert waiting.pop(served.item) is served
                running.append(served)
        elif what == "leave" and waiting:
            gone = list(waiting)[int(value * len(waiting))]
            entry = waiting.pop(gone)
            lines[entry.flow.name].remove(gone)
            queue.remove(entry)
            queue.remove(entry)  # twice is harmless
        elif what == "done" and running:
            queue.done(running.pop(), value)
        assert len(queue) == len(waiting)
        assert {flow.name for flow in queue.waiting} == {name for name, line in lines.items() if line}
        assert set(queue._flows) == {entry.flow.name for entry in (*waiting.values(), *running)}
        assert len(queue._heap) <= 65 + 2 * len(NAMES)
    for entry in waiting.values():
        queue.remove(entry)
    for entry in running:
        queue.done(entry, 1.0)
    assert not queue._flows
    assert not queue._heap
    assert len(queue) == 0
    assert queue.pop() is None


@given(st.dictionaries(st.sampled_from(NAMES), WEIGHTS, min_size=2), st.integers(1, 300))
def test_turns_go_by_weight(weights: dict[str, float], turns: int) -> None:
    """While all have something waiting, no two differ by more than one turn of each."""
    queue: FairQueue[None] = FairQueue()
    for name, weight in weights.items():
        for _ in range(turns):
            queue.push(name, weight, None)
    served: Counter[str] = Counter()
    for _ in range(turns):
        served[_name(queue)] += 1
        for one, mine in weights.items():
            for other, theirs in weights.items():
                apart = abs(served[one] / mine - served[other] / theirs)
                assert apart <= 1 / mine + 1 / theirs + 1e-6, (one, other, served)


@given(
    st.lists(st.tuples(WEIGHTS, st.integers(1, 40)), min_size=1, max_size=6),
    st.integers(0, 60),
    WEIGHTS,
)
def test_who_comes_late_waits_for_one_turn_of_each_other(
    floods: list[tuple[float, int]], before: int, weight: float
) -> None:
    queue: FairQueue[None] = FairQueue()
    for number, (heavy, count) in enumerate(floods):
        for _ in range(count):
            queue.push(f"flood-{number}", heavy, None)
    for _ in range(before):
        queue.pop()
    others = len(list(queue.waiting))
    predicted = queue.ahead("late", weight)
    queue.push("late", weight, None)
    turns = next(turn for turn in range(len(queue)) if _name(queue) == "late")
    assert turns <= others
    assert turns == predicted


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.just(1.0)), max_size=80), st.sampled_from(NAMES))
def test_how_many_are_ahead_is_known(waiting: list[tuple[str, float]], name: str) -> None:
    queue: FairQueue[Any] = FairQueue()
    for each, weight in waiting:
        queue.push(each, weight, None)
    predicted = queue.ahead(name, 1.0)
    assert queue.ahead(name, 1.0, 0) <= predicted
    mine = queue.push(name, 1.0, "mine")
    turns = 0
    while queue.pop() is not mine:
        turns += 1
    assert abs(turns - predicted) <= len(NAMES), "but for ties"


def test_one_that_floods_does_not_delay_another() -> None:
    queue: FairQueue[None] = FairQueue()
    for _ in range(1_000):
        queue.push("flood", 1.0, None)
    for _ in range(500):
        queue.pop()
    queue.push("small", 1.0, None)
    assert "small" in (_name(queue), _name(queue))


def test_calls_that_took_less_than_expected_give_nobody_a_head_start() -> None:
    queue: FairQueue[None] = FairQueue(timed=True)
    for _ in range(100):
        queue.push("flood", 1.0, None)
    under_way = deque(filter(None, (queue.pop() for _ in range(4))))
    for _ in range(20):
        queue.done(under_way.popleft(), 0.005)
        entry = queue.pop()
        assert entry is not None
        under_way.append(entry)
    queue.push("small", 1.0, None)
    assert "small" in (_name(queue), _name(queue))


def test_nobody_saves_up_turns() -> None:
    """Who was away while others were served is not owed what it did not ask for."""
    queue: FairQueue[None] = FairQueue()
    for _ in range(100):
        queue.push("acme", 1.0, None)
        queue.push("bolt", 1.0, None)
    served = Counter(_name(queue) for _ in range(100))
    assert served == {"acme": 50, "bolt": 50}
    for _ in range(50):
        queue.push("cove", 1.0, None)
    served = Counter(_name(queue) for _ in range(60))
    assert served["cove"] <= 21


@pytest.mark.parametrize(("long", "short"), [(10.0, 1.0), (30.0, 0.5)])
def test_long_calls_do_not_take_the_room_of_short_ones(long: float, short: float) -> None:
    """Two organisations with the same weight get the same time in the slots, not the same number of calls."""
    used = _simulated({"long": (1.0, long), "short": (1.0, short)}, slots=10, until=2_000.0)
    assert 0.75 < used["long"] / used["short"] < 1.35


def test_time_in_the_slots_goes_by_weight() -> None:
    used = _simulated({"heavy": (3.0, 4.0), "light": (1.0, 1.0)}, slots=8, until=4_000.0)
    assert 2.3 < used["heavy"] / used["light"] < 3.7


def test_a_single_endless_call_costs_no_more_than_the_longest() -> None:
    queue: FairQueue[None] = FairQueue(timed=True)
    queue.push("acme", 1.0, None)
    entry = queue.pop()
    assert entry is not None
    queue.push("acme", 1.0, None)
    queue.push("bolt", 1.0, None)
    queue.done(entry, 86_400.0)
    for _ in range(int(2 * LONGEST)):
        queue.push("bolt", 1.0, None)
    turns = 0
    while (served := queue.pop()) is not None and served.flow.name == "bolt":
        queue.done(served, 1.0)
        turns += 1
    assert LONGEST - 2 <= turns <= LONGEST + 2


def test_charges_do_not_pile_up() -> None:
    """A call that took longer than charged moves its organisation, each time by a note of its own."""
    queue: FairQueue[None] = FairQueue(timed=True)
    for name in NAMES:
        for _ in range(5_000):
            queue.push(name, 1.0, None)
    for turn in range(15_000):
        entry = queue.pop()
        assert entry is not None
        queue.done(entry, 0.01 + turn % 7)
        assert len(queue._heap) <= 65 + 2 * len(NAMES)


def _name(queue: FairQueue[Any]) -> str:
    entry = queue.pop()
    assert entry is not None
    return entry.flow.name


def _simulated(organizations: dict[str, tuple[float, float]], slots: int, until: float) -> dict[str, float]:
    """Seconds in the slots of each, by name: weight and seconds a call; all always have more waiting."""
    queue: FairQueue[None] = FairQueue(timed=True)
    used = dict.fromkeys(organizations, 0.0)
    for name, (weight, _) in organizations.items():
        for _ in range(50):
            queue.push(name, weight, None)
    under_way: list[tuple[float, int, Entry[None]]] = []
    now, number = 0.0, 0
    while now < until:
        while len(under_way) < slots:
            entry = queue.pop()
            assert entry is not None
            weight, seconds = organizations[entry.flow.name]
            queue.push(entry.flow.name, weight, None)
            number += 1
            heappush(under_way, (now + seconds, number, entry))
        now, _, entry = heappop(under_way)
        seconds = organizations[entry.flow.name][1]
        used[entry.flow.name] += seconds
        queue.done(entry, seconds)
    return used
