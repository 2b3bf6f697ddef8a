"""What a :class:`~gateway.routing.model.Model` says of prompts, by some of its models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from gateway.routing.arithmetic import sigmoid
from gateway.routing.estimates import Quality, View
from gateway.routing.features import CLASSES, KINDS, STEP_OF, VALUES, raw_of
from gateway.routing.model import TIERS, Model
from gateway.routing.products import Products

if TYPE_CHECKING:
    from gateway.routing.summing import Summing

_ROW: Final = 32
_GROUP: Final = 12
"""As in summing.c: the bytes of a row, and the columns, that are added up at a time."""

Own = list[tuple[int, int, float]]
"""A name's experts: the place of each among those of all names, its set, its trust."""


class Panel:
    """Some models, ready to be asked about prompts. Not to be shared between threads. It keeps what it needs of the
    :class:`Model`, some megabytes.

    ``names`` are models that were learned, or tiers (``TIERS``) for those that were not.
    """

    __slots__ = ("_products", "_summing", "_tasks", "names")

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        self.names = tuple(names)
        experts, own = experts_of(model, self.names)
        known = [known_of(model, name) for name in self.names]
        self._tasks = [model.tasks[task] for task in _by_set(model).tolist()]
        self._products: Products | None = None
        self._summing: Summing | None = None
        made = _compiled()
        if made is None:
            self._products = Products(model, experts, own, known)
        else:
            self._summing = summing(made, model, experts, own, known)

    def __call__(self, prompt: str) -> View:
        """What is expected of each of ``names``, in their order."""
        if self._products is not None:
            return self._products(prompt)
        assert self._summing is not None
        told = self._summing.read(raw_of(prompt), len(prompt))
        qualities = [Quality(told[at], told[at + 1], told[at + 2]) for at in range(2, len(told), 3)]
        return View(self._tasks[int(told[0])], told[1], qualities)


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


def _compiled() -> type[Summing] | None:
    try:
        # Only what was compiled has it.
        from gateway.routing.summing import Summing  # noqa: PLC0415
    except ImportError:
        return None
    return Summing


def summing(
    made: Callable[..., Summing],
    model: Model,
    experts: Sequence[int],
    own: Sequence[Own],
    known: Sequence[NDArray[np.floating]],
) -> Summing:
    """What :class:`~gateway.routing.products.Products` says, without NumPy."""
    sets, width = len(model.sets), len(model.sets) + len(model.tasks)
    order = _by_set(model)
    kept = np.concatenate((np.arange(sets), sets + order, width + np.array(experts, np.int64)))
    row = -(-len(kept) // _ROW) * _ROW
    table = np.full((len(model.table), row), 128, np.uint8)
    table[:, : len(kept)] = model.table[:, kept].view(np.uint8) ^ 128
    columns = np.concatenate((*known, model.rate[:, experts]), axis=1)[order]
    groups = -(-columns.shape[1] // _GROUP)
    blend = np.zeros((len(order), groups * _GROUP), np.float32)
    blend[:, : columns.shape[1]] = columns
    owners = [(name, width + number, home) for name, each in enumerate(own) for number, home, _ in each]
    return made(
        table=table,
        values=VALUES,
        kinds=KINDS,
        classes=CLASSES,
        sizes=STEP_OF.astype(np.uint8),
        steps=model.steps[kept].astype(np.float64),
        intercepts=model.intercepts[kept].astype(np.float64),
        ends=np.searchsorted(model.home[order], np.arange(sets), side="right").astype(np.int64),
        blend=np.ascontiguousarray(blend.reshape(len(order), groups, _GROUP).swapaxes(0, 1)),
        owners=np.array(owners, np.int64),
        trusts=np.array([trust for each in own for _, _, trust in each], np.float64),
        row=row,
        sets=sets,
        tasks=len(order),
        names=len(own),
    )


def _by_set(model: Model) -> NDArray[np.int64]:
    """The tasks in the order of their sets."""
    return np.argsort(model.home, kind="stable")
