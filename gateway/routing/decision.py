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

from gateway.kernel.compiling import mypyc_attr
from gateway.routing.candidates import BOUND, WORTH, Decision
from gateway.routing.confidence import confidence
from gateway.routing.costs import cost_of, prompt_tokens
from gateway.routing.estimates import Candidate, Estimate, Quality
from gateway.routing.panel import Panel
from gateway.routing.refusing import refusal
from gateway.routing.request import Ask

_BY_UTILITY: Final = attrgetter("utility")
_FEW: Final = 32
"""Targets that are put in order one by one, in less time than it takes to sort them."""


def decide(panel: Panel, candidates: Sequence[Candidate], ask: Ask) -> Decision:
    """Choose one. ``candidates`` are those of the panel's ``names``, in their order.

    Raises :class:`~gateway.kernel.errors.GatewayError` that names the constraint no target met and the nearest target
    that would, and ValueError where candidates and panel do not belong together.
    """
    view = panel(ask.prompt)
    if len(candidates) != len(view.qualities):
        raise ValueError(f"expected a candidate for each of {', '.join(panel.names)}; there are {len(candidates)}")
    ranked, refused = rank(view.qualities, list(candidates), ask)
    return Decision(ranked[0], tuple(ranked[1:]), tuple(refused), confidence(ranked), view.task)


def rank(
    qualities: list[Quality], candidates: list[Candidate], ask: Ask
) -> tuple[list[Estimate], list[tuple[str, str]]]:
    """The targets that meet what must be met, the best first, and the names of the others with what each failed first.

    ``qualities`` are in the order of ``candidates``. Raises as :func:`decide`.
    """
    prompt = prompt_tokens(ask)
    cached = min(ask.cached_tokens, prompt)
    most = math.inf if ask.max_tokens is None else float(ask.max_tokens)
    limits = _Limits(ask, prompt)
    met: list[Estimate] = []
    refused: list[tuple[str, str]] = []
    dearest = slowest = 1e-12
    for place, candidate in enumerate(candidates):
        expected = qualities[place]
        tokens = expected.tokens if expected.tokens < most else most
        cost = cost_of(candidate, prompt, cached, tokens)
        seconds = candidate.first_token + candidate.per_token * tokens
        slow = seconds * candidate.spread
        lower = expected.probability - BOUND * expected.error
        failed = limits.failed(candidate, cost, slow, lower)
        if failed:
            refused.append((candidate.name, failed))
            continue
        dearest = cost if cost > dearest else dearest
        slowest = seconds if seconds > slowest else slowest
        lower = lower if lower > 0.0 else 0.0
        met.append(
            Estimate(
                candidate.name, expected.probability, lower, cost, seconds, slow, tokens, 0.0, expected.error, place
            )
        )
    if not met:
        raise refusal(candidates, qualities, refused, ask)
    money, time = WORTH[ask.optimize_for]
    return _ranked(met, money / dearest, time / slowest), refused


@mypyc_attr(acyclic=True)
class _Limits:
    """What a target must meet: the tokens a context has to hold, the most of money and time, the least quality, which
    are infinite where unbounded; providers; capabilities.
    """

    __slots__ = ("exclude", "max_cost", "max_time", "min_quality", "needs", "preferred", "room")

    def __init__(self, ask: Ask, prompt: int) -> None:
        given = ask.constraints
        self.room = prompt + (ask.max_tokens or 0)
        self.max_cost = math.inf if given.max_cost is None else given.max_cost
        self.max_time = math.inf if given.max_response_time is None else given.max_response_time
        self.min_quality = -math.inf if given.min_quality is None else given.min_quality
        self.exclude = given.exclude_providers
        self.preferred = given.preferred_providers
        self.needs = ask.needs

    def failed(self, candidate: Candidate, cost: float, slow: float, lower: float) -> str:
        """The first, in the order of ``refusing.ORDER``, that a target fails; empty where it meets all."""
        if not candidate.allowed:
            return "allowed_models"
        if self.exclude and candidate.provider in self.exclude:
            return "exclude_providers"
        if self.preferred and candidate.provider not in self.preferred:
            return "preferred_providers"
        if self.needs and not self.needs <= candidate.capabilities:
            return "capabilities"
        length = candidate.context_length
        if length is not None and length < self.room:
            return "context_length"
        if candidate.resting:
            return "breaker"
        if cost > self.max_cost:
            return "max_cost"
        if slow > self.max_time:
            return "max_response_time"
        return "min_quality" if lower < self.min_quality else ""


def _ranked(met: list[Estimate], money: float, time: float) -> list[Estimate]:
    """By their worth, the highest first; of those worth the same the first one first."""
    for one in met:
        one.utility = one.quality - money * one.cost - time * one.seconds
    if len(met) > _FEW:
        met.sort(key=_BY_UTILITY, reverse=True)
        return met
    for begin in range(1, len(met)):
        moved = met[begin]
        at = begin
        while at and met[at - 1].utility < moved.utility:
            met[at] = met[at - 1]
            at -= 1
        met[at] = moved
    return met
