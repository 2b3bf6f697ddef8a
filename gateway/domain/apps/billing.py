"""What an app has used of its tier: this calendar month, those before it, and what the month comes to if it goes on."""

from __future__ import annotations

import calendar
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from gateway.contract.policy import LimitPolicy
from gateway.domain.analytics.periods import of_seconds, to_ns
from gateway.domain.apps.model import App
from gateway.domain.credentials import repo
from gateway.domain.learning.sums import Chosen, altogether, chosen
from gateway.domain.ledger import totals
from gateway.domain.ledger.query import Filter, Sums
from gateway.domain.work import Work

Span = Literal["current", "3months", "6months", "12months"]
MONTHS: Final[dict[Span, int]] = {"current": 1, "3months": 3, "6months": 6, "12months": 12}
_NUMBERS: Final = ("requests", "cost_nanos")
_UNSURE: Final = 3  # days below which a projection is hardly more than a guess


class Month(Struct, frozen=True):
    """Requests of models in the calendar month that begins at ``start`` (UTC)."""

    start: datetime
    requests: int
    cost_nanos: int

    @property
    def end(self) -> datetime:
        """Its last second."""
        days = calendar.monthrange(self.start.year, self.start.month)[1]
        return self.start + timedelta(days=days) - timedelta(seconds=1)


class Projection(Struct, frozen=True):
    """What a month comes to if its days go on as they did; ``confidence`` is percent."""

    requests: int
    cost_nanos: int
    confidence: int


class Part(Struct, frozen=True):
    """Requests of a part of the month."""

    name: str
    requests: int
    cost_nanos: int


class Billing(Struct, frozen=True):
    """``months`` are those of the span, the present one last; the other figures are the present one's.

    ``cost_used`` is the percentage of the least limit of money over a month, None where there is none.
    """

    months: tuple[Month, ...]
    routed: Chosen
    providers: tuple[Part, ...]
    projection: Projection
    cost_used: int | None

    @property
    def month(self) -> Month:
        """The present one."""
        return self.months[-1]


async def billing(work: Work, app: App, span: Span, limits: Sequence[LimitPolicy]) -> Billing:
    """What an app has used; ``limits`` are those that hold for its credential. Nobody's rights are asked for."""
    credential = await repo.of_app(work.session, app.app_id)
    ids = ("",) if credential is None else (credential.id,)
    start = work.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    wanted = Filter(organization=app.organization_id, from_ns=to_ns(_before(start, MONTHS[span] - 1)), credentials=ids)
    found = {item.start: item for item in await totals.sums(work.session, wanted, (), "month", _NUMBERS) if item.start}
    months = []
    for back in range(MONTHS[span] - 1, -1, -1):
        at = _before(start, back)
        item = found.get(int(at.timestamp()), Sums())
        months.append(Month(at, item.requests, item.cost_nanos))
    present = wanted.between(to_ns(start), None)
    by_provider = await totals.sums(work.session, present, ("provider",), None, _NUMBERS)
    days = await totals.sums(work.session, present, (), "day", _NUMBERS)
    providers = [Part(item.group[0], item.requests, item.cost_nanos) for item in by_provider if item.group[0]]
    return Billing(
        tuple(months),
        altogether(await chosen(work.session, app.organization_id, ids[0], to_ns(start))),
        tuple(sorted(providers, key=lambda part: (-part.requests, part.name))),
        project(work.now, days),
        _cost_used(months[-1], limits),
    )


def project(now: datetime, days: Sequence[Sums]) -> Projection:
    """Each day still to come is taken to be like the mean of those that were, the present one as far as it has come.

    The confidence is what is left of 100 % after the standard error of the projected requests; no more than half of
    that within the first three days.
    """
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    gone = (now - start) / timedelta(days=1)
    left = calendar.monthrange(now.year, now.month)[1] - gone
    requests, cost = sum(day.requests for day in days), sum(day.cost_nanos for day in days)
    if gone <= 0 or not requests:
        return Projection(requests, cost, 0)
    factor = 1.0 + left / gone
    counts = {of_seconds(day.start).day: day.requests for day in days if day.start is not None}
    whole = [counts.get(number, 0) for number in range(1, now.day)]
    days_seen = list(whole)
    if counts.get(now.day, 0) > sum(whole) / max(1, len(whole)):
        days_seen.append(counts[now.day])  # the present day is no less than this
    sure = 1.0 - min(1.0, _error(days_seen, left) / (requests * factor)) if len(days_seen) > 1 else 0.5
    if len(whole) < _UNSURE:
        sure /= 2.0
    return Projection(round(requests * factor), round(cost * factor), min(99, round(100 * sure)))


def _error(counts: Sequence[int], left: float) -> float:
    """The standard error of the sum of ``left`` further days."""
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / (len(counts) - 1)
    return math.sqrt(variance * left * (1.0 + left / len(counts)))


def _before(start: datetime, months: int) -> datetime:
    years, month = divmod(start.year * 12 + start.month - 1 - months, 12)
    return start.replace(year=years, month=month + 1)


def _cost_used(month: Month, limits: Sequence[LimitPolicy]) -> int | None:
    most = [each.limit for each in limits if each.metric == "cost" and each.window == "month" and each.limit > 0]
    return round(100 * month.cost_nanos / min(most)) if most else None
