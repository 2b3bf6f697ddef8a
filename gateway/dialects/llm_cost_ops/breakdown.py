"""``POST /api/v1/costs/breakdown``: sums by several dimensions at once. ``costs:read``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.dialects.common.models import Answer, Asked, EndMoment, Moment
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.dialects.llm_cost_ops.metrics import DIMENSIONS, METRICS, READ_NUMBERS, added, known, told
from gateway.domain.analytics.periods import between
from gateway.domain.analytics.service import Reader
from gateway.domain.ledger.query import Filter

router = make_router()
_MOST_ROWS = 10_000


class Wanted(Asked):
    """Which sums. A date alone is the whole day. Beyond the reference: filters, and ``limit`` of rows."""

    start_date: Moment | None = None
    end_date: EndMoment | None = None
    organization_id: str | None = None
    provider: str | None = None
    model_id: str | None = None
    dimensions: list[str] = Field(min_length=1, max_length=4)
    metrics: list[str] = Field(
        default_factory=lambda: ["total_cost", "total_tokens", "request_count"], min_length=1, max_length=10
    )
    limit: int = Field(default=1_000, ge=1, le=_MOST_ROWS)


class Breakdown(Answer):
    """A row for each combination, with its dimensions (null for none) and metrics; the dearest first."""

    breakdowns: list[dict[str, Any]]
    totals: dict[str, float | int]


class BreakdownAnswer(Answer):
    """A breakdown."""

    data: Breakdown


@router.post("/api/v1/costs/breakdown")
async def breakdown(asked: Wanted, work: Reading) -> BreakdownAnswer:
    """Sums by each combination of dimensions. A request with several tags is in the row of each of them."""
    names = known(asked.dimensions, DIMENSIONS, "dimensions")
    metrics = known(asked.metrics, METRICS, "metrics")
    within, reader = between(asked.start_date, asked.end_date), Reader(work, "costs:read")
    wanted = Filter(
        organization=asked.organization_id,
        from_ns=within.from_ns,
        until_ns=within.until_ns,
        providers=() if asked.provider is None else (asked.provider,),
        models=() if asked.model_id is None else (asked.model_id,),
    )
    found = await reader.sums(wanted, [DIMENSIONS[name] for name in names], numbers=READ_NUMBERS)
    totals = added(found) if "tag" not in names else (await reader.sums(wanted, numbers=READ_NUMBERS))[0]
    found.sort(key=lambda item: (-item.cost_nanos, -item.requests, item.group))
    rows = [
        dict(zip(names, (value or None for value in item.group), strict=True)) | told(item, metrics)
        for item in found[: asked.limit]
    ]
    return BreakdownAnswer(data=Breakdown(breakdowns=rows, totals=told(totals, metrics)))
