"""What a :class:`~gateway.routing.model.Model` says of prompts, by some of its models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gateway.routing.arithmetic import sigmoid
from gateway.routing.candidates import View
from gateway.routing.model import TIERS, Model
from gateway.routing.products import Products

if TYPE_CHECKING:
    from gateway.routing.summing import Layout

Own = list[tuple[int, int, float]]
"""A name's experts: the place of each among those of all names, its set, its trust."""


class Panel:
    """Some models, ready to be asked about prompts. Not to be shared between threads. It keeps what it needs of the
    :class:`Model`, some megabytes.

    ``names`` are models that were learned, or tiers (``TIERS``) for those that were not.
    """

    __slots__ = ("_say", "names")

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        self.names = tuple(names)
        experts, own = experts_of(model, self.names)
        known = [known_of(model, name) for name in self.names]
        self._say: Callable[[str], View] = _compiled(model, experts, own, known) or Products(model, experts, own, known)

    def __call__(self, prompt: str) -> View:
        """What is expected of each of ``names``, in their order."""
        return self._say(prompt)


def experts_of(model: Model, names: Sequence[str]) -> tuple[list[int], list[Own]]:
    """The experts of some models, and of each name its own. Raises ValueError for a name that is not known."""
    chosen: list[int] = []
    found: list[Own] = []
    for name in names:
        own: Own = []
        if name in model.models:
            for expert in np.flatnonzero(model.expert_model == model.models.index(name)).tolist():
                own.append((len(chosen), int(model.expert_set[expert]), float(model.trust[expert])))
                chosen.append(expert)
        elif name not in TIERS:
            raise ValueError(f"expected a model that was learned or one of the tiers {', '.join(TIERS)}: {name}")
        found.append(own)
    return chosen, found


def known_of(model: Model, name: str) -> NDArray[np.floating]:
    """Of a model or a tier, for each task: the likely rate, the observations it rests on, the tokens of answers."""
    if name in model.models:
        number = model.models.index(name)
        return np.stack((model.likely[:, number], model.seen[:, number], model.tokens[:, number]), axis=1)
    likely = sigmoid(model.tier_ability[TIERS.index(name)] + model.difficulty)
    return np.stack((likely, np.zeros(len(model.tasks)), model.tokens.mean(1)), axis=1)


def _compiled(
    model: Model, experts: Sequence[int], own: Sequence[Own], known: Sequence[NDArray[np.floating]]
) -> Callable[[str], View] | None:
    """What needs no NumPy to say it; None where nothing is compiled, or the package ``librt`` is not there."""
    try:
        # What it needs may not be installed, or be older than what it was compiled for.
        from gateway.routing.summing import Summing, is_compiled  # noqa: PLC0415
    except (ImportError, ValueError):
        return None
    return Summing(layout(model, experts, own, known)) if is_compiled() else None


def layout(model: Model, experts: Sequence[int], own: Sequence[Own], known: Sequence[NDArray[np.floating]]) -> Layout:
    """A panel's numbers as :class:`~gateway.routing.summing.Summing` reads them."""
    # As above: only who reads it needs it.
    from gateway.routing.summing import Expert, Known, Layout  # noqa: PLC0415

    sets, width = len(model.sets), len(model.sets) + len(model.tasks)
    order = np.argsort(model.home, kind="stable")
    kept = np.concatenate((np.arange(sets), sets + order, width + np.array(experts, np.int64)))
    row = -(-len(kept) // 8) * 8
    table = np.full((len(model.table), row), 128, np.uint8)
    table[:, : len(kept)] = model.table[:, kept].view(np.uint8) ^ 128
    names = []
    for each, of_tasks in zip(own, known, strict=True):
        heads = [
            Expert(width + number, home, trust, model.rate[model.home == home, experts[number]].tolist())
            for number, home, trust in each
        ]
        names.append(Known(heads, of_tasks[order].ravel().tolist()))
    ends = np.searchsorted(model.home[order], np.arange(sets), side="right")
    return Layout(
        table.tobytes(),
        row,
        model.steps[kept].tolist(),
        model.intercepts[kept].tolist(),
        ends.tolist(),
        [model.tasks[task] for task in order.tolist()],
        names,
    )
