"""What feedback says of one target: how far the logit of its quality is off, for all tasks and for each.

Kept are sums, by task and by what was expected (steps of a logit): how many answers, how many of them good. From these
the shifts follow, the same in whatever order feedback came::

    Σ log-likelihood(good | expected logit + shift + shift of the task)
        - prior/2 (shift - common)² - prior/2 Σ shift of a task²

What is common to all targets, and a strength that both priors are multiplied by, the feedback itself tells
(:mod:`gateway.routing.online_trust`).

Observations fade: by the time that goes by, by those that follow in the same task, and at once where the target turns
out to have changed.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct, field

WHOLE_PRIOR: Final = 8.0
TASK_PRIOR: Final = 15.0
"""How much evidence draws a shift to 0: the inverse variance of the target's and of a task's. An answer with a quality
of one half counts .25, so that these are some 32 and 60 answers."""
MOST_TASKS: Final = 48
HORIZON: Final = 1_500.0
"""Observations of a target and task that count at most: older ones fade by those that follow."""
HALF_LIFE: Final = 30 * 86_400.0
"""Seconds until an observation counts half."""
FARTHEST: Final = 6.0
"""A logit, and a shift, are never beyond."""
LOOKED: Final = 40.0
"""Observations in which a change is looked for."""
CHANGED: Final = 5.5
"""Standard deviations between what was expected lately and what was found, from which on a target has changed."""
LEFT: Final = 0.05
MOST_LEFT: Final = 20.0
"""The share of what is known that then stays, and the observations at most, beside the latest ones."""
CHANGE: Final = 1.0
"""The variance of the logit of a target that has changed, beside that of others."""
LATEST: Final = 24
STALE: Final = 8.0
"""New observations that shifts may be behind."""
_STEP: Final = 1.0
_SWEEPS: Final = 8
_CLOSE: Final = 1e-3


class Cell(Struct):
    """What is known of a task: ``steps`` has, by a logit's step, the weight, that of good answers and Σ weight × logit.

    ``at`` is Unix seconds of the latest.
    """

    steps: dict[int, list[float]] = field(default_factory=dict)
    shift: float = 0.0
    at: float = 0.0

    @property
    def weight(self) -> float:
        """Observations, those of long ago counting less."""
        return sum(step[0] for step in self.steps.values())

    def fade(self, factor: float) -> None:
        """Let all that is known count this much."""
        for step in self.steps.values():
            for place in range(3):
                step[place] *= factor


class Prior(Struct, frozen=True):
    """What shifts are drawn to before much is known: ``common`` is by how much the logits of all targets are off alike,
    the precision around it is multiplied by ``strength``.
    """

    strength: float = 1.0
    common: float = 0.0


_NONE: Final = Prior()


class Quality(Struct):
    """What is known of a target. ``fresh`` is the weight of observations that ``shift`` does not hold yet.

    ``surprise`` and ``spread`` are what was found above what was expected lately, and its variance.
    """

    tasks: dict[str, Cell] = field(default_factory=dict)
    shift: float = 0.0
    fresh: float = 0.0
    surprise: float = 0.0
    spread: float = 0.0
    changed: bool = False
    """Whether it once turned out to have changed: then it is no more where it was expected beside others."""
    latest: list[tuple[str, float, float, float]] = field(default_factory=list)
    """The latest observations: task, expected logit, reward and weight."""

    @property
    def weight(self) -> float:
        """Observations, those of long ago counting less."""
        return sum(cell.weight for cell in self.tasks.values())

    def variance(self, strength: float) -> float:
        """Of its shift, around what is common to all targets, before anything is known of it."""
        return 1.0 / (WHOLE_PRIOR * strength) + (CHANGE if self.changed else 0.0)

    def moved(self, task: str) -> float:
        """How far the logit is moved for a task."""
        cell = self.tasks.get(task)
        return self.shift if cell is None else self.shift + cell.shift

    def add(self, task: str, logit: float, reward: float, weight: float, at: float, prior: Prior = _NONE) -> bool:
        """Note an answer: the ``logit`` expected without shifts, its quality (0 to 1) and what it counts.

        Gives whether the target turned out to have changed.
        """
        if self.fresh >= STALE:
            self.solve(prior)
        logit = min(max(logit, -FARTHEST), FARTHEST)
        changed = self._look(sigmoid(logit + self.moved(task)), reward, weight)
        if changed:
            self._begin_anew(at)
        self._note(task, logit, reward, weight, at)
        self.latest = [*self.latest[1 - LATEST :], (task, logit, reward, weight)]
        if changed:
            self.solve(prior)
        return changed

    def _note(self, task: str, logit: float, reward: float, weight: float, at: float) -> None:
        cell = self.tasks.get(task)
        if cell is None:
            cell = self._room(task, at)
        past = max(0.0, at - cell.at)
        cell.fade(max(0.0, 1.0 - weight / HORIZON) * 0.5 ** (past / HALF_LIFE))
        cell.at = max(cell.at, at)
        step = cell.steps.setdefault(math.floor(logit / _STEP), [0.0, 0.0, 0.0])
        step[0] += weight
        step[1] += weight * reward
        step[2] += weight * logit
        self.fresh += weight

    def _begin_anew(self, at: float) -> None:
        """Let the past count little, and the latest observations whole."""
        left = min(LEFT, MOST_LEFT / max(self.weight, MOST_LEFT))
        for cell in self.tasks.values():
            cell.fade(left)
        for task, logit, reward, weight in self.latest:
            self._note(task, logit, reward, weight, at)
        self.surprise = self.spread = 0.0
        self.changed = True

    def solve(self, prior: Prior = _NONE) -> None:
        """Make the shifts those that follow from what is known, and from this prior."""
        self.fresh = 0.0
        for _ in range(_SWEEPS):
            before = self.shift
            steps = [(cell.shift, filled(cell)) for cell in self.tasks.values()]
            self.shift = _best(self.shift, steps, 1.0 / self.variance(prior.strength), prior.common)
            farthest = abs(self.shift - before)
            for cell in self.tasks.values():
                before = cell.shift
                cell.shift = _best(before, [(self.shift, filled(cell))], TASK_PRIOR * prior.strength)
                farthest = max(farthest, abs(cell.shift - before))
            if farthest < _CLOSE:
                return

    def _look(self, expected: float, reward: float, weight: float) -> bool:
        kept = max(0.0, 1.0 - weight / LOOKED)
        self.surprise = self.surprise * kept + weight * (reward - expected)
        self.spread = self.spread * kept * kept + weight * weight * max(expected * (1.0 - expected), 0.01)
        return abs(self.surprise) >= CHANGED * math.sqrt(self.spread) and self.weight >= LOOKED

    def _room(self, task: str, at: float) -> Cell:
        if len(self.tasks) >= MOST_TASKS:
            del self.tasks[min(self.tasks, key=lambda name: (self.tasks[name].weight, name))]
        cell = self.tasks[task] = Cell(at=at)
        return cell


def sigmoid(logit: float) -> float:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + math.exp(-min(max(logit, -60.0), 60.0)))


def logit_of(rate: float) -> float:
    """log(p / (1 - p)), at most :data:`FARTHEST` from 0."""
    edge = sigmoid(-FARTHEST)
    rate = min(max(rate, edge), 1.0 - edge)
    return math.log(rate / (1.0 - rate))


def filled(cell: Cell) -> list[tuple[float, float, float]]:
    """Weight, good ones and mean logit of each step that has any."""
    return [(weight, good, total / weight) for weight, good, total in cell.steps.values() if weight > 1e-6]


def _best(
    shift: float, parts: list[tuple[float, list[tuple[float, float, float]]]], prior: float, middle: float = 0.0
) -> float:
    """The shift, beside other ones that are given with their steps, that is likeliest: by Newton's method."""
    for _ in range(_SWEEPS):
        slope, bend = prior * (middle - shift), prior
        for other, steps in parts:
            for weight, good, logit in steps:
                rate = sigmoid(logit + other + shift)
                slope += good - weight * rate
                bend += weight * rate * (1.0 - rate)
        move = min(max(slope / bend, -1.0), 1.0)
        shift = min(max(shift + move, -FARTHEST), FARTHEST)
        if abs(move) < _CLOSE:
            break
    return shift
