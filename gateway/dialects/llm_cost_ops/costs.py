"""``GET /api/v1/costs`` and ``/api/v1/costs/summary``: what was spent, by group and period. ``costs:read``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from msgspec import structs

from gateway.dialects.common.models import Answer, Dollars, EndMoment, Instant, Moment, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.dialects.llm_cost_ops.cost_records import CostRecord, cost_record
from gateway.dialects.llm_cost_ops.listing import (
    Listing,
    NumberedPage,
    Paging,
    bounds,
    listed,
    numbered_page,
    order_of,
)
from gateway.dialects.llm_cost_ops.metrics import READ_NUMBERS, added, average_cost, average_tokens, tokens
from gateway.domain.analytics.entries import COSTS
from gateway.domain.analytics.periods import Interval, Period, between, days, named, of_seconds
from gateway.domain.analytics.service import Reader
from gateway.domain.analytics.tags import Grouping
from gateway.domain.fields import invalid
from gateway.domain.ledger.query import Filter, Sums

READ = "costs:read"
GroupBy = Literal["none", "provider", "model", "organization", "project", "tag", "hour", "day", "week", "month"]
_TOP_MODELS = 10
_MOST_GROUPS = 10_000

router = make_router()


class Chosen(Listing):
    """Which costs, in which groups. A date alone is the whole day; ``end_date`` is within."""

    organization_id: str | None = None
    provider: str | None = None
    model_id: str | None = None
    start_date: Moment | None = None
    end_date: EndMoment | None = None
    group_by: GroupBy = "none"


class _Row(Answer):
    dimension: str
    value: str | None
    cost: Dollars | None
    tokens: int
    requests: int


class Group(_Row):
    """The costs of one provider, model, day or so. ``value`` is null for what has none."""


class Single(_Row):
    """A cost for itself, null where nobody knows the price; ``value`` is its id. What takes another back counts -1
    request."""

    timestamp: Instant
    organization_id: str
    provider: str | None
    model_id: str


class Costs(Answer):
    """What was spent. ``unpriced_requests`` are those nobody knows a price of: ``total_cost`` is without them."""

    total_cost: Dollars
    currency: str = "USD"
    total_tokens: int
    total_requests: int
    unpriced_requests: int
    period_start: Instant
    period_end: Instant
    breakdown: Sequence[Single] | Sequence[Group]


class CostsAnswer(Answer):
    """Costs, and which of their groups are shown."""

    data: Costs
    pagination: Paging


class ChosenPeriod(Parameters):
    """Which days, in UTC."""

    period: Period = "last-30-days"
    organization_id: str | None = None


class TopModel(Answer):
    """What a model cost."""

    model_id: str
    provider: str | None
    cost: Dollars
    requests: int


class Day(Answer):
    """What a day cost."""

    date: str
    cost: Dollars
    requests: int


class Summary(Answer):
    """A period's costs, its dearest models and its days."""

    period: str
    total_cost: Dollars
    currency: str = "USD"
    total_tokens: int
    total_requests: int
    unpriced_requests: int
    average_cost_per_request: float
    average_tokens_per_request: int
    top_models: list[TopModel]
    daily_trend: list[Day]


class SummaryAnswer(Answer):
    """A summary."""

    data: Summary


@router.get("/api/v1/costs")
async def get_costs(work: Reading, chosen: Annotated[Chosen, Query()]) -> CostsAnswer:
    """Costs in all, and by group: those that cost most first, periods in their order, single costs newest first."""
    within, reader = between(chosen.start_date, chosen.end_date), Reader(work, READ)
    wanted = await reader.within(
        Filter(
            organization=chosen.organization_id,
            from_ns=within.from_ns,
            until_ns=within.until_ns,
            providers=() if chosen.provider is None else (chosen.provider,),
            models=() if chosen.model_id is None else (chosen.model_id,),
        )
    )
    if chosen.group_by == "none":
        return await _ungrouped(reader, chosen, wanted)
    found = await _grouped(reader, chosen, wanted)
    whole = added(found) if chosen.group_by != "tag" else (await reader.sums(wanted, numbers=READ_NUMBERS))[0]
    shown, page = _paged(chosen, _sorted(chosen, found))
    groups = [
        Group(dimension=chosen.group_by, value=_value(chosen, item), **_counted(item))
        for item in shown
    ]  # fmt: skip
    return CostsAnswer(data=await _costs(reader, chosen, wanted, whole, groups), pagination=page)


@router.get("/api/v1/costs/summary")
async def get_summary(work: Reading, chosen: Annotated[ChosenPeriod, Query()]) -> SummaryAnswer:
    """The costs of a period, in whole days."""
    within = named(chosen.period, work.now)
    wanted = Filter(organization=chosen.organization_id, from_ns=within.from_ns, until_ns=within.until_ns)
    found = await Reader(work, READ).sums(wanted, ("model", "provider"), "day", READ_NUMBERS)
    whole = added(found)
    by_model: dict[tuple[str, ...], list[Sums]] = {}
    by_day: dict[int | None, list[Sums]] = {}
    for item in found:
        by_model.setdefault(item.group, []).append(item)
        by_day.setdefault(item.start, []).append(item)
    models = [(key, added(items)) for key, items in by_model.items()]
    models.sort(key=lambda pair: (-pair[1].cost_nanos, -pair[1].requests, pair[0]))
    trend = [(start, added(by_day.get(start, ()))) for start in days(within)]
    return SummaryAnswer(
        data=Summary(
            period=chosen.period,
            total_cost=whole.cost_nanos,
            total_tokens=tokens(whole),
            total_requests=whole.requests,
            unpriced_requests=whole.unpriced,
            average_cost_per_request=average_cost(whole),
            average_tokens_per_request=average_tokens(whole),
            top_models=[
                TopModel(model_id=model, provider=provider or None, cost=sums.cost_nanos, requests=sums.requests)
                for (model, provider), sums in models[:_TOP_MODELS]
            ],
            daily_trend=[
                Day(date=of_seconds(start).date().isoformat(), cost=sums.cost_nanos, requests=sums.requests)
                for start, sums in trend
            ],
        )
    )


def _counted(sums: Sums) -> dict[str, int]:
    return {"cost": sums.cost_nanos, "tokens": tokens(sums), "requests": sums.requests}


async def _ungrouped(reader: Reader, chosen: Chosen, wanted: Filter) -> CostsAnswer:
    by_number = "limit" not in chosen.model_fields_set and chosen.cursor is None
    found, page = await listed(reader, chosen, structs.replace(wanted, kinds=COSTS), by_number=by_number)
    (whole,) = await reader.sums(wanted, numbers=READ_NUMBERS)
    rows = [_single(cost_record(item.entry)) for item in found]
    return CostsAnswer(data=await _costs(reader, chosen, wanted, whole, rows), pagination=page)


def _single(record: CostRecord) -> Single:
    return Single(
        dimension="none",
        value=record.id,
        cost=record.total_cost,
        tokens=record.total_tokens,
        requests=record.requests,
        timestamp=record.timestamp,
        organization_id=record.organization_id,
        provider=record.provider,
        model_id=record.model_id,
    )


async def _grouped(reader: Reader, chosen: Chosen, wanted: Filter) -> list[Sums]:
    interval: Interval | None = None
    by: tuple[Grouping, ...] = ()
    match chosen.group_by:
        case "hour" | "day" | "week" | "month":
            interval = chosen.group_by
        case "provider" | "model" | "organization" | "project" | "tag":
            by = (chosen.group_by,)
    found = await reader.sums(wanted, by, interval, READ_NUMBERS)
    if len(found) > _MOST_GROUPS:
        raise invalid(f"group_by gives more than {_MOST_GROUPS} groups; choose a shorter period.", "group_by")
    return found


def _sorted(chosen: Chosen, found: list[Sums]) -> list[Sums]:
    """By the fields asked for; a field that the groups don't have puts none before another."""
    of_time = chosen.group_by in ("hour", "day", "week", "month")
    order = order_of(chosen)
    if "sort_by" not in chosen.model_fields_set:
        descending = chosen.order == "desc" and (not of_time or "order" in chosen.model_fields_set)
        order = [("timestamp" if of_time else "total_cost", descending)]
    own = {"provider": "provider", "model": "model_id"}.get(chosen.group_by)
    found = sorted(found, key=lambda item: (item.start or 0, item.group))
    for name, descending in reversed(order):
        if name == "total_cost":
            found.sort(key=lambda item: item.cost_nanos, reverse=descending)
        elif name == "total_tokens":
            found.sort(key=tokens, reverse=descending)
        elif name in ("timestamp", "created_at"):
            found.sort(key=lambda item: item.start or 0, reverse=descending)
        elif name == own:
            found.sort(key=lambda item: item.group, reverse=descending)
    return found


def _paged(chosen: Chosen, found: list[Sums]) -> tuple[list[Sums], NumberedPage]:
    """All groups, unless a page is asked for."""
    if not {"page", "per_page", "limit", "cursor"} & chosen.model_fields_set:
        whole = max(1, len(found))
        page = NumberedPage(
            page=1, per_page=whole, total_pages=1, total_count=len(found), has_previous=False, has_next=False
        )
        return found, page
    if chosen.cursor is not None:
        raise invalid("cursor is for single costs; ask for groups with page and per_page.", "cursor")
    limited = chosen if chosen.per_page is not None else chosen.model_copy(update={"per_page": chosen.limit})
    size, offset = bounds(limited)
    return found[offset : offset + size], numbered_page(limited, len(found))


def _value(chosen: Chosen, item: Sums) -> str | None:
    if item.start is None:
        return item.group[0] or None
    at = of_seconds(item.start)
    if chosen.group_by == "hour":
        return at.strftime("%Y-%m-%dT%H:00:00Z")
    return at.strftime("%Y-%m" if chosen.group_by == "month" else "%Y-%m-%d")


async def _costs(
    reader: Reader, chosen: Chosen, wanted: Filter, whole: Sums, rows: Sequence[Single] | Sequence[Group]
) -> Costs:
    now = reader.work.now
    start: datetime | None = chosen.start_date or await reader.beginning(wanted.organization)
    return Costs(
        total_cost=whole.cost_nanos,
        total_tokens=tokens(whole),
        total_requests=whole.requests,
        unpriced_requests=whole.unpriced,
        period_start=min(start or now, chosen.end_date or now),
        period_end=chosen.end_date or now,
        breakdown=rows,
    )
