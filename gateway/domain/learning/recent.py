"""The latest decisions one by one: what sums don't tell, over a bounded number of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.learned_routes import Estimate
from gateway.domain.learning.keeping import estimates_of
from gateway.domain.learning.model import RoutingDecision

MOST: Final = 1_000
"""Decisions that are looked at."""
NEAR: Final = 0.02
"""A quality that is lower by less is as good."""


class Recent(Struct, frozen=True):
    """A decision that was acted on: the target chosen and what was expected of it and the others."""

    chosen: str
    estimates: tuple[Estimate, ...]

    def of(self, target: str) -> Estimate | None:
        """What was expected of a target; None for one that was none of the candidates."""
        return next((each for each in self.estimates if each.target == target), None)


class Compared(Struct, frozen=True):
    """Choices against always taking ``target``, expected costs in nano-dollars over ``decisions``.

    ``shuffled_saved_nanos`` is what the same choices would have saved, handed out at random among the same prompts, and
    ``quality_lost`` and ``shuffled_quality_lost`` are means of what was expected to be lost.
    """

    target: str
    decisions: int
    fixed_nanos: int
    saved_nanos: int
    shuffled_saved_nanos: int
    quality_lost: float
    shuffled_quality_lost: float


async def recent(session: AsyncSession, organization: str | None, credential: str | None, from_ns: int) -> list[Recent]:
    """The latest, at most :data:`MOST`, newest first."""
    row = RoutingDecision
    query = select(row.chosen, row.estimates).where(row.started_ns >= from_ns, row.shadow.is_(False))
    if organization is not None:
        query = query.where(row.organization == organization)
    if credential is not None:
        query = query.where(row.credential == credential)
    rows = await session.execute(query.order_by(row.started_ns.desc()).limit(MOST))
    return [Recent(chosen, estimates_of(estimates)) for chosen, estimates in rows]


def against_strongest(decisions: Sequence[Recent]) -> Compared | None:
    """Choices against always taking the target that most often had the highest expected quality; None for none."""
    best = Counter(max(each.estimates, key=lambda one: (one.quality, one.target)).target for each in decisions)
    if not best:
        return None
    target = min(best, key=lambda name: (-best[name], name))
    compared = [each for each in decisions if each.of(target) is not None]
    names = [each.chosen for each in compared]
    # Drawn alike whenever it is asked for: the same decisions give the same figures.
    random.Random(len(names)).shuffle(names)
    acted = [_difference(each, each.chosen, target) for each in compared]
    shuffled = [_difference(each, name, target) for each, name in zip(compared, names, strict=True)]
    fixed = [each.of(target) for each in compared]
    count = len(compared)
    return Compared(
        target,
        count,
        sum(each.cost_nanos for each in fixed if each is not None),
        sum(cost for cost, _ in acted),
        sum(cost for cost, _ in shuffled),
        sum(quality for _, quality in acted) / count,
        sum(quality for _, quality in shuffled) / count,
    )


def cheaper_as_good(decisions: Sequence[Recent]) -> float:
    """The share of expected cost that would be saved by the cheapest target whose expected quality is as good."""
    total = saved = 0
    for each in decisions:
        taken = each.of(each.chosen)
        if taken is None:
            continue
        total += taken.cost_nanos
        saved += taken.cost_nanos - min(one.cost_nanos for one in each.estimates if one.quality >= taken.quality - NEAR)
    return saved / total if total else 0.0


def _difference(decision: Recent, chosen: str, target: str) -> tuple[int, float]:
    """Cost and quality of ``target`` above those of ``chosen``; nothing where that was no candidate."""
    fixed, taken = decision.of(target), decision.of(chosen)
    if fixed is None or taken is None:
        return 0, 0.0
    return fixed.cost_nanos - taken.cost_nanos, fixed.quality - taken.quality
