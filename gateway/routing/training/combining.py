"""From experts to models, for many prompts at once: what :mod:`gateway.routing.model` does for one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.routing.arithmetic import FOREIGN, sigmoid
from gateway.routing.training.fitting import Fitted, Shares

Floats = NDArray[np.floating]


def combine(evidence: Floats, found: Shares, fitted: Fitted, numbers: Floats) -> Floats:
    """The probability of a good answer, prompts × models. ``numbers`` are the experts' calibrations, experts × 3."""
    layout = fitted.layout
    rates = sigmoid((evidence * numbers[None]).sum(2))
    likely = (found.tasks * found.gates[:, layout.home]) @ fitted.priors.likely
    total, weight = FOREIGN * likely, np.full(likely.shape, FOREIGN)
    for expert, (number, model) in enumerate(zip(layout.expert_set, layout.expert_model, strict=True)):
        share = found.gates[:, number]
        total[:, model] += share * rates[:, expert]
        weight[:, model] += share
    combined: Floats = total / weight
    return combined
