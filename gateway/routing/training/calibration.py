"""Calibration of each expert on prompts it has not seen: logit p = b0 + b1 logit(task prior) + b2 head.

Three numbers per expert, drawn towards ``START`` where few outcomes are known (logistic regression by Newton's method).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.routing.arithmetic import sigmoid

Floats = NDArray[np.float64]

START = np.array([0.0, 0.9, 3.0])
DRAW = np.array([4.0, 4.0, 1.0])
"""How strongly each number is drawn to its start."""
_STEPS = 25


def calibrate(evidence: NDArray[np.float32], scores: NDArray[np.float32]) -> Floats:
    """The three numbers of one expert. ``evidence`` is prompts × 3, ``scores`` from 0 to 1; no NaN in either."""
    found = START.copy()
    columns = evidence.astype(np.float64)
    for _ in range(_STEPS):
        rates = sigmoid(columns @ found)
        slope = columns.T @ (rates - scores) + DRAW * (found - START)
        curve = (columns * (rates * (1.0 - rates))[:, None]).T @ columns + np.diag(DRAW)
        step = np.linalg.solve(curve, slope)
        found -= step
        if np.abs(step).max() < 1e-5:
            break
    return found
