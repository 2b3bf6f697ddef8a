"""Learning from feedback: shifts, times, the guard, and a made-up organization through drift, delay and lies."""

from __future__ import annotations

import math
import random
from statistics import mean
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract.learned_routes import Estimate, Timing
from gateway.routing import online, online_cells
from gateway.routing.candidates import FIRST_TOKEN
from gateway.routing.online_cells import logit_of, sigmoid
from gateway.routing.online_guard import LEAST, Guard
from gateway.routing.online_timing import Took
from tests.unit.routing.simulated import Found, World, run

TWO = (
    Estimate("a/strong", 0.8, 1_000_000, 2.0, 0.99, tokens=100),
    Estimate("b/cheap", 0.5, 100_000, 1.0, 0.01, tokens=100),
)


def seen(**changes: Any) -> online.Observation:
    """A good answer of ``a/strong``, with changes."""
    given: dict[str, Any] = {"at": 1e9, "target": "a/strong", "task": "code", "goal": "quality", "estimates": TWO}
    return online.Observation(**{**given, "propensity": 0.99, "reward": 1.0, **changes})


def shifts_of(state: online.State) -> dict[tuple[str, str], float]:
    """The shifts that are told, by target and task."""
    return {(each.target, each.task): each.shift for each in online.learned(state).shifts}


def test_nothing_is_told_of_nothing() -> None:
    assert online.learned(online.State()) == online.Learned((), (), None)


def test_bad_answers_move_a_quality_down_and_good_ones_up() -> None:
    for reward, sign in ((0.0, -1), (1.0, 1)):
        state = online.State()
        for _ in range(200):
            online.observe(state, seen(reward=reward))
        found = shifts_of(state)
        assert found.keys() == {("a/strong", ""), ("a/strong", "code")}
        assert all(value * sign > 0.1 for value in found.values())
        assert sign * (online.expected(state, "code", TWO[0]) - 0.8) > 0.1
        # Of another task it is taken to hold less, of another target not at all.
        assert 0.1 < abs(state.qualities["a/strong"].moved("poems")) < abs(state.qualities["a/strong"].moved("code"))
        assert online.expected(state, "code", TWO[1]) == pytest.approx(0.5)


def test_a_handful_of_answers_moves_little_and_many_move_to_the_truth() -> None:
    draw = random.Random(7)
    state = online.State()
    for _ in range(5):
        online.observe(state, seen(reward=0.0))
    assert online.expected(state, "code", TWO[0]) > 0.72
    state = online.State()
    for _ in range(3_000):
        online.observe(state, seen(reward=float(draw.random() < 0.6)))
    assert online.expected(state, "code", TWO[0]) == pytest.approx(0.6, abs=0.04)


def test_what_was_expected_with_a_shift_is_counted_without_it() -> None:
    plain, moved = online.State(), online.State()
    shifted = msgspec.structs.replace(TWO[0], quality=sigmoid(logit_of(0.8) - 1.5), shift=-1.5)
    for _ in range(100):
        online.observe(plain, seen(reward=0.0))
        online.observe(moved, seen(reward=0.0, estimates=(shifted, TWO[1])))
    assert shifts_of(moved) == pytest.approx(shifts_of(plain), abs=0.01)


@given(
    st.lists(
        st.tuples(st.sampled_from(["code", "poems", "law"]), st.floats(0.0, 1.0), st.floats(0.05, 0.95)),
        min_size=1, max_size=30,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_order_of_feedback_makes_no_difference(
    reports: list[tuple[str, float, float]], draw: random.Random
) -> None:
    shuffled = list(reports)
    draw.shuffle(shuffled)
    found = []
    for some in (reports, shuffled):
        quality = online_cells.Quality()
        for task, reward, expected in some:
            quality.add(task, logit_of(expected), reward, 1.0, 1e9)
        quality.solve()
        found.append([quality.moved(task) for task in ("code", "poems", "law")])
    # What fades by what follows does so in a horizon of many more observations.
    assert found[0] == pytest.approx(found[1], abs=0.05)
    assert all(abs(value) < 6.0 for value in found[0])


def test_what_is_long_ago_counts_less() -> None:
    state = online.State()
    for _ in range(100):
        online.observe(state, seen(reward=0.0))
    before = state.qualities["a/strong"].weight
    online.observe(state, seen(at=1e9 + online_cells.HALF_LIFE))
    assert state.qualities["a/strong"].weight == pytest.approx(before / 2, rel=0.05)
    online.observe(state, seen(at=1e9))  # late: nothing more fades
    assert state.qualities["a/strong"].weight == pytest.approx(before / 2 + 1, rel=0.05)


def test_a_target_that_changed_is_noticed_and_the_past_forgotten() -> None:
    draw = random.Random(3)
    state = online.State()
    for _ in range(1_000):
        online.observe(state, seen(reward=float(draw.random() < 0.8)))
    assert state.changes == 0
    for _ in range(60):
        online.observe(state, seen(reward=float(draw.random() < 0.2)))
    assert state.changes >= 1
    assert online.expected(state, "code", TWO[0]) < 0.55


def test_weak_evidence_counts_weakly_and_an_unknown_target_not_at_all() -> None:
    state = online.State()
    for _ in range(20):
        online.observe(state, seen(reward=0.0, weight=0.1))
    assert state.qualities["a/strong"].weight == pytest.approx(2.0, rel=0.05)
    assert state.guard.seen == 0
    online.observe(state, seen(target="c/elsewhere", reward=0.0, seconds=2.0))
    assert state.qualities.keys() == {"a/strong"}
    assert state.times.keys() == {"c/elsewhere"}


def test_an_improbable_choice_counts_more_but_not_boundlessly() -> None:
    state = online.State()
    online.observe(state, seen(target="b/cheap", propensity=0.001))
    assert state.qualities["b/cheap"].weight == pytest.approx(online.IMPORTANCE)


def test_times_follow_what_is_seen_at_once() -> None:
    took = Took()
    for _ in range(60):
        took.add(0.2, 0.2 + 400 * 0.01, 400)
        took.add_length(400, 200.0)
    told = took.told("a/strong")
    assert isinstance(told, Timing)
    assert told.first_token == pytest.approx(0.2, rel=0.1)
    assert told.per_token == pytest.approx(0.01, rel=0.1)
    assert told.length == pytest.approx(2.0, rel=0.1)
    assert told.spread < 1.5
    assert told.weight == 60
    fresh = Took()
    fresh.add(None, 6.0, 0)  # all that is known is that it was slower
    assert fresh.told("x").first_token > FIRST_TOKEN


def test_times_stay_sound_whatever_they_are_told() -> None:
    took = Took()
    for seconds in (0.0, 1e-9, 1e12, 3.0):
        took.add(None, seconds, 0)
        took.add(seconds * 2, seconds, 10**9)
        took.add_length(10**9, 1e-9)
    assert all(math.isfinite(value) and value > 0 for value in msgspec.structs.astuple(took.told("x"))[1:])


def test_the_guard_takes_the_fixed_choice_that_is_ahead_and_lets_it_go() -> None:
    guard = Guard()
    worth = {"a": 0.6, "b": 0.5}
    for _ in range(int(LEAST) + 50):
        guard.add("a", worth, "a", 0.3, 1.0)  # what is learnt takes a, which comes to less than b is expected to
    assert guard.fixed == "b"
    for number in range(3_000):
        # Now each is taken where it is better than the other.
        learned = "ab"[number % 2]
        guard.add(learned, {"a": 0.4, "b": 0.4} | {learned: 0.7}, learned, 0.7, 1.0)
    assert guard.fixed is None


def test_the_guard_takes_noise_for_noise() -> None:
    guard = Guard()
    for number in range(int(LEAST) * 4):
        # What is learnt takes a, which is a hundredth behind of what is expected of b, give or take a half.
        guard.add("a", {"a": 0.6, "b": 0.5}, "a", 0.49 + (0.5 if number % 2 else -0.5), 1.0)
    assert guard.targets["b"].mean < 0.0
    assert guard.fixed is None


def test_the_guard_concludes_nothing_from_a_few() -> None:
    guard = Guard()
    for _ in range(int(LEAST) - 10):
        guard.add("a", {"a": 0.6, "b": 0.5}, "a", 0.0, 1.0)
    assert guard.fixed is None


def test_a_state_is_the_same_after_it_was_kept() -> None:
    state = online.State()
    run(World(1), 400, state)
    text = msgspec.json.encode(state)
    again = msgspec.json.decode(text, type=online.State)
    assert online.learned(again) == online.learned(state)
    for each in (state, again):
        online.observe(each, seen(reward=0.0))
    assert msgspec.json.encode(again) == msgspec.json.encode(state)
    assert len(text) < 20_000


def test_a_state_kept_before_anything_was_in_doubt_goes_on() -> None:
    state = online.State()
    run(World(1), 300, state)
    kept = msgspec.json.decode(msgspec.json.encode(state))
    del kept["prior"], kept["silent"]
    kept["strength"] = 1.0
    state.prior = online_cells.Prior()  # as it is read
    again = msgspec.json.decode(msgspec.json.encode(kept), type=online.State)
    told = online.learned(again)
    assert [each.shift for each in told.shifts] == [each.shift for each in online.learned(state).shifts]
    assert {told.doubt, *(each.doubt for each in told.shifts)} == {0.0}, "until the next report"
    online.observe(again, seen(reward=1.0))
    assert online.learned(again).doubt > 0.0


def test_nothing_is_tried_where_nobody_reports() -> None:
    state = online.State()
    for _ in range(50):
        online.observe(state, seen(reward=0.0, weight=0.2))
    assert online.learned(state).doubt == 0.0
    online.observe(state, seen(reward=0.0))
    told = online.learned(state)
    assert told.doubt > max(each.doubt for each in told.shifts) > 0.0
    for _ in range(online.SILENT):
        online.observe(state, seen(reward=None))
    assert online.learned(state).doubt == 0.0


def test_without_reports_failures_tell_nothing_of_targets_that_were_not_called() -> None:
    state = online.State()
    for _ in range(300):
        online.observe(state, seen(reward=0.0, weight=0.1))
        online.observe(state, seen(target="b/cheap", reward=0.0, weight=0.1))
    assert online.learned(state).common == 0.0
    for _ in range(30):
        online.observe(state, seen(reward=0.0))
    told = online.learned(state)
    assert told.common < -0.5
    untried = msgspec.structs.replace(TWO[0], target="c/new")
    assert online.expected(state, "chat", untried) < untried.quality
    for _ in range(online.SILENT):
        online.observe(state, seen(reward=None))
    assert online.learned(state).common == 0.0


def test_what_is_kept_is_bounded() -> None:
    state = online.State()
    for number in range(200):
        estimate = msgspec.structs.replace(TWO[0], target=f"p/{number}")
        online.observe(state, seen(target=f"p/{number}", task=f"task {number}", estimates=(estimate,), seconds=1.0))
        online.observe(state, seen(task=f"task {number}"))
    assert len(state.qualities) <= online.MOST_TARGETS
    assert len(state.times) <= online.MOST_TARGETS
    assert all(len(each.tasks) <= online_cells.MOST_TASKS for each in state.qualities.values())
    assert len(msgspec.json.encode(state)) < 200_000


def test_only_what_workers_would_notice_is_worth_telling() -> None:
    state = online.State()
    for _ in range(100):
        online.observe(state, seen(reward=0.0, seconds=2.0, tokens=100))
    told = online.learned(state)
    assert online.differs(told, online.Learned((), (), None))
    assert not online.differs(told, told)
    assert online.differs(msgspec.structs.replace(told, fixed="b/cheap"), told)
    assert online.differs(msgspec.structs.replace(told, common=told.common + 0.1), told)
    slower = msgspec.structs.replace(told.timings[0], per_token=told.timings[0].per_token * 1.2)
    assert online.differs(msgspec.structs.replace(told, timings=(slower,)), told)


@pytest.mark.parametrize("seed", [1, 2])
def test_through_drift_delay_and_lies(seed: int) -> None:
    """8,000 decisions with feedback, a tenth of it lies, late by 60 decisions on average; half-way the best target
    becomes bad. The bounds are those to be reached; docs/routing.md has what is."""
    state = online.State()
    found = Found(run(World(seed, off=0.5, lies=0.1, drift_at=4_000), 8_000, state))
    assert found.ahead_of_fixed(1_000, 4_000) > -0.01
    assert found.ahead_of_fixed(5_000, 8_000) > -0.01
    assert found.ahead_of_warm(1_000, 8_000) > 0.02
    # What drift cost before it was noticed is over within a thousand decisions.
    assert found.ahead_of_fixed(4_000, 4_200) < -0.02
    assert state.changes >= 1


@pytest.mark.parametrize("graded", [-1.0, 1.0])
def test_a_strict_or_a_mild_judge_makes_nobody_leave_a_target_for_those_that_are_not_known(graded: float) -> None:
    ahead = []
    for seed in range(6):
        state = online.State()
        found = Found(run(World(seed, off=0.01, graded=graded), 4_000, state))
        ahead.append(found.ahead_of_fixed(1_000, 4_000))
        assert state.prior.common == pytest.approx(graded, abs=0.4)
    assert mean(ahead) > -0.01
    assert min(ahead) > -0.03


def test_where_the_weights_are_right_learning_costs_little() -> None:
    found = Found(run(World(3, off=0.0), 4_000, online.State()))
    assert found.ahead_of_warm(1_000, 4_000) > -0.012
    assert found.ahead_of_fixed(1_000, 4_000) > -0.01


def test_one_that_lies_moves_itself_alone() -> None:
    honest, beside, liar = online.State(), online.State(), online.State()
    run(World(5, off=0.5), 1_500, honest)
    # Both learn in turns: nothing is shared that could carry anything over.
    world, lying = World(5, off=0.5), World(5, lies=1.0, off=0.5)
    for _ in range(3):
        run(lying, 500, liar)
    run(world, 1_500, beside)
    assert msgspec.json.encode(beside) == msgspec.json.encode(honest)
    assert shifts_of(liar) != shifts_of(honest)
    target = max(honest.qualities, key=lambda name: honest.qualities[name].weight)
    assert liar.qualities[target].shift < honest.qualities[target].shift - 0.5
