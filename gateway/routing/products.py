"""What a :class:`~gateway.routing.panel.Panel` says of a prompt, by NumPy: where nothing is compiled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.routing.arithmetic import EDGE, FOREIGN, STEEPEST
from gateway.routing.estimates import Quality, View
from gateway.routing.features import HEAD, STRUCTURAL, TAIL, Features
from gateway.routing.model import COARSER, Model

_MOST: Final = 8 * (HEAD + TAIL) + 64


class Products:
    """Says of prompts what the experts of some names say. Not to be shared between threads.

    ``own`` is of each name the place of its experts among ``experts``, their sets and their trusts; ``known`` of each
    name and task what is likely, seen, and the tokens.
    """

    __slots__ = (
        "_blend",
        "_features",
        "_home",
        "_intercepts",
        "_own",
        "_roots",
        "_sets",
        "_steps",
        "_table",
        "_tasks",
        "_units",
        "_width",
    )

    def __init__(
        self,
        model: Model,
        experts: Sequence[int],
        own: Sequence[list[tuple[int, int, float]]],
        known: Sequence[NDArray[np.floating]],
    ) -> None:
        self._features = Features()
        self._tasks = model.tasks
        self._own = list(own)
        self._sets, self._width = len(model.sets), len(model.sets) + len(model.tasks)
        # The columns needed here are copied, those of a name side by side: fewer cache lines a feature.
        kept = np.concatenate((np.arange(self._width), self._width + np.array(experts, np.int64)))
        self._table = np.ascontiguousarray(model.table[:, kept])
        self._steps, self._intercepts = model.steps[kept].astype(np.float64), model.intercepts[kept].astype(np.float64)
        self._home: list[int] = model.home.tolist()
        self._blend = _blend(model, experts, known)
        self._units = np.ones(_MOST, np.float32)
        self._units[-len(STRUCTURAL) :] = COARSER
        self._roots = 1.0 / np.sqrt(np.arange(1, _MOST))

    def __call__(self, prompt: str) -> View:
        """What is expected of each of the names, in their order."""
        found = self._features(prompt)
        count = len(found)
        rows = self._table.take(found, axis=0).astype(np.float32)
        # Whole numbers until here, exact; from here on 64 bits each, as what is compiled reckons.
        scores = self._units[-count:].dot(rows) * self._roots[count - 1 : count]
        scores *= self._steps
        scores += self._intercepts
        tasks = scores[self._sets : self._width]
        listed: list[float] = scores.tolist()
        tops, bests, lowest = self._tops(listed)
        if max(tops) > STEEPEST or lowest < -STEEPEST:
            # No prompt, however odd, overflows a power or leaves a set without any.
            tasks = np.clip(tasks, -STEEPEST, STEEPEST)
            tops = [min(max(top, -STEEPEST), STEEPEST) for top in tops]
        mixed: list[float] = np.exp(tasks).dot(self._blend).tolist()
        gates = _shares(listed[: self._sets])
        familiar, task = -1.0, 0
        for gate, total, top, best in zip(gates, mixed, tops, bests, strict=False):
            share = gate / total * math.exp(top)
            if share > familiar or (share == familiar and best < task):
                familiar, task = share, best
        return View(self._tasks[task], familiar, self._qualities(listed, gates, mixed, familiar))

    def _tops(self, listed: list[float]) -> tuple[list[float], list[int], float]:
        """Of each set the highest score of its tasks, and that task; the lowest of all scores of tasks."""
        tops = [-math.inf] * self._sets
        bests = [0] * self._sets
        lowest = math.inf
        at = self._sets
        for task, home in enumerate(self._home):
            score = listed[at]
            at += 1
            if score > tops[home]:
                tops[home] = score
                bests[home] = task
            if score < lowest:
                lowest = score
        return tops, bests, lowest

    def _qualities(self, listed: list[float], gates: list[float], mixed: list[float], familiar: float) -> list[Quality]:
        """Of each of ``names``. ``mixed`` has the columns of ``_blend``."""
        sets, heads = self._sets, self._width
        at = sets + len(listed) - heads
        ratios = [gate / total for gate, total in zip(gates, mixed, strict=False)]
        found = []
        for experts in self._own:
            likely = seen = tokens = 0.0
            for ratio in ratios:
                likely += ratio * mixed[at]
                seen += ratio * mixed[at + 1]
                tokens += ratio * mixed[at + 2]
                at += 3
            total, weight = FOREIGN * likely, FOREIGN
            for number, home, trust in experts:
                gate = gates[home]
                total += gate * _rate(listed[heads + number] + trust * _logit(mixed[sets + number] / mixed[home]))
                weight += gate
            rate = total / weight
            found.append(Quality(rate, math.sqrt(rate * (1.0 - rate) / (4.0 + familiar * seen)), tokens))
        return found


def _blend(model: Model, experts: Sequence[int], known: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """What the powers of a prompt's tasks are multiplied by: a column per set, of ones; one per expert; and of each
    name and set three: likely, seen, tokens. Outside of its set a column is nought, so that one product gives the sums
    of all sets, whose shares are known only then.
    """
    columns: list[NDArray[np.floating]] = [model.rate[:, expert] for expert in experts]
    homes = [np.asarray(model.home == number, np.float64) for number in range(len(model.sets))]
    for each in known:
        columns += [column * home for home in homes for column in each.T]
    return np.ascontiguousarray(np.stack([*homes, *columns], axis=1), np.float64)


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
