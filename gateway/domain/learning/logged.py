"""Decisions with what came of them, as they are measured afterwards."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from sqlalchemy import select

from gateway.contract.learned_routes import Estimate
from gateway.domain.learning.keeping import estimates_of
from gateway.domain.learning.model import RoutingDecision, RoutingFeedback
from gateway.domain.learning.observing import propensity_of, target_of
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.work import Work

MOST: Final = 20_000


class Outcome(Struct, frozen=True):
    """A decision, the target that answered and what came of it; None is unknown. Money is nano-dollars."""

    target: str
    propensity: float
    estimates: tuple[Estimate, ...]
    quality: float | None
    cost_nanos: int | None
    seconds: float | None


async def outcomes(work: Work, organization: str | None, from_ns: int, *, most: int = MOST) -> list[Outcome]:
    """The latest decisions since a time, at most ``most``, newest first: of one organization or of all.

    What was only advised came to what was told of it. Only for the platform.
    """
    work.actor.require_platform()
    decision, entry, told = RoutingDecision, LedgerEntry, RoutingFeedback
    query = (
        select(
            decision.chosen, decision.estimates, decision.shadow, decision.advised,
            entry.provider, entry.model, entry.outcome, entry.started_ns, entry.ended_ns, entry.cost_nanos,
            told.target, told.quality, told.cost_nanos.label("told_nanos"), told.latency_ms,
        )
        .join(entry, entry.id == decision.id)
        .outerjoin(told, told.id == decision.id)
        .where(decision.started_ns >= from_ns)
    )  # fmt: skip
    if organization is not None:
        query = query.where(decision.organization == organization)
    rows = await work.session.execute(query.order_by(decision.started_ns.desc()).limit(most))
    return [found for row in rows if (found := _outcome(row._asdict())) is not None]


def _outcome(row: dict[str, Any]) -> Outcome | None:
    estimates = estimates_of(row["estimates"])
    if row["advised"]:
        if not row["target"]:
            return None  # nobody told what was done
        latency = row["latency_ms"]
        target, cost, seconds = row["target"], row["told_nanos"], None if latency is None else latency / 1_000
    else:
        answered = target_of(row["provider"], row["model"])
        if answered is None or row["outcome"] != "ok":
            return None
        target, cost = answered, row["cost_nanos"]
        seconds = (row["ended_ns"] - row["started_ns"]) / 1e9
    return Outcome(target, propensity_of(row, target, estimates), estimates, row["quality"], cost, seconds)
