"""How far an organization's feedback says that the weights are off, and how well a target is known by it.

Shifts are drawn to 0 by a prior. How strongly it should draw, the feedback itself tells: where targets keep coming to
what the weights say, shifts are noise, and the prior is made up to sixteen times as strong; where they don't, weaker.
For each strength the likelihood of all that was found is told, with shifts taken out (score statistics, normal)::

    found - expected, of a target and task  ~  N(0, 1 / information + variance of a task's shift + of the target's)

What is left unknown of a shift is its posterior standard deviation under that prior: its *doubt*, in logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.routing.online_cells import TASK_PRIOR, WHOLE_PRIOR, Cell, Quality, filled, sigmoid

STRENGTHS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""What the prior's precision is multiplied by, each as likely as the others before anything is known."""
_LEAST: Final = 1.0
"""Information on a task (some four answers) before it says anything of the strength."""


def strength_of(targets: Iterable[Quality]) -> float:
    """What the prior's precision is to be multiplied by: the mean, by logarithms, of the strengths by likelihood."""
    found = [[_score(cell) for cell in target.tasks.values()] for target in targets]
    scores = [[each for each in cells if each[0] >= _LEAST] for cells in found]
    logs = [sum(_likelihood(cells, strength) for cells in scores) for strength in STRENGTHS]
    shares = [math.exp(each - max(logs)) for each in logs]
    mean = sum(share * math.log(strength) for share, strength in zip(shares, STRENGTHS, strict=True)) / sum(shares)
    return math.exp(mean)


def informations(quality: Quality) -> dict[str, float]:
    """By task the information on its logit: inverse variance, a quarter of an answer's weight at most."""
    return {task: _information(cell, quality.shift + cell.shift) for task, cell in quality.tasks.items()}


def doubt(known: Mapping[str, float], task: str, strength: float) -> float:
    """The standard deviation of a target's logit for a task, given its informations; of any task where that is new."""
    whole, own = WHOLE_PRIOR * strength, TASK_PRIOR * strength
    others = whole + sum(each * own / (each + own) for name, each in known.items() if name != task)
    return math.sqrt(1.0 / (1.0 / (1.0 / others + 1.0 / own) + known.get(task, 0.0)))


def _score(cell: Cell) -> tuple[float, float]:
    """Information without shifts, and what was found above what was expected, in logits."""
    information = slope = 0.0
    for weight, good, logit in filled(cell):
        rate = sigmoid(logit)
        information += weight * rate * (1.0 - rate)
        slope += good - weight * rate
    return information, slope / information if information else 0.0


def _information(cell: Cell, shift: float) -> float:
    rates = [(weight, sigmoid(logit + shift)) for weight, _, logit in filled(cell)]
    return sum(weight * rate * (1.0 - rate) for weight, rate in rates)


def _likelihood(cells: list[tuple[float, float]], strength: float) -> float:
    """The logarithm of a target's, but for a constant: a covariance of a diagonal and one common part."""
    whole, own = 1.0 / (WHOLE_PRIOR * strength), 1.0 / (TASK_PRIOR * strength)
    total = precision = common = 0.0
    for information, found in cells:
        variance = 1.0 / information + own
        total -= 0.5 * (math.log(variance) + found * found / variance)
        precision += 1.0 / variance
        common += found / variance
    more = 1.0 + whole * precision
    return total - 0.5 * math.log(more) + 0.5 * whole * common * common / more
