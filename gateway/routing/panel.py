"""What a :class:`~gateway.routing.model.Model` says of prompts, by some of its models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.routing.arithmetic import EDGE, FOREIGN, STEEPEST, sigmoid
from gateway.routing.candidates import Quality, View
from gateway.routing.features import HEAD, STRUCTURAL, TAIL, Features
from gateway.routing.model import COARSER, TIERS, Floats, Model

_MOST: Final = 8 * (HEAD + TAIL) + 64
# Arrays without a dimension: NumPy takes them as they are, where it looks at a number first.
_HIGHEST: Final = np.array(STEEPEST, np.float32)
_LOWEST: Final = np.array(-STEEPEST, np.float32)


class Panel:
    """Some models, ready to be asked about prompts. Not to be shared between threads. It keeps what it needs of the
    :class:`Model`, some megabytes.

    ``names`` are models that were learned, or tiers (``TIERS``) for those that were not.
    """

    __slots__ = (
        "_blend",
        "_experts",
        "_features",
        "_home",
        "_intercepts",
        "_members",
        "_roots",
        "_sets",
        "_steps",
        "_table",
        "_tasks",
        "_units",
        "_width",
        "names",
    )  # fmt: skip

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._features = Features()
        self._tasks = model.tasks
        self._sets, self._width = len(model.sets), len(model.sets) + len(model.tasks)
        experts, self._experts = _experts_of(model, self.names)
        # The columns needed here are copied, those of a name side by side: fewer cache lines a feature.
        kept = np.concatenate((np.arange(self._width), self._width + np.array(experts, np.int64)))
        self._table = np.ascontiguousarray(model.table[:, kept])
        self._steps, self._intercepts = model.steps[kept], model.intercepts[kept]
        self._home = model.home
        self._members = np.ascontiguousarray(model.home[:, None] == np.arange(self._sets)[None, :], np.float32)
        self._blend = _blend(model, experts, self.names)
        self._units = np.ones(_MOST, np.float32)
        self._units[-len(STRUCTURAL) :] = COARSER
        self._roots = (1.0 / np.sqrt(np.arange(1, _MOST))).astype(np.float32)

    def __call__(self, prompt: str) -> View:
        """What is expected of each of ``names``, in their order."""
        found = self._features(prompt)
        count = len(found)
        scores = self._units[-count:] @ self._table.take(found, axis=0).astype(np.float32)
        scores *= self._roots[count - 1 : count]
        scores *= self._steps
        scores += self._intercepts
        tasks = scores[self._sets : self._width]
        # No prompt, however odd, overflows a power or leaves a set without any.
        np.minimum(tasks, _HIGHEST, out=tasks)
        np.maximum(tasks, _LOWEST, out=tasks)
        powers = np.exp(tasks)
        gates = _shares(scores[: self._sets].tolist())
        within = (powers @ self._members).tolist()
        powers *= np.array([gate / total for gate, total in zip(gates, within, strict=True)], np.float32).take(
            self._home
        )
        mixed = (powers @ self._blend).tolist()
        task = int(powers.argmax())
        familiar = float(powers[task])
        heads = scores[self._width :].tolist()
        qualities, at = [], len(heads)
        for experts in self._experts:
            likely, seen, tokens = mixed[at], mixed[at + 1], mixed[at + 2]
            at += 3
            total, weight = FOREIGN * likely, FOREIGN
            for number, home, trust in experts:
                gate = gates[home]
                total += gate * _rate(heads[number] + trust * _logit(mixed[number] / gate))
                weight += gate
            rate = total / weight
            qualities.append(Quality(rate, math.sqrt(rate * (1.0 - rate) / (4.0 + familiar * seen)), tokens))
        return View(self._tasks[task], familiar, qualities)


def _experts_of(model: Model, names: Sequence[str]) -> tuple[list[int], list[list[tuple[int, int, float]]]]:
    """The experts of some models, and of each name its own: their place among these, their set, their trust."""
    chosen: list[int] = []
    found: list[list[tuple[int, int, float]]] = []
    for name in names:
        own: list[tuple[int, int, float]] = []
        if name in model.models:
            for expert in np.flatnonzero(model.expert_model == model.models.index(name)).tolist():
                own.append((len(chosen), int(model.expert_set[expert]), float(model.trust[expert])))
                chosen.append(expert)
        elif name not in TIERS:
            raise ValueError(f"expected a model that was learned or one of the tiers {', '.join(TIERS)}: {name}")
        found.append(own)
    return chosen, found


def _blend(model: Model, experts: Sequence[int], names: Sequence[str]) -> Floats:
    """What a prompt's tasks are multiplied by: a column per expert, then of each name three: likely, seen, tokens."""
    columns: list[NDArray[np.floating]] = [model.rate[:, expert] for expert in experts]
    for name in names:
        if name in model.models:
            number = model.models.index(name)
            columns += [model.likely[:, number], model.seen[:, number], model.tokens[:, number]]
        else:
            ability = model.tier_ability[TIERS.index(name)]
            columns += [sigmoid(ability + model.difficulty), np.zeros(len(model.tasks)), model.tokens.mean(1)]
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)


def _shares(values: list[float]) -> list[float]:
    highest = max(values)
    powers = [math.exp(value - highest) for value in values]
    total = sum(powers)
    return [max(power / total, 1e-6) for power in powers]


def _rate(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(value, -STEEPEST), STEEPEST)))


def _logit(rate: float) -> float:
    rate = min(max(rate, EDGE), 1.0 - EDGE)
    return math.log(rate / (1.0 - rate))
