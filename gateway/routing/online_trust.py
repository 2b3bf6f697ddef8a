"""How far an organization's feedback says that the weights are off, and how well a target is known by it.

Shifts are drawn to 0 by a prior. How strongly it should draw, the feedback itself tells: where targets keep coming to
what the weights say, shifts are noise, and the prior is made up to sixteen times as strong; where they don't, weaker.
For each strength the likelihood of all that was found is told, with shifts taken out (score statistics, normal)::

    found - expected, of a target and task  ~  N(common, 1 / information + variance of a task's shift + of the target's)

Where all targets are off alike, since who reports is stricter or milder than what the weights were trained on, or lies,
that is the *common* shift: what is drawn is drawn to it, and a target that nobody has tried is off by it too. Otherwise
one that is reported on would seem worse than all others to a strict judge, and better to a mild one. Targets that have
changed tell little of it.

What is left unknown of a shift is its posterior standard deviation under that prior: its *doubt*, in logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.routing.online_cells import FARTHEST, TASK_PRIOR, WHOLE_PRIOR, Cell, Prior, Quality, filled, sigmoid

STRENGTHS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""What the prior's precision is multiplied by, each as likely as the others before anything is known."""
SPREADS: Final = {0.0: 0.6, 0.1: 0.2, 1.0: 0.2}
"""Variances of what is common to all targets, and how likely they are before anything is known."""
_APART: Final = {0.0: 1.0}
_LEAST: Final = 1.0
"""Information on a task (some four answers) before it says anything of the strength."""


def prior_of(targets: Iterable[Quality], around: float = 0.0, *, alike: bool = True) -> Prior:
    """What an organization's feedback says of the weights as a whole: the means, by likelihood, over all strengths and
    spreads of what is common (of the strength by its logarithm).

    ``around`` is the common shift that was found before, from which this one is found more exactly; with ``alike``
    False there is none.
    """
    scores = []
    for target in targets:
        found = [_score(cell, around) for cell in target.tasks.values()]
        if kept := [each for each in found if each[0] >= _LEAST]:
            scores.append((target, kept))
    logs, commons = [], []
    for strength in STRENGTHS:
        parts = [_level(target.variance(strength), cells, strength) for target, cells in scores]
        for spread, share in (SPREADS if alike else _APART).items():
            log, common = _shared(parts, spread)
            logs.append(log + math.log(share))
            commons.append(common)
    common = _agreed(_mean(logs, commons), [_level(target.variance(1.0), cells, 1.0) for target, cells in scores])
    apart = [[(information, each - common) for information, each in cells] for _, cells in scores]
    logs = [
        _shared([_level(1.0 / (WHOLE_PRIOR * strength), cells, strength) for cells in apart], 0.0)[0]
        for strength in STRENGTHS
    ]
    return Prior(math.exp(_mean(logs, [math.log(each) for each in STRENGTHS])), common)


def _agreed(common: float, parts: list[tuple[float, float, float]]) -> float:
    """No farther than the second farthest target is by what is known of it alone: one that is off may be broken."""
    side = math.copysign(1.0, common)
    alone = sorted((side * mean / (1.0 + variance) for _, mean, variance in parts), reverse=True)
    return side * min(abs(common), max(alone[1], 0.0), FARTHEST) if len(alone) > 1 else 0.0


def _mean(logs: list[float], values: list[float]) -> float:
    most = max(logs)
    shares = [math.exp(each - most) for each in logs]
    return sum(share * value for share, value in zip(shares, values, strict=True)) / sum(shares)


def informations(quality: Quality) -> dict[str, float]:
    """By task the information on its logit: inverse variance, a quarter of an answer's weight at most."""
    return {task: _information(cell, quality.shift + cell.shift) for task, cell in quality.tasks.items()}


def doubt(known: Mapping[str, float], task: str, strength: float) -> float:
    """The standard deviation of a target's logit for a task, given its informations; of any task where that is new."""
    whole, own = WHOLE_PRIOR * strength, TASK_PRIOR * strength
    others = whole + sum(each * own / (each + own) for name, each in known.items() if name != task)
    return math.sqrt(1.0 / (1.0 / (1.0 / others + 1.0 / own) + known.get(task, 0.0)))


def _score(cell: Cell, around: float) -> tuple[float, float]:
    """Information at a shift, and what is off in all by what was found there, in logits."""
    information = slope = 0.0
    for weight, good, logit in filled(cell):
        rate = sigmoid(logit + around)
        information += weight * rate * (1.0 - rate)
        slope += good - weight * rate
    return information, around + slope / information if information else 0.0


def _information(cell: Cell, shift: float) -> float:
    rates = [(weight, sigmoid(logit + shift)) for weight, _, logit in filled(cell)]
    return sum(weight * rate * (1.0 - rate) for weight, rate in rates)


def _level(prior: float, cells: list[tuple[float, float]], strength: float) -> tuple[float, float, float]:
    """Of a target what its tasks say of its shift: the logarithm of the likelihood but for a constant and for what the
    shift itself says, the shift, and its variance, that of the prior included."""
    own = 1.0 / (TASK_PRIOR * strength)
    log = precision = sum_ = 0.0
    for information, found in cells:
        variance = 1.0 / information + own
        log -= 0.5 * (math.log(variance) + found * found / variance)
        precision += 1.0 / variance
        sum_ += found / variance
    mean = sum_ / precision
    log += 0.5 * (mean * mean * precision - math.log(precision))
    return log, mean, 1.0 / precision + prior


def _shared(parts: list[tuple[float, float, float]], spread: float) -> tuple[float, float]:
    """The likelihood of all targets, with what is common to them of this variance, and what that is then."""
    log = precision = sum_ = 0.0
    for own, mean, variance in parts:
        log += own - 0.5 * (math.log(variance) + mean * mean / variance)
        precision += 1.0 / variance
        sum_ += mean / variance
    more = 1.0 + spread * precision
    return log + 0.5 * (spread * sum_ * sum_ / more - math.log(more)), spread * sum_ / more
