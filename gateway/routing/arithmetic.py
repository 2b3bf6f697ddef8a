"""The few functions that learning and deciding share, over arrays."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

EDGE: Final = 0.02
"""Rates are kept this far from 0 and 1 before their logit is taken: a task's rate is known no better."""
STEEPEST: Final = 60.0
"""Exponents beyond are cut, so that nothing overflows a 32-bit float."""
FOREIGN: Final = 0.05
"""The share of a prompt's likeness to sets in which a model was never seen, from which on what ability and difficulty
say of it weighs as much as its experts."""


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + np.exp(-np.clip(values, -STEEPEST, STEEPEST)))


def logit(rates: Floats) -> Floats:
    """log(p / (1 - p)) of rates cut to ``EDGE`` … 1 - ``EDGE``."""
    kept = np.clip(rates, EDGE, 1.0 - EDGE)
    return np.log(kept / (1.0 - kept))


def softmax(values: Floats) -> Floats:
    """Rows that add up to 1."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
