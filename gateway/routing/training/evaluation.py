"""Measure predictions of held-out prompts: over pairs, over all models of a set, and by how far they are true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.routing.training.frontier import COVERED, Bought, Field, bought
from gateway.routing.training.metrics import Interval, apgr, calibration_error, cpt, gains, interval
from gateway.routing.training.outcomes import Outcomes

Floats = NDArray[np.floating]

PAIRS: Final = (
    ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    ("llama-3.1-nemotron-51b-instruct", "mistral-7b-instruct-v0.3"),
)
"""Pairs that others publish numbers of, strong and weak."""
FEWEST: Final = 100
"""Prompts below which a group is not told of: chance alone would move its numbers."""
AIMS: Final = (1.0, 0.99, 0.95)


@dataclass(frozen=True)
class Curve:
    """APGR, CPT(50 %) and CPT(80 %) of one way to choose."""

    apgr: Interval
    cpt50: Interval
    cpt80: Interval


@dataclass(frozen=True)
class Pair:
    """A pair of models over some prompts: the router, the prompt's length, and the same training on shuffled scores.
    ``strong_quality`` and ``weak_quality`` are those of always the same model.
    """

    name: str
    prompts: int
    strong: str
    weak: str
    strong_quality: float
    weak_quality: float
    router: Curve
    length: Curve
    shuffled: Curve


@dataclass(frozen=True)
class Market:
    """All models of a set, or ``among`` some of them: what shares of the best single model's quality cost."""

    name: str
    prompts: int
    models: int
    best: str
    router: list[Bought]
    shuffled: list[Bought]


@dataclass(frozen=True)
class Truth:
    """How far predicted rates are true: the calibration error, mean over the models of a set; ``recognised`` is the
    share of prompts whose task was.
    """

    name: str
    models: int
    error: float
    recognised: float


@dataclass(frozen=True)
class Evaluation:
    """All of it. ``error`` is the mean calibration error over all models of all sets."""

    pairs: list[Pair]
    markets: list[Market]
    truths: list[Truth]
    error: float


@dataclass(frozen=True)
class Predicted:
    """Of held-out prompts: ``rates``; and ``control``, those of a router that learnt ``mixed``, the scores shuffled
    among the prompts of a set. All are prompts × models.
    """

    rates: Floats
    control: Floats
    mixed: Floats
    recognised: NDArray[np.bool_]
    fold: NDArray[np.int64]


def evaluate(
    outcomes: Outcomes, found: Predicted, costs: Floats, among: Mapping[str, Sequence[str]] | None = None
) -> Evaluation:
    """Everything that can be told of these prompts. ``among`` names models to choose from instead of a set's all."""
    pairs, markets, truths = list[Pair](), list[Market](), list[Truth]()
    errors: list[float] = []
    for number, name in enumerate(outcomes.sets):
        rows = np.flatnonzero(outcomes.set_of == number)
        if not len(rows):
            continue
        known = (~np.isnan(outcomes.score[rows])).sum(0)
        models = np.flatnonzero(known)
        pairs += _pairs(outcomes, found, name, rows, models)
        fields = {name: models}
        for told, names in (among or {}).items():
            places = np.array([outcomes.models.index(each) for each in names])
            if known[places].all():
                fields[told] = places
        markets += [_market(outcomes, found, costs, told, rows, some) for told, some in fields.items() if len(some) > 2]
        own = [_error(outcomes, found, rows, model) for model in models if known[model] >= FEWEST]
        errors += own
        truths.append(Truth(name, len(own), _mean(own), float(found.recognised[rows].mean())))
    return Evaluation(pairs, markets, truths, _mean(errors))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _error(outcomes: Outcomes, found: Predicted, rows: NDArray[np.int64], model: np.signedinteger) -> float:
    kept = rows[~np.isnan(outcomes.score[rows, model])]
    return calibration_error(found.rates[kept, model], outcomes.score[kept, model])


def _pairs(
    outcomes: Outcomes, found: Predicted, name: str, rows: NDArray[np.int64], models: NDArray[np.int64]
) -> list[Pair]:
    """The pair of a set over all its prompts, and over each family of tasks of which there are enough."""
    present = {outcomes.models[model] for model in models}
    chosen = next((pair for pair in PAIRS if set(pair) <= present), None)
    if chosen is None:
        asked = (~np.isnan(outcomes.score[rows])).sum(0)
        often = [model for model in models if asked[model] >= COVERED * asked.max()]
        order = sorted(often, key=lambda model: -float(np.nanmean(outcomes.score[rows, model])))
        chosen = (outcomes.models[order[0]], outcomes.models[order[len(order) // 2]])
    strong, weak = (outcomes.models.index(each) for each in chosen)
    rows = rows[~np.isnan(outcomes.score[rows][:, [strong, weak]]).any(1)]
    families = np.array([outcomes.tasks[task].split("@")[0].split("/")[0] for task in outcomes.task_of[rows]])
    groups = {name: rows}
    if len(np.unique(families)) > 1:
        groups |= {f"{name}: {family}": rows[families == family] for family in np.unique(families)}
    return [
        _pair(outcomes, found, told, kept, (strong, weak))
        for told, kept in groups.items()
        if len(kept) >= FEWEST and strong != weak
    ]


def _pair(outcomes: Outcomes, found: Predicted, name: str, rows: NDArray[np.int64], pair: tuple[int, int]) -> Pair:
    strong, weak = pair
    scores = (outcomes.score[rows, strong].astype(np.float64), outcomes.score[rows, weak].astype(np.float64))
    lengths = np.array([len(outcomes.prompts[row]) for row in rows], np.float64)
    return Pair(
        name,
        len(rows),
        outcomes.models[strong],
        outcomes.models[weak],
        float(scores[0].mean()),
        float(scores[1].mean()),
        _curve(found.rates[rows, strong] - found.rates[rows, weak], *scores),
        _curve(lengths, *scores),
        _curve(
            found.control[rows, strong] - found.control[rows, weak],
            found.mixed[rows, strong].astype(np.float64),
            found.mixed[rows, weak].astype(np.float64),
        ),
    )


def _curve(preference: Floats, strong: Floats, weak: Floats) -> Curve:
    def of(rows: NDArray[np.int64]) -> Floats:
        return gains(preference[rows], strong[rows], weak[rows])

    count = len(preference)
    return Curve(
        interval(count, lambda rows: apgr(of(rows))),
        interval(count, lambda rows: cpt(of(rows), 0.5)),
        interval(count, lambda rows: cpt(of(rows), 0.8)),
    )


def _market(
    outcomes: Outcomes,
    found: Predicted,
    costs: Floats,
    name: str,
    rows: NDArray[np.int64],
    models: NDArray[np.int64],
) -> Market:
    some = np.ix_(rows, models)
    fields = [
        Field(rates[some], scores[some].astype(np.float64), costs[some], found.fold[rows])
        for rates, scores in ((found.rates, outcomes.score), (found.control, found.mixed))
    ]
    best = outcomes.models[models[fields[0].best]]
    return Market(name, len(rows), len(models), best, bought(fields[0], AIMS), bought(fields[1], AIMS))
