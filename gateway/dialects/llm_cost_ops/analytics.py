"""``GET /api/v1/analytics``: metrics over time, with breakdowns. ``analytics:read``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from gateway.dialects.common.models import Answer, EndMoment, Instant, Moment, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.dialects.llm_cost_ops.metrics import DIMENSIONS, METRICS, READ_NUMBERS, added, known, split, told
from gateway.domain.analytics.periods import Interval, Range, beginning, between, of_seconds
from gateway.domain.analytics.service import Reader
from gateway.domain.fields import invalid
from gateway.domain.ledger.query import Filter, Sums

router = make_router()
_SUMMARY = (
    "total_cost", "total_tokens", "total_requests", "unpriced_requests", "average_cost_per_request",
    "average_tokens_per_request",
)  # fmt: skip
_MOST_POINTS = 10_000


class Chosen(Parameters):
    """Which metrics over which time. A date alone is the whole day; lists have commas."""

    start_date: Moment
    end_date: EndMoment
    organization_id: str | None = None
    provider: str | None = None
    model_id: str | None = None
    metrics: str = Field(default="total_cost,total_tokens,total_requests", max_length=500)
    group_by: str = Field(default="", max_length=200)
    interval: Interval = "day"


class Point(Answer):
    """The metrics of the interval that begins at ``timestamp``.

    With ``group_by=provider`` there is ``provider_breakdown`` among them: the costs (or the first metric, where costs
    are not asked for) by provider.
    """

    timestamp: Instant
    metrics: dict[str, Any]


class Analytics(Answer):
    """Every interval of the time asked for, and the sums over all of it."""

    time_series: list[Point]
    summary: dict[str, float | int]


class AnalyticsAnswer(Answer):
    """Metrics over time."""

    data: Analytics


@router.get("/api/v1/analytics")
async def get_analytics(work: Reading, chosen: Annotated[Chosen, Query()]) -> AnalyticsAnswer:
    """Metrics by interval, in UTC; weeks begin on Monday."""
    names = known(split(chosen.group_by), DIMENSIONS, "group_by")
    metrics = known(split(chosen.metrics), METRICS, "metrics")
    if not metrics:
        raise invalid("metrics must name at least one.", "metrics")
    within = between(chosen.start_date, chosen.end_date)
    starts = _starts(within, chosen.interval)
    wanted = Filter(
        organization=chosen.organization_id,
        from_ns=within.from_ns,
        until_ns=within.until_ns,
        providers=() if chosen.provider is None else (chosen.provider,),
        models=() if chosen.model_id is None else (chosen.model_id,),
    )
    reader = Reader(work, "analytics:read")
    broken = "total_cost" if "total_cost" in metrics else metrics[0]
    breakdowns: dict[str, dict[int, dict[str, float | int]]] = {}
    whole: list[Sums] | None = None
    for name in names:
        found = await reader.sums(wanted, (DIMENSIONS[name],), chosen.interval, READ_NUMBERS)
        parts = breakdowns[f"{name}_breakdown"] = {}
        for item in found:
            parts.setdefault(item.start or 0, {})[item.group[0] or "none"] = METRICS[broken](item)
        if name != "tag":  # a request with several tags is among them several times
            whole = found
    if whole is None:
        whole = await reader.sums(wanted, (), chosen.interval, READ_NUMBERS)
    by_start: dict[int | None, list[Sums]] = {}
    for item in whole:
        by_start.setdefault(item.start, []).append(item)
    sums = {start: added(items) for start, items in by_start.items()}
    series = [
        Point(
            timestamp=of_seconds(start),
            metrics=told(sums.get(start, Sums()), metrics)
            | {name: parts.get(start, {}) for name, parts in breakdowns.items()},
        )
        for start in starts
    ]
    return AnalyticsAnswer(data=Analytics(time_series=series, summary=told(added(sums.values()), _SUMMARY)))


def _starts(within: Range, interval: Interval) -> list[int]:
    """When the intervals of a range begin. Raises INVALID where they are too many."""
    if within.start is None or within.end is None:
        raise invalid("end_date must be before the year 9999.", "end_date")
    size = 3_600 if interval == "hour" else 86_400
    steps = (within.end - within.start) / timedelta(seconds=size)
    if steps > _MOST_POINTS:
        message = f"interval must give at most {_MOST_POINTS} of them; choose a longer one, or a shorter period."
        raise invalid(message, "interval")
    first = int(within.start.timestamp())
    last = int((within.end - timedelta(microseconds=1)).timestamp())
    every = range(first - first % size, last + 1, size)
    return list(dict.fromkeys(beginning(start, interval) for start in every))
