"""Train a router from a folder of outcomes and measure it: what ``gateway router train`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gateway.routing.model import Model, tier_of
from gateway.routing.panel import Panel
from gateway.routing.training import prices
from gateway.routing.training.crossing import FOLDS, Crossed, cross, folds
from gateway.routing.training.evaluation import Evaluation, Predicted, evaluate
from gateway.routing.training.exporting import export
from gateway.routing.training.fitting import fit, layout_of
from gateway.routing.training.outcomes import DataFault, Outcomes, read
from gateway.routing.training.ridge import rows_of

Say = Callable[[str], None]
CONTROL_FOLDS = 2


@dataclass(frozen=True)
class Trained:
    """The model, and what was measured. ``how`` says on which prompts; ``prompts`` counts those learnt from."""

    model: Model
    evaluation: Evaluation
    how: str
    prompts: int


def train(
    folder: Path, say: Say, *, hold_out: str | None = None, among: Mapping[str, Sequence[str]] | None = None
) -> Trained:
    """Train on every Parquet file of a folder, but for the part ``hold_out``, on which it is then measured.

    Without one it is measured by cross-validation. Raises :class:`DataFault`.
    """
    every = read(folder, say)
    unknown = sorted({name for names in (among or {}).values() for name in names} - set(every.models))
    if unknown:
        raise DataFault(f"--among: expected models of {folder}; {', '.join(unknown)} unknown")
    left = np.zeros(len(every), np.bool_) if hold_out is None else every.part_of == _part(every, hold_out)
    learnt = every.some(np.flatnonzero(~left))
    if hold_out is not None and not len(learnt):
        raise DataFault(f"--hold-out: expected a part beside others; {hold_out} is all there is")
    listed = prices.read(folder)
    rows = rows_of(learnt.prompts)
    say(f"{len(learnt)} prompts, {len(learnt.models)} models, {len(learnt.tasks)} tasks, {rows.nnz} features")
    crossed = cross(learnt, rows, layout_of(learnt), say)
    model = _whole(learnt, rows, crossed, listed)
    say("all prompts fitted")
    if hold_out is None:
        say(f"control: scores shuffled among the prompts of a set, {CONTROL_FOLDS} folds")
        mixed = shuffled(learnt)
        control = cross(mixed, rows, layout_of(mixed), count=CONTROL_FOLDS)
        found = Predicted(crossed.rates, control.rates, mixed.score, crossed.recognised, crossed.fold)
        how = f"cross-validation, {FOLDS} folds of questions"
        return Trained(model, evaluate(learnt, found, prices.costs(learnt, listed), among), how, len(learnt))
    held = every.some(np.flatnonzero(left))
    mixed = shuffled(learnt)
    other = _whole(mixed, rows, cross(mixed, rows, layout_of(mixed), count=CONTROL_FOLDS), listed)
    rates, recognised = predict(model, held)
    found = Predicted(rates, predict(other, held)[0], shuffled(held).score, recognised, folds(held))
    how = f"the part {hold_out}, from which nothing was learnt"
    return Trained(model, evaluate(held, found, prices.costs(held, listed), among), how, len(learnt))


def shuffled(outcomes: Outcomes) -> Outcomes:
    """The same prompts, each model's scores moved among those of a set's prompts that it was asked: what is predicted
    of these is predicted by chance, or by a fault that lets a prompt's own scores be seen.
    """
    score = outcomes.score.copy()
    generator = np.random.default_rng(1)
    for number in range(len(outcomes.sets)):
        members = outcomes.set_of == number
        for model in range(len(outcomes.models)):
            asked = np.flatnonzero(members & ~np.isnan(score[:, model]))
            score[asked, model] = score[generator.permutation(asked), model]
    return replace(outcomes, score=score)


def predict(model: Model, outcomes: Outcomes) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What the finished tables say, prompts × models, and whether each prompt's task was recognised."""
    panel = Panel(model, outcomes.models)
    views = [panel(prompt) for prompt in outcomes.prompts]
    rates = np.array([[quality.probability for quality in view.qualities] for view in views])
    tasks = [outcomes.tasks[task] for task in outcomes.task_of]
    return rates, np.array([view.task == task for view, task in zip(views, tasks, strict=True)], np.bool_)


def _part(outcomes: Outcomes, name: str) -> int:
    if name not in outcomes.parts:
        raise DataFault(f"--hold-out: expected one of the parts {', '.join(outcomes.parts)}; there is no {name}")
    return outcomes.parts.index(name)


def _whole(outcomes: Outcomes, rows: sparse.csr_array, crossed: Crossed, listed: prices.Prices) -> Model:
    tiers = [tier_of(listed.of(model)[1]) for model in outcomes.models]
    about = {
        "sets": ", ".join(outcomes.sets),
        "parts": ", ".join(sorted({outcomes.parts[part] for part in outcomes.part_of})),
        "prompts": str(len(outcomes)),
        "outcomes": str(int((~np.isnan(outcomes.score)).sum())),
    }
    return export(outcomes, fit(outcomes, rows, layout_of(outcomes)), crossed.heat, crossed.numbers, tiers, about)
