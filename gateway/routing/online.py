"""What an organization's feedback teaches: pure functions over a state that is kept elsewhere.

::

    state = State()
    observe(state, Observation(…))     what became of a decision
    learned(state)                     what workers are told: shifts, timings, the fixed choice if there is one

The same observations make the same state. Nothing is drawn, read or kept elsewhere, and nothing of one state reaches
another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from gateway.contract.learned_routes import Estimate, Goal, Shift, Timing
from gateway.routing.online_cells import Prior, Quality, logit_of, sigmoid
from gateway.routing.online_guard import Guard
from gateway.routing.online_timing import Took
from gateway.routing.online_trust import doubt, informations, prior_of
from gateway.routing.online_worth import worth_of

VERSION: Final = 1
MOST_TARGETS: Final = 32
IMPORTANCE: Final = 2.0
"""A choice that was improbable counts no more than this many probable ones."""
FULL: Final = 0.5
"""The weight of evidence from which on an answer counts for the guard as well."""
SILENT: Final = 200
"""Observations without a report after which nothing is tried any more for what it might teach."""


class Observation(Struct, frozen=True, kw_only=True):
    """What became of a decision, as far as it is known. ``at`` is Unix seconds.

    ``target`` is the one that answered, ``propensity`` the probability with which it was chosen. ``reward`` is how good
    its answer was (0 to 1), ``weight`` how much that counts as evidence. ``seconds`` until its end, ``first_token``
    until its first token, ``tokens`` of the answer; None and 0 where unknown. ``estimates`` are those of the decision.
    """

    at: float
    target: str
    task: str
    goal: Goal
    estimates: tuple[Estimate, ...]
    propensity: float = 1.0
    reward: float | None = None
    weight: float = 1.0
    seconds: float | None = None
    first_token: float | None = None
    tokens: int = 0


class State(Struct):
    """All that was learnt for one organization. ``observed`` counts observations, ``rewarded`` those with a reward."""

    version: int = VERSION
    qualities: dict[str, Quality] = field(default_factory=dict)
    times: dict[str, Took] = field(default_factory=dict)
    guard: Guard = field(default_factory=Guard)
    observed: int = 0
    rewarded: int = 0
    changes: int = 0
    """How often a target turned out to have changed."""
    prior: Prior = field(default_factory=Prior)
    """What shifts are drawn to, and how strongly."""
    silent: int = SILENT
    """Observations since one that told of a quality with the weight of a report, no more than :data:`SILENT`."""


class Learned(Struct, frozen=True):
    """What is told of a state; see :class:`gateway.contract.learned_routes.LearnedRoutes`."""

    shifts: tuple[Shift, ...]
    timings: tuple[Timing, ...]
    fixed: str | None
    doubt: float = 0.0
    common: float = 0.0


def observe(state: State, seen: Observation) -> None:
    """Learn from one observation."""
    state.observed += 1
    estimate = next((each for each in seen.estimates if each.target == seen.target), None)
    _observe_times(state, seen, estimate)
    state.silent = min(state.silent + 1, SILENT)
    if estimate is None or seen.reward is None or seen.weight <= 0:
        return
    state.rewarded += 1
    if seen.weight >= FULL:
        state.silent = 0
        if seen.propensity > 0:
            _guard(state, seen, seen.reward)
    quality = state.qualities.get(seen.target)
    if quality is None:
        if len(state.qualities) >= MOST_TARGETS:
            del state.qualities[min(state.qualities, key=lambda name: (state.qualities[name].weight, name))]
        quality = state.qualities[seen.target] = Quality()
    # By its propensity: what is chosen improbably stands for the prompts for which it is not chosen.
    importance = min(1.0 / seen.propensity, IMPORTANCE) if seen.propensity > 0 else 1.0
    weight = seen.weight * importance
    if quality.add(seen.task, base_logit(estimate), seen.reward, weight, seen.at, state.prior):
        state.changes += 1
        state.guard.forget()


def base_logit(estimate: Estimate) -> float:
    """The logit of the quality that the model alone expected."""
    return logit_of(estimate.quality) - estimate.shift


def expected(state: State, task: str, estimate: Estimate) -> float:
    """The quality that is expected of a target by what is known now."""
    quality = state.qualities.get(estimate.target)
    return sigmoid(base_logit(estimate) + (state.prior.common if quality is None else quality.moved(task)))


def choose(state: State, task: str, goal: Goal, estimates: tuple[Estimate, ...]) -> str:
    """The target that what was learnt would choose, whatever the guard says."""
    worth = worth_of(goal, estimates, [expected(state, task, each) for each in estimates])
    return max(worth, key=worth.__getitem__)


def learned(state: State) -> Learned:
    """What workers are told. Nothing is in doubt where nobody reports: it would be for ever."""
    # Without reports all that is known are failures: of targets that were not called they tell nothing.
    told = state.silent < SILENT
    state.prior = prior_of(state.qualities.values(), state.prior.common, alike=told)
    shifts = [each for target in sorted(state.qualities) for each in _shifts(state, target)]
    timings = tuple(took.told(target) for target, took in sorted(state.times.items()))
    unknown = round(doubt({}, "", state.prior.strength), 3) if told else 0.0
    return Learned(tuple(shifts), timings, state.guard.fixed, unknown, round(state.prior.common, 3))


def _shifts(state: State, target: str) -> Iterator[Shift]:
    quality, strength = state.qualities[target], state.prior.strength
    quality.solve(state.prior)
    known = informations(quality)
    asks = state.silent < SILENT
    whole = round(doubt(known, "", strength), 3) if asks else 0.0
    yield Shift(target, round(quality.shift, 3), round(quality.weight, 1), doubt=whole)
    for task, cell in sorted(quality.tasks.items()):
        own = round(doubt(known, task, strength), 3) if asks else 0.0
        yield Shift(target, round(cell.shift, 3), round(cell.weight, 1), task, own)


def differs(now: Learned, told: Learned) -> bool:
    """Whether it is worth telling: by more than workers would hardly notice."""
    if now.fixed != told.fixed or _timing_names(now) != _timing_names(told):
        return True
    if abs(now.common - told.common) >= 0.03:
        return True
    before, after = _by_task(told), _by_task(now)
    nothing = Shift("", 0.0, 0.0)
    for key in before.keys() | after.keys():
        one, other = before.get(key, nothing), after.get(key, nothing)
        if abs(one.shift - other.shift) >= 0.03 or abs(one.doubt - other.doubt) >= 0.03:
            return True
    return any(_apart(one, other) for one, other in zip(now.timings, told.timings, strict=True))


def _by_task(told: Learned) -> dict[tuple[str, str], Shift]:
    return {(each.target, each.task): each for each in told.shifts}


def _timing_names(told: Learned) -> list[str]:
    return [each.target for each in told.timings]


def _apart(one: Timing, other: Timing) -> bool:
    pairs = (
        (one.first_token, other.first_token), (one.per_token, other.per_token),
        (one.spread, other.spread), (one.length, other.length),
    )  # fmt: skip
    return any(abs(math.log(max(a, 1e-9) / max(b, 1e-9))) >= 0.05 for a, b in pairs)


def _guard(state: State, seen: Observation, reward: float) -> None:
    qualities = [expected(state, seen.task, each) for each in seen.estimates]
    worth = worth_of(seen.goal, seen.estimates, qualities)
    place = next(place for place, each in enumerate(seen.estimates) if each.target == seen.target)
    found = worth[seen.target] + reward - qualities[place]
    choice = max(worth, key=worth.__getitem__)
    state.guard.add(choice, worth, seen.target, found, seen.propensity)


def _observe_times(state: State, seen: Observation, estimate: Estimate | None) -> None:
    if seen.seconds is None or seen.seconds <= 0:
        return
    took = state.times.get(seen.target)
    if took is None:
        if len(state.times) >= MOST_TARGETS:
            del state.times[min(state.times, key=lambda name: (state.times[name].weight, name))]
        took = state.times[seen.target] = Took()
    known = seen.tokens or (0 if estimate is None else estimate.tokens)
    took.add(seen.first_token, seen.seconds, known)
    if estimate is not None and seen.tokens:
        took.add_length(seen.tokens, estimate.tokens / max(estimate.length, 1e-3))
