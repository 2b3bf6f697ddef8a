"""What models cost, where outcomes do not say: from ``prices.json`` beside them, else by the size in the model's name.

``prices.json`` is ``{model: {"in": dollars, "out": dollars}}`` per million tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.routing.training.outcomes import CHARS_PER_TOKEN, DataFault, Outcomes

NAME: Final = "prices.json"
BY_SIZE: Final = ((4.0, 0.1), (16.0, 0.2), (float("inf"), 0.9))
"""Up to how many billion parameters a model costs how much; a name that tells no size counts as the middle."""
_SIZE: Final = re.compile(r"(?:^|[^a-z0-9])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?:$|[^a-z0-9])")


class _Price(msgspec.Struct, frozen=True):
    input: float = msgspec.field(name="in")
    output: float = msgspec.field(name="out")


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens."""

    listed: dict[str, tuple[float, float]]

    def of(self, model: str) -> tuple[float, float]:
        """A model's prices of prompt and answer."""
        found = self.listed.get(model)
        if found is not None:
            return found
        size = _SIZE.search(model)
        billions = 10.0 if size is None else float(size[1] or 1) * float(size[2])
        price = next(price for most, price in BY_SIZE if billions <= most)
        return price, price


def read(folder: Path) -> Prices:
    """The prices of a folder of outcomes. Raises :class:`DataFault` where the file is not what it should be."""
    path = folder / NAME
    if not path.exists():
        return Prices({})
    try:
        listed = msgspec.json.decode(path.read_bytes(), type=dict[str, _Price])
    except msgspec.DecodeError as error:
        raise DataFault(f'{path}: expected {{model: {{"in": dollars, "out": dollars}}}}: {error}') from None
    return Prices({model: (price.input, price.output) for model, price in listed.items()})


def costs(outcomes: Outcomes, prices: Prices) -> NDArray[np.float64]:
    """What each answer cost, prompts × models: as recorded, else the prompt's tokens at the model's price."""
    tokens = np.array([len(prompt) for prompt in outcomes.prompts]) / CHARS_PER_TOKEN
    by_prompt = tokens[:, None] * np.array([prices.of(model)[0] for model in outcomes.models])[None, :] / 1e6
    # A model's costs are comparable within a prompt only if all of them were recorded.
    recorded = _recorded_sets(outcomes)[outcomes.set_of]
    found: NDArray[np.float64] = np.where(recorded[:, None], outcomes.cost, by_prompt)
    return found


def _recorded_sets(outcomes: Outcomes) -> NDArray[np.bool_]:
    known = ~np.isnan(outcomes.score)
    priced = ~np.isnan(outcomes.cost)
    return np.array(
        [(priced | ~known)[outcomes.set_of == number].all() for number in range(len(outcomes.sets))], np.bool_
    )
