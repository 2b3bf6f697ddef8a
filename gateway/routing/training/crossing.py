"""What a model says of prompts it has not learnt from: every fifth of the questions in turn, fitted on the others.

Questions are kept together over all sets. The calibration's three numbers of an expert are fitted on four fifths of the
held-out predictions and applied to the fifth. Some of those were made by models that learnt from the fifth: where
there is nothing to find, that alone lifts an APGR by up to .03, as the control shows. A part held out is free of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gateway.routing.training.calibration import calibrate
from gateway.routing.training.combining import combine
from gateway.routing.training.fitting import (
    Fitted,
    Layout,
    Shares,
    Temperatures,
    evidence,
    fit,
    raw,
    shares,
    temperatures,
)
from gateway.routing.training.outcomes import Outcomes

Floats = NDArray[np.floating]
FOLDS = 5


@dataclass(frozen=True)
class Crossed:
    """``rates``: prompts × models, each from a model that has not seen the question. ``numbers``: experts × 3, of all
    prompts. ``recognised``: of each prompt whether its task was the likeliest.
    """

    rates: Floats
    numbers: NDArray[np.float64]
    heat: Temperatures
    recognised: NDArray[np.bool_]
    fold: NDArray[np.int64]


def folds(outcomes: Outcomes, count: int = FOLDS) -> NDArray[np.int64]:
    """The fold of each prompt; the same question is always in the same one."""
    return (outcomes.group.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(33)).astype(np.int64) % count


def cross(
    outcomes: Outcomes,
    rows: sparse.csr_array,
    layout: Layout,
    say: Callable[[str], None] = lambda text: None,
    count: int = FOLDS,
) -> Crossed:
    """Fit ``count`` times and predict what was left out."""
    fold = folds(outcomes, count)
    fitted, scores = list[Fitted](), np.zeros((len(outcomes), layout.experts.stop), np.float32)
    for number in range(count):
        kept, left = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        fitted.append(fit(outcomes.some(kept), rows[kept], layout))
        scores[left] = raw(fitted[-1], rows[left])
        say(f"fold {number + 1} of {count}: {len(left)} prompts held out")
    heat = temperatures(scores, outcomes, layout)
    found = shares(scores, layout, heat)
    told = np.empty((len(outcomes), len(layout.expert_set), 3), np.float32)
    for number in range(count):
        left = np.flatnonzero(fold == number)
        told[left] = evidence(scores[left], _some(found, left), fitted[number])
    rates = np.zeros((len(outcomes), len(outcomes.models)))
    for number in range(count):
        kept, left = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        numbers = calibrations(told, outcomes, layout, kept)
        rates[left] = combine(told[left], _some(found, left), fitted[number], numbers)
    likeliest = (found.tasks * found.gates[:, layout.home]).argmax(1)
    every = np.arange(len(outcomes))
    numbers = calibrations(told, outcomes, layout, every)
    return Crossed(rates, numbers, heat, likeliest == outcomes.task_of, fold)


def calibrations(told: Floats, outcomes: Outcomes, layout: Layout, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each expert's three numbers, from some of the prompts."""
    found = np.empty((len(layout.expert_set), 3))
    for expert, (number, model) in enumerate(zip(layout.expert_set, layout.expert_model, strict=True)):
        members = rows[(outcomes.set_of[rows] == number) & ~np.isnan(outcomes.score[rows, model])]
        found[expert] = calibrate(told[members, expert], outcomes.score[members, model])
    return found


def _some(found: Shares, rows: NDArray[np.int64]) -> Shares:
    return Shares(found.gates[rows], found.tasks[rows])
