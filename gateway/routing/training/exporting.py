"""Make the small tables that decide from what was fitted.

Weights become whole numbers of a step per column: a prompt adds up more than a hundred of them, so that what rounding
takes from one it gives back by others, and few different numbers deflate well.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.routing.features import WORDS
from gateway.routing.model import COARSER, TIERS, Model
from gateway.routing.training.fitting import Fitted, Temperatures
from gateway.routing.training.outcomes import Outcomes

Floats = NDArray[np.floating]

LEVELS: Final = 5
"""Steps that reach the weight which ``FITTING`` of a column's weights do not exceed."""
FITTING: Final = 0.98
MOST: Final = 127
"""The largest whole number: no weight is cut."""


def export(
    outcomes: Outcomes,
    fitted: Fitted,
    heat: Temperatures,
    numbers: Floats,
    tiers: list[str],
    about: dict[str, str],
) -> Model:
    """The model. ``numbers`` are the experts' calibrations (experts × 3), ``tiers`` that of each model."""
    layout, known = fitted.layout, fitted.priors
    per_task = np.array([heat.tasks[number] for number in layout.home])
    scale = np.concatenate((np.full(layout.sets, 1.0 / heat.gates), 1.0 / per_task, numbers[:, 2]))
    table, steps = _coarse(fitted.weights * scale.astype(np.float32))
    intercepts = fitted.intercepts * scale
    intercepts[layout.experts] = numbers[:, 0]
    inside = layout.home[:, None] == layout.expert_set[None, :]
    return Model(
        models=outcomes.models,
        sets=outcomes.sets,
        tasks=outcomes.tasks,
        table=table,
        steps=steps,
        intercepts=intercepts.astype(np.float32),
        trust=numbers[:, 1].astype(np.float32),
        home=layout.home,
        expert_set=layout.expert_set,
        expert_model=layout.expert_model,
        rate=np.where(inside, known.rate[:, layout.expert_model], 0.0).astype(np.float32),
        likely=known.likely.astype(np.float32),
        seen=known.seen.astype(np.float32),
        tokens=known.tokens.astype(np.float32),
        tier_ability=_abilities(known.ability, tiers).astype(np.float32),
        difficulty=known.difficulty.astype(np.float32),
        about=about,
    )


def _coarse(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers within ``LEVELS``, and what one of them is worth in each column."""
    sizes = np.abs(weights)
    # Features that no prompt had say nothing of how large weights are.
    used = sizes[:WORDS][sizes[:WORDS].any(1)]
    usual = np.quantile(used, FITTING, axis=0) if len(used) else np.zeros(weights.shape[1])
    least = np.maximum(sizes[:WORDS].max(0) / MOST, sizes[WORDS:].max(0) / (MOST * COARSER))
    steps = np.maximum(np.maximum(usual / LEVELS, least), 1e-9).astype(np.float32)
    whole = weights / steps
    whole[WORDS:] /= COARSER
    return np.rint(whole).astype(np.int8), steps


def _abilities(ability: Floats, tiers: list[str]) -> Floats:
    """Of each tier the mean ability of its models; a tier without any takes that of its neighbours."""
    means = [
        float(np.mean([each for each, tier in zip(ability, tiers, strict=True) if tier == name] or [np.nan]))
        for name in TIERS
    ]
    found = np.array(means)
    known = np.flatnonzero(~np.isnan(found))
    filled: Floats = np.interp(np.arange(len(TIERS)), known, found[known])
    return filled
