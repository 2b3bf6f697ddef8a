"""What learned routes chose over some time, by the sums of hours."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.learning.keeping import MILLION
from gateway.domain.learning.model import HOUR_SUMS, ROUTING_HOURS

_NS: Final = 1_000_000_000
_HOUR: Final = 3_600


class Chosen(Struct, frozen=True):
    """Sums over decisions for one ``target``, or for all where that is empty; see :data:`.model.ROUTING_HOURS`."""

    target: str
    decisions: int = 0
    advised: int = 0
    explored: int = 0
    shadow: int = 0
    fixed: int = 0
    confidence: int = 0
    cost_nanos: int = 0
    strongest_nanos: int = 0
    tracked: int = 0
    costs: int = 0
    cost_accuracy: int = 0
    latencies: int = 0
    latency_accuracy: int = 0
    provider_matches: int = 0
    model_matches: int = 0

    @property
    def average_confidence(self) -> float:
        """From 0 to 1, to a thousandth; 0 where there is no decision."""
        return round(self.confidence / MILLION / self.decisions, 3) if self.decisions else 0.0

    @property
    def saved_nanos(self) -> int:
        """What the chosen targets were expected to cost less than those of the highest expected quality."""
        return self.strongest_nanos - self.cost_nanos


async def chosen(
    session: AsyncSession, organization: str | None, credential: str | None, from_ns: int, until_ns: int | None = None
) -> list[Chosen]:
    """By target, those chosen most often first: of one organization or of all, of one credential or of all.

    Hours are whole: one that ``from_ns`` lies in counts from its beginning.
    """
    table = ROUTING_HOURS.c
    query = select(table.target, *(func.sum(table[name]) for name in HOUR_SUMS))
    query = query.where(table.start >= from_ns // _NS // _HOUR * _HOUR)
    if until_ns is not None:
        query = query.where(table.start < until_ns // _NS)
    if organization is not None:
        query = query.where(table.organization == organization)
    if credential is not None:
        query = query.where(table.credential == credential)
    rows = await session.execute(query.group_by(table.target))
    found = [Chosen(row[0], *(int(value or 0) for value in row[1:])) for row in rows]
    return sorted(found, key=lambda each: (-each.decisions, each.target))


def altogether(parts: list[Chosen]) -> Chosen:
    """The sums of all."""
    return Chosen("", *(sum(getattr(part, name) for part in parts) for name in HOUR_SUMS))


def mean_accuracy(total: int, count: int) -> float | None:
    """Percent, from sums as they are kept; None where there is none."""
    return round(total / 1_000 / count, 1) if count else None
