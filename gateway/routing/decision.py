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
from typing import Final, TypeAlias

from gateway.routing.candidates import (
    BOUND,
    WORTH,
    Ask,
    Candidate,
    Decision,
    Estimate,
    Quality,
)
from gateway.routing.confidence import confidence
from gateway.routing.costs import cost_of, prompt_tokens
from gateway.routing.panel import Panel
from gateway.routing.refusing import refusal

_BY_UTILITY: Final = attrgetter("utility")
_Met: TypeAlias = tuple[Candidate, Quality, float, float, float, float]


def decide(panel: Panel, candidates: Sequence[Candidate], ask: Ask) -> Decision:
    """Choose one. ``candidates`` are those of the panel's ``names``, in their order.

    Raises :class:`~gateway.kernel.errors.GatewayError` that names the constraint no target met and the nearest target
    that would, and ValueError where candidates and panel do not belong together.
    """
    view = panel(ask.prompt)
    if len(candidates) != len(view.qualities):
        raise ValueError(f"expected a candidate for each of {', '.join(panel.names)}; there are {len(candidates)}")
    return among(view.task, view.qualities, candidates, ask)


def among(task: str, qualities: Sequence[Quality], candidates: Sequence[Candidate], ask: Ask) -> Decision:
    """Choose one where ``qualities``, in the order of ``candidates``, are known already. Raises as :func:`decide`."""
    prompt = prompt_tokens(ask)
    cached = min(ask.cached_tokens, prompt)
    most = math.inf if ask.max_tokens is None else ask.max_tokens
    limits = _limits(ask, prompt)
    met: list[_Met] = []
    refused: list[tuple[str, str]] = []
    dearest = slowest = 1e-12
    for candidate, expected in zip(candidates, qualities, strict=True):
        tokens = min(expected.tokens, most)
        cost = cost_of(candidate, prompt, cached, tokens)
        seconds = candidate.first_token + candidate.per_token * tokens
        lower = expected.probability - BOUND * expected.error
        failed = _failed(candidate, ask, limits, cost, seconds, lower)
        if failed:
            refused.append((candidate.name, failed))
            continue
        dearest, slowest = max(dearest, cost), max(slowest, seconds)
        met.append((candidate, expected, tokens, cost, seconds, lower))
    if not met:
        raise refusal(candidates, qualities, refused, ask)
    money, time = WORTH[ask.optimize_for]
    ranked = _ranked(met, money / dearest, time / slowest)
    return Decision(ranked[0], tuple(ranked[1:]), tuple(refused), confidence(ranked), task)


def _limits(ask: Ask, prompt: int) -> tuple[int, float, float, float]:
    """The tokens a context has to hold, the most of money and time, the least quality; infinite where unbounded."""
    given = ask.constraints
    return (
        prompt + (ask.max_tokens or 0),
        math.inf if given.max_cost is None else given.max_cost,
        math.inf if given.max_response_time is None else given.max_response_time,
        -math.inf if given.min_quality is None else given.min_quality,
    )


def _failed(
    candidate: Candidate, ask: Ask, limits: tuple[int, float, float, float], cost: float, seconds: float, lower: float
) -> str:
    """The first constraint, in the order of ``refusing.ORDER``, that a target fails; empty where it meets all."""
    room, max_cost, max_time, min_quality = limits
    given = ask.constraints
    if not candidate.allowed:
        return "allowed_models"
    if candidate.provider in given.exclude_providers:
        return "exclude_providers"
    if given.preferred_providers and candidate.provider not in given.preferred_providers:
        return "preferred_providers"
    if ask.needs and not ask.needs <= candidate.capabilities:
        return "capabilities"
    if candidate.context_length is not None and candidate.context_length < room:
        return "context_length"
    if candidate.resting:
        return "breaker"
    if cost > max_cost:
        return "max_cost"
    if seconds * candidate.spread > max_time:
        return "max_response_time"
    return "min_quality" if lower < min_quality else ""


def _ranked(met: list[_Met], money: float, time: float) -> list[Estimate]:
    ranked = [
        Estimate(
            one.name,
            expected.probability,
            max(lower, 0.0),
            cost,
            seconds,
            seconds * one.spread,
            tokens,
            expected.probability - money * cost - time * seconds,
            expected.error,
        )
        for one, expected, tokens, cost, seconds, lower in met
    ]
    ranked.sort(key=_BY_UTILITY, reverse=True)
    return ranked
