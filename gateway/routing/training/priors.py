"""What is known of a model on a task without a look at the prompt: shrunk rates, and what follows for new models.

A rate is shrunk to what the model's ability and the task's difficulty make likely, logit p = ability + difficulty
(Rasch 1960), so that few observations move it little and none leave it at that. Lengths of answers are treated alike,
with logarithms in the place of logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.routing.arithmetic import logit, sigmoid
from gateway.routing.training.outcomes import Outcomes

Floats = NDArray[np.floating]

STRENGTH = 8.0
"""Observations that what ability and difficulty say counts for."""
USUAL_TOKENS = 200.0
"""The length of an answer where no answer's length was recorded."""
_ROUNDS = 40


@dataclass(frozen=True)
class Priors:
    """Tasks by models: ``rate`` of good answers, ``likely`` by ability and difficulty alone, ``seen`` observations,
    ``tokens`` of an answer. ``ability`` per model and ``difficulty`` per task are logits.
    """

    rate: Floats
    likely: Floats
    seen: Floats
    tokens: Floats
    ability: Floats
    difficulty: Floats


def learn(outcomes: Outcomes) -> Priors:
    """The priors of these outcomes."""
    seen, total = _sums(outcomes, outcomes.score)
    ability, difficulty = _additive(logit((total + 0.5) / (seen + 1.0)), seen)
    likely = sigmoid(ability + difficulty[:, None])
    lengths, logs = _sums(outcomes, np.log(np.maximum(outcomes.tokens, 1.0)))
    if lengths.any():
        talkative, long = _additive(logs / np.maximum(lengths, 1.0), lengths)
        tokens = np.exp((logs + STRENGTH * (talkative + long[:, None])) / (lengths + STRENGTH))
    else:
        tokens = np.full(seen.shape, USUAL_TOKENS)
    rate = (total + STRENGTH * likely) / (seen + STRENGTH)
    return Priors(rate, likely, seen, tokens, ability, difficulty)


def _sums(outcomes: Outcomes, values: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """How many values each task and model has, and their sum."""
    shape = (len(outcomes.tasks), len(outcomes.models))
    count, total = np.zeros(shape), np.zeros(shape)
    known = ~np.isnan(values)
    np.add.at(count, outcomes.task_of, known)
    np.add.at(total, outcomes.task_of, np.where(known, values, 0.0))
    return count, total


def _additive(values: Floats, seen: Floats) -> tuple[Floats, Floats]:
    """A number per model and one per task whose sums come near the values, those seen often first."""
    weight = seen / (seen + 20.0)
    middle = float((weight * values).sum() / max(weight.sum(), 1e-9))
    of_model, of_task = np.zeros(values.shape[1]), np.zeros(values.shape[0])
    for _ in range(_ROUNDS):
        of_task = (weight * (values - middle - of_model)).sum(1) / (weight.sum(1) + 0.5)
        of_model = (weight * (values - middle - of_task[:, None])).sum(0) / (weight.sum(0) + 0.1)
    return of_model + middle, of_task
