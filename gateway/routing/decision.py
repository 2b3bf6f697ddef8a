"""Choose a target: filter by what must be met, then rank by what is worth most.

Worth is counted in quality. ``optimize_for`` says how much quality the difference between the dearest target and a free
one, and between the slowest and an instant one, is worth (``WORTH``)::

    utility = quality - worth of money × cost / highest cost - worth of time × seconds / longest seconds

A pure function of what it is given: nothing is drawn, read or kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from gateway.routing.candidates import BOUND, CHARS_PER_TOKEN, Ask, Candidate, Decision, Estimate, OptimizeFor, cost_of
from gateway.routing.model import Panel
from gateway.routing.refusing import refusal

WORTH: Final[dict[OptimizeFor, tuple[float, float]]] = {
    "cost": (0.40, 0.02),
    "speed": (0.02, 0.40),
    "quality": (0.01, 0.005),
    "balanced": (0.12, 0.06),
}
"""By what is optimised: the worth of money and of time, in quality."""

_BY_UTILITY: Final = attrgetter("utility")


def decide(panel: Panel, candidates: Sequence[Candidate], ask: Ask) -> Decision:
    """Choose one. ``candidates`` are those of the panel's ``names``, in their order.

    Raises :class:`~gateway.kernel.errors.GatewayError` that names the constraint no target met and the nearest target
    that would, and ValueError where candidates and panel do not belong together.
    """
    view = panel(ask.prompt)
    if len(candidates) != len(view.qualities):
        raise ValueError(f"expected a candidate for each of {', '.join(panel.names)}; there are {len(candidates)}")
    limits, needs = ask.constraints, ask.needs
    preferred, excluded = limits.preferred_providers, limits.exclude_providers
    prompt = len(ask.prompt) // CHARS_PER_TOKEN if ask.prompt_tokens is None else ask.prompt_tokens
    cached = min(ask.cached_tokens, prompt)
    most = math.inf if ask.max_tokens is None else ask.max_tokens
    room = prompt + (ask.max_tokens or 0)
    max_cost = math.inf if limits.max_cost is None else limits.max_cost
    max_time = math.inf if limits.max_response_time is None else limits.max_response_time
    min_quality = -1.0 if limits.min_quality is None else limits.min_quality
    met: list[tuple[Candidate, float, float, float, float, float, float]] = []
    refused: list[tuple[str, str]] = []
    dearest = slowest = 1e-12
    for candidate, expected in zip(candidates, view.qualities, strict=True):
        tokens = min(expected.tokens, most)
        quality, error = expected.probability, expected.error
        cost = cost_of(candidate, prompt, cached, tokens)
        seconds = candidate.first_token + candidate.per_token * tokens
        if not candidate.allowed:
            failed = "allowed_models"
        elif candidate.provider in excluded:
            failed = "exclude_providers"
        elif preferred and candidate.provider not in preferred:
            failed = "preferred_providers"
        elif needs and not needs <= candidate.capabilities:
            failed = "capabilities"
        elif candidate.context_length is not None and candidate.context_length < room:
            failed = "context_length"
        elif candidate.resting:
            failed = "breaker"
        elif cost > max_cost:
            failed = "max_cost"
        elif seconds * candidate.spread > max_time:
            failed = "max_response_time"
        elif quality - BOUND * error < min_quality:
            failed = "min_quality"
        else:
            dearest, slowest = max(dearest, cost), max(slowest, seconds)
            met.append((candidate, quality, error, cost, seconds, tokens, quality - BOUND * error))
            continue
        refused.append((candidate.name, failed))
    if not met:
        raise refusal(candidates, view.qualities, refused, ask)
    money, time = WORTH[ask.optimize_for]
    money, time = money / dearest, time / slowest
    ranked = [
        Estimate(
            one.name,
            quality,
            max(lower, 0.0),
            cost,
            seconds,
            seconds * one.spread,
            tokens,
            quality - money * cost - time * seconds,
            error,
        )
        for one, quality, error, cost, seconds, tokens, lower in met
    ]
    ranked.sort(key=_BY_UTILITY, reverse=True)
    return Decision(ranked[0], tuple(ranked[1:]), tuple(refused), _confidence(ranked), view.task)


def _confidence(ranked: list[Estimate]) -> float:
    if len(ranked) < 2:
        return 1.0
    first, second = ranked[0], ranked[1]
    error = math.hypot(first.error, second.error)
    return 0.5 * (1.0 + math.erf((first.utility - second.utility) / (error * math.sqrt(2.0) + 1e-12)))
