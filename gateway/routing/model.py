"""What was learned: tables of numbers that never change, and what they say of a prompt.

::

    prompt ─ features ─▶ a sum of rows ─▶ gates: which set of outcomes is it like
                                         tasks: which task of each set
                                         experts: each model's head, per set
    p(model) = Σ gate × sigmoid(b0 + b1 logit(Σ task × rate) + b2 head), over the sets in which it was seen

A model that was never seen starts from its tier: the tier's ability and each task's difficulty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

TIERS: Final = ("small", "medium", "large", "frontier")
TIER_PRICES: Final = (0.35, 1.6, 8.0)
"""US dollars per million tokens of answer up to which a model is of the first, second and third tier."""
COARSER: Final = 4
"""How many steps a whole number in a structural count's row is: these rows are few, in every prompt, and heavy."""


@dataclass(frozen=True, slots=True)
class Model:
    """Arrays by what they hold: ``d`` sets, ``t`` tasks, ``k`` experts, ``m`` models.

    ``table`` int8 (features × (d + t + k)) in ``steps``, ``COARSER`` of them in the rows of structural counts, and
    ``intercepts``, with temperatures and b2 worked in; ``trust`` (k) is b1; ``home`` (t), ``expert_set`` and
    ``expert_model`` (k) are numbers into the names. ``rate`` (t × k) is nought outside of an expert's set; ``likely``,
    ``seen`` and ``tokens`` are t × m. ``tier_ability`` (by ``TIERS``) and ``difficulty`` (t) are logits.
    """

    models: tuple[str, ...]
    sets: tuple[str, ...]
    tasks: tuple[str, ...]
    table: NDArray[np.int8]
    steps: Floats
    intercepts: Floats
    trust: Floats
    home: Numbers
    expert_set: Numbers
    expert_model: Numbers
    rate: Floats
    likely: Floats
    seen: Floats
    tokens: Floats
    tier_ability: Floats
    difficulty: Floats
    about: dict[str, str]

    def match(self, name: str) -> str | None:
        """The learned model that a name means: itself, without a provider's prefix, or the newest of its dated ones."""
        bare = name.rsplit("/", 1)[-1].lower()
        if bare in self.models:
            return bare
        dated = [each for each in self.models if each.startswith(f"{bare}-") and each[len(bare) + 1 :][:1].isdigit()]
        return max(dated, default=None)


def tier_of(dollars: float) -> str:
    """The tier of a model by its price: US dollars per million tokens of answer."""
    return TIERS[sum(dollars > most for most in TIER_PRICES)]
