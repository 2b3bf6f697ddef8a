"""``/admin/transaction-analytics``: what was sold to whom. For administrators of the platform."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import Query
from msgspec import structs
from sqlalchemy import select

from gateway.dialects.common.models import Answer, Dollars, EndMoment, Moment, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.dialects.gatewayz.activity import filter_of
from gateway.domain.analytics.activity import user_of
from gateway.domain.analytics.periods import between, of_seconds
from gateway.domain.analytics.service import Reader
from gateway.domain.ledger.query import Sums
from gateway.domain.organizations.model import Organization
from gateway.domain.work import Work

router = make_router()
_NUMBERS = ("requests", "cost_nanos")
_NANOS_PER_CREDIT = 100_000_000
_NO_PLAN = "free"


class Chosen(Parameters):
    """Which transactions. A date alone is the whole day; ``user_id`` is an id, a number or ``user_<number>``."""

    start_date: Moment | None = None
    end_date: EndMoment | None = None
    user_id: str | None = None
    model: str | None = None
    provider: str | None = None


class Sold(Answer):
    """How many requests, and what they cost."""

    count: int
    revenue: Dollars


class ModelSold(Sold):
    """The same with ``credits``: tenths of a dollar, as the reference reckons them here."""

    credits: int


class Day(Answer):
    """What a day sold."""

    date: str
    transactions: int
    revenue: Dollars


class Transactions(Answer):
    """Requests as what was sold. Tiers are plans; who is on none has the tier ``free``."""

    total_transactions: int
    total_revenue: Dollars
    total_credits_used: int
    average_transaction_value: Dollars
    by_model: dict[str, ModelSold]
    by_provider: dict[str, Sold]
    by_user_tier: dict[str, Sold]
    time_series: list[Day]


class TransactionsAnswer(Answer):
    """What was sold."""

    success: bool = True
    analytics: Transactions


@router.get("/admin/transaction-analytics")
async def transactions(work: Reading, chosen: Annotated[Chosen, Query()]) -> TransactionsAnswer:
    """Every organisation's requests, in sums."""
    work.actor.require_platform()
    wanted = structs.replace(
        filter_of(between(chosen.start_date, chosen.end_date)),
        users=() if chosen.user_id is None else (await user_of(work, chosen.user_id),),
        models=() if chosen.model is None else (chosen.model,),
        providers=() if chosen.provider is None else (chosen.provider,),
    )
    reader = Reader(work, "system:read")
    found = await reader.sums(wanted, ("provider", "model"), "day", _NUMBERS)
    by_organization = await reader.sums(wanted, ("organization",), None, _NUMBERS)
    tiers = await _tiers(work)
    count, revenue = _totals(found)
    by_day: dict[int, list[Sums]] = {}
    for item in found:
        by_day.setdefault(item.start or 0, []).append(item)
    models = _by((item.group[1], item) for item in found)
    analytics = Transactions(
        total_transactions=count,
        total_revenue=revenue,
        total_credits_used=round(revenue / _NANOS_PER_CREDIT),
        average_transaction_value=round(revenue / count) if count else 0,
        by_model={
            name: ModelSold(count=sold, revenue=nanos, credits=round(nanos / _NANOS_PER_CREDIT))
            for name, (sold, nanos) in models.items()
        },
        by_provider=_sold((item.group[0] or "none", item) for item in found),
        by_user_tier=_sold((tiers.get(item.group[0]) or _NO_PLAN, item) for item in by_organization),
        time_series=[
            Day(date=of_seconds(start).date().isoformat(), transactions=sold, revenue=nanos)
            for start, (sold, nanos) in ((start, _totals(items)) for start, items in by_day.items())
        ],
    )
    return TransactionsAnswer(analytics=analytics)


async def _tiers(work: Work) -> dict[str, str | None]:
    rows = await work.session.execute(select(Organization.id, Organization.plan).where(Organization.plan.is_not(None)))
    return {row.id: row.plan for row in rows}


def _totals(found: Iterable[Sums]) -> tuple[int, int]:
    items = list(found)
    return sum(item.requests for item in items), sum(item.cost_nanos for item in items)


def _by(pairs: Iterable[tuple[str, Sums]]) -> dict[str, tuple[int, int]]:
    """Requests and nano-dollars by name, the dearest first."""
    groups: dict[str, list[Sums]] = {}
    for name, item in pairs:
        groups.setdefault(name, []).append(item)
    totals = {name: _totals(items) for name, items in groups.items()}
    return dict(sorted(totals.items(), key=lambda pair: (-pair[1][1], -pair[1][0], pair[0])))


def _sold(pairs: Iterable[tuple[str, Sums]]) -> dict[str, Sold]:
    return {name: Sold(count=count, revenue=nanos) for name, (count, nanos) in _by(pairs).items()}
