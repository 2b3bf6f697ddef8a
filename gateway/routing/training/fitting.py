"""Fit everything a model is made of: gates, tasks, heads (linear in the features) and priors.

A prompt's set is recognised first (gates), then its task within the set, then each model's residual head. Heads are
fitted per set: two sets may mark the same model differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gateway.routing.arithmetic import logit, softmax
from gateway.routing.training import priors
from gateway.routing.training.outcomes import Outcomes
from gateway.routing.training.ridge import solve

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

TASK_PENALTY = 0.1
HEAD_PENALTY = 5.0
TEMPERATURES = (0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Layout:
    """What the columns mean: gates (one per set), then tasks, then experts (a set's head of a model).

    ``home`` is the set of each task, ``expert_set`` and ``expert_model`` say of each expert what it is of.
    """

    home: Numbers
    expert_set: Numbers
    expert_model: Numbers
    sets: int

    @property
    def tasks(self) -> slice:
        """The columns of tasks."""
        return slice(self.sets, self.sets + len(self.home))

    @property
    def experts(self) -> slice:
        """The columns of experts."""
        return slice(self.sets + len(self.home), self.sets + len(self.home) + len(self.expert_set))


@dataclass(frozen=True)
class Fitted:
    """``weights`` is features × columns; ``intercepts`` is added to what they give for gates and tasks."""

    layout: Layout
    weights: Floats
    intercepts: Floats
    priors: priors.Priors


def layout_of(outcomes: Outcomes) -> Layout:
    """The columns that outcomes call for."""
    home = np.zeros(len(outcomes.tasks), np.int64)
    home[outcomes.task_of] = outcomes.set_of
    pairs = [
        (number, int(model))
        for number in range(len(outcomes.sets))
        for model in np.flatnonzero((~np.isnan(outcomes.score[outcomes.set_of == number])).any(0))
    ]
    first, second = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    return Layout(home, first, second, len(outcomes.sets))


def fit(outcomes: Outcomes, rows: sparse.csr_array, layout: Layout) -> Fitted:
    """Fit all columns. ``rows`` are those of the outcomes' prompts."""
    width = layout.experts.stop
    weights, intercepts = np.zeros((rows.shape[1], width), np.float32), np.zeros(width, np.float32)
    gates = slice(0, layout.sets)
    weights[:, gates], intercepts[gates] = _recogniser(rows, outcomes.set_of, range(layout.sets))
    for number in range(layout.sets):
        members = np.flatnonzero(outcomes.set_of == number)
        part = rows[members]
        own = np.flatnonzero(layout.home == number)
        places = layout.sets + own
        weights[:, places], intercepts[places] = _recogniser(part, outcomes.task_of[members], own)
        experts = np.flatnonzero(layout.expert_set == number)
        scores = outcomes.score[np.ix_(members, layout.expert_model[experts])]
        known = ~np.isnan(scores)
        mean = np.where(known, scores, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        weights[:, layout.experts.start + experts] = solve(part, scores - mean.astype(np.float32), HEAD_PENALTY)
    return Fitted(layout, weights, intercepts, priors.learn(outcomes))


def _recogniser(rows: sparse.csr_array, labels: Numbers, classes: range | Numbers) -> tuple[Floats, Floats]:
    wanted = (labels[:, None] == np.asarray(classes)[None, :]).astype(np.float32)
    mean = wanted.mean(0)
    return solve(rows, wanted - mean, TASK_PENALTY), mean


def raw(fitted: Fitted, rows: sparse.csr_array) -> Floats:
    """What the columns say of prompts: prompts × columns."""
    found: Floats = rows @ fitted.weights + fitted.intercepts
    return found


@dataclass(frozen=True)
class Temperatures:
    """By what the scores of gates, and of each set's tasks, are divided before they become probabilities."""

    gates: float
    tasks: tuple[float, ...]


def temperatures(scores: Floats, outcomes: Outcomes, layout: Layout) -> Temperatures:
    """Those that make the labels of held-out prompts likeliest."""
    tasks = []
    for number in range(layout.sets):
        members = np.flatnonzero(outcomes.set_of == number)
        own = np.flatnonzero(layout.home == number)
        labels = np.searchsorted(own, outcomes.task_of[members])
        tasks.append(_warmest(scores[members][:, layout.tasks][:, own], labels))
    return Temperatures(_warmest(scores[:, : layout.sets], outcomes.set_of), tuple(tasks))


def _warmest(scores: Floats, labels: Numbers) -> float:
    if not len(labels) or scores.shape[1] < 2:
        return TEMPERATURES[-1]
    places = np.arange(len(labels))

    def loss(temperature: float) -> float:
        return float(-np.log(softmax(scores / temperature)[places, labels] + 1e-9).mean())

    return min(TEMPERATURES, key=loss)


@dataclass(frozen=True)
class Shares:
    """``gates``: prompts × sets. ``tasks``: prompts × tasks, those of each set adding up to 1."""

    gates: Floats
    tasks: Floats


def shares(scores: Floats, layout: Layout, heat: Temperatures) -> Shares:
    """The probabilities of sets, and of tasks within them."""
    tasks = np.zeros((len(scores), len(layout.home)), np.float32)
    for number in range(layout.sets):
        own = np.flatnonzero(layout.home == number)
        tasks[:, own] = softmax(scores[:, layout.tasks][:, own] / heat.tasks[number])
    return Shares(softmax(scores[:, : layout.sets] / heat.gates).astype(np.float32), tasks)


def evidence(scores: Floats, found: Shares, fitted: Fitted) -> Floats:
    """What each expert's calibration takes: prompts × experts × (1, logit of the task prior, residual head)."""
    layout = fitted.layout
    out = np.empty((len(scores), len(layout.expert_set), 3), np.float32)
    out[:, :, 0] = 1.0
    for number in range(layout.sets):
        experts = np.flatnonzero(layout.expert_set == number)
        own = np.flatnonzero(layout.home == number)
        rates = fitted.priors.rate[np.ix_(own, layout.expert_model[experts])]
        out[:, experts, 1] = logit(found.tasks[:, own] @ rates)
    out[:, :, 2] = scores[:, layout.experts]
    return out
