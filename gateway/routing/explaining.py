"""Why a model says what it says of a prompt."""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from gateway.routing.features import WORDS, Features, name_of_count, named
from gateway.routing.model import COARSER, Model
from gateway.routing.panel import Panel


class Reason(Struct, frozen=True):
    """A feature and how much it moves a logit: of the probability of a good answer, or of a set or task."""

    feature: str
    by: float


class Explained(Struct, frozen=True):
    """One model's ``probability`` of a good answer with its standard error, and what moves its head most."""

    model: str
    probability: float
    error: float
    tokens: float
    reasons: list[Reason]


class Explanation(Struct, frozen=True):
    """A prompt's likeliest ``task`` and set, the features that speak for the task, and all models, the best first."""

    task: str
    set: str
    familiar: float
    reasons: list[Reason]
    models: list[Explained]


def explain(model: Model, prompt: str, most: int = 5) -> Explanation:
    """Everything a panel of all models says of a prompt, with up to ``most`` reasons each."""
    view = Panel(model, model.models)(prompt)
    numbers = Features()(prompt)
    effects = model.table[numbers] * (model.steps / math.sqrt(len(numbers)))
    effects[numbers >= WORDS] *= COARSER
    names = _names(prompt, numbers)
    task = model.tasks.index(view.task)
    home = int(model.home[task])
    explained = []
    for place, (name, quality) in enumerate(zip(model.models, view.qualities, strict=True)):
        experts = np.flatnonzero(model.expert_model == place)
        here = experts[model.expert_set[experts] == home]
        expert = int(here[0] if len(here) else experts[0])
        column = effects[:, len(model.sets) + len(model.tasks) + expert]
        explained.append(
            Explained(name, quality.probability, quality.error, quality.tokens, _reasons(column, names, most))
        )
    explained.sort(key=lambda each: -each.probability)
    reasons = _reasons(effects[:, len(model.sets) + task], names, most)
    return Explanation(view.task, model.sets[home], view.familiar, reasons, explained)


def _names(prompt: str, numbers: NDArray[np.int64]) -> list[str]:
    words = named(prompt)
    return [words[number] if number < WORDS else name_of_count(number) for number in numbers.tolist()]


def _reasons(effects: NDArray[np.floating], names: list[str], most: int) -> list[Reason]:
    heaviest = np.argsort(-np.abs(effects), kind="stable")[:most]
    return [Reason(names[place], round(float(effects[place]), 4)) for place in heaviest if effects[place]]
