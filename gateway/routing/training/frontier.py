"""Quality at a price, over many models: each prompt goes to the model with the highest p - exchange rate × cost.

The exchange rate that reaches a share of the best single model's quality is chosen on four fifths of the questions and
spent on the fifth, in turn, so that price and quality are both of prompts it was not chosen on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.routing.training.metrics import Interval, interval

Floats = NDArray[np.floating]
RATES = 140
COVERED = 0.95
"""Of the prompts that the most often asked model was asked."""


@dataclass(frozen=True)
class Bought:
    """The share of the best single model's quality that was aimed at, what was reached, and the share of its price."""

    aim: float
    quality: Interval
    price: Interval


@dataclass(frozen=True)
class Field:
    """Prompts × models: ``rates`` predicted, ``scores`` found (NaN: not asked), ``costs``; ``fold`` of each prompt."""

    rates: Floats
    scores: Floats
    costs: Floats
    fold: NDArray[np.int64]

    @property
    def best(self) -> int:
        """The best single model, of those that were asked nearly everything: others may have had the easy prompts."""
        known = ~np.isnan(self.scores)
        means = np.where(known, self.scores, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        return int(np.where(known.mean(0) >= COVERED * known.mean(0).max(), means, -1.0).argmax())


def bought(field: Field, aims: tuple[float, ...]) -> list[Bought]:
    """What each aim costs, with intervals over prompts."""
    choices = _choices(field)
    known = ~np.isnan(field.scores)
    rows = np.arange(len(field.scores))
    scores, costs = np.where(known, field.scores, 0.0), np.where(known, field.costs, 0.0)
    quality = np.stack([scores[rows, chosen] for chosen in choices])
    cost = np.stack([costs[rows, chosen] for chosen in choices])
    asked = known[:, field.best]
    alone = (scores[:, field.best], costs[:, field.best])
    found = []
    for aim in aims:
        got, paid = _spent(quality, cost, alone[0], asked, field.fold, aim)
        found.append(
            Bought(aim, _ratio(got, alone[0], asked), _ratio(paid, alone[1], asked)),
        )
    return found


def _choices(field: Field) -> list[NDArray[np.int64]]:
    """Of each exchange rate the model of each prompt."""
    known = ~np.isnan(field.scores)
    dearest = float(np.nanmean(np.where(known, field.costs, np.nan)))
    exchange = np.concatenate(([0.0], np.logspace(-4.0, 2.5, RATES))) / max(dearest, 1e-12)
    return [np.where(known, field.rates - rate * field.costs, -np.inf).argmax(1) for rate in exchange]


def _spent(
    quality: Floats, cost: Floats, best: Floats, asked: NDArray[np.bool_], fold: NDArray[np.int64], aim: float
) -> tuple[Floats, Floats]:
    """Quality and cost of each prompt, at the exchange rate that the other folds call for."""
    got, paid = np.zeros(quality.shape[1]), np.zeros(quality.shape[1])
    for number in np.unique(fold):
        here, others = fold == number, fold != number
        if not others.any():
            others = here
        wanted = aim * best[others & asked].mean()
        means = quality[:, others].mean(1)
        enough = np.flatnonzero(means >= wanted)
        rate = enough[cost[enough][:, others].mean(1).argmin()] if len(enough) else means.argmax()
        got[here], paid[here] = quality[rate, here], cost[rate, here]
    return got, paid


def _ratio(values: Floats, of: Floats, asked: NDArray[np.bool_]) -> Interval:
    def share(rows: NDArray[np.int64]) -> float:
        kept = rows[asked[rows]]
        return float(values[rows].mean() / of[kept].mean()) if len(kept) and of[kept].any() else float("nan")

    return interval(len(values), share)
