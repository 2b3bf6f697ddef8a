"""``/api/v1/usage``: records reported, listed and read. ``usage:write`` and ``usage:read``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from gateway.contract.envelopes import render
from gateway.dialects.common.context import Context, ContextOf, origin_of
from gateway.dialects.common.faults import of_validation
from gateway.dialects.common.fields import IdempotencyKey
from gateway.dialects.common.models import Answer, EndMoment, Moment
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.dialects.llm_cost_ops import usage_wire as wire
from gateway.dialects.llm_cost_ops.listing import (
    Listing,
    NumberedPage,
    after_of,
    bounds,
    cursor_page,
    numbered,
    numbered_page,
    sorts_of,
)
from gateway.dialects.llm_cost_ops.paging import CountedPage
from gateway.domain.analytics.entries import REPORTED
from gateway.domain.analytics.periods import between
from gateway.domain.analytics.service import Reader
from gateway.domain.ledger.query import Filter
from gateway.domain.ledger.reporting import Report, Reporting, Result
from gateway.domain.organizations import repo as organizations
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError

LARGEST_BATCH = 10_485_760  # bytes
READ = "usage:read"

router = make_router()
_large = make_router(LARGEST_BATCH)


class Chosen(Listing):
    """Which records. A date alone is the whole day."""

    start_date: Moment | None = None
    end_date: EndMoment | None = None
    provider: str | None = None
    model_id: str | None = None
    organization_id: str | None = None
    user_id: str | None = None


class Records(Answer):
    """A page of records."""

    data: list[wire.Record]
    pagination: CountedPage | NumberedPage


@router.post("/api/v1/usage", status_code=201)
async def submit(
    asked: wire.NewRecord, work: Writing, context: ContextOf, idempotency_key: IdempotencyKey = None
) -> wire.SubmittedAnswer:
    """Report the usage of one request; the same ``Idempotency-Key`` enters it once."""
    report = wire.report_of(asked, work.now, known_providers(context), idempotency_key)
    (result,) = await Reporting(work, context.prices).record([report])
    if isinstance(result, GatewayError):
        raise result
    made = wire.Submitted(
        usage_id=result.id,
        organization_id=await organizations.id_of(work.session, asked.organization_id),
        estimated_cost=result.cost_nanos,
        processed_at=work.now,
    )
    return wire.SubmittedAnswer(data=made)


@_large.post("/api/v1/usage/batch", status_code=201, response_model_exclude_none=True)
async def submit_batch(
    asked: wire.NewRecords,
    request: Request,
    response: Response,
    work: Writing,
    context: ContextOf,
    idempotency_key: IdempotencyKey = None,
) -> wire.BatchAnswer:
    """Report up to 1,000 requests. What is wrong with one keeps no other from being entered."""
    known = known_providers(context)
    reports: dict[int, Report] = {}
    errors: dict[int, GatewayError] = {}
    for index, item in enumerate(asked.records):
        key = None if idempotency_key is None else f"{idempotency_key}:{index}"
        try:
            reports[index] = wire.report_of(_record(item), work.now, known, key)
        except GatewayError as error:
            errors[index] = error
    found = dict(zip(reports, await Reporting(work, context.prices).record(list(reports.values())), strict=True))
    results = [_result(index, errors.get(index) or found[index], request, work) for index in range(len(asked.records))]
    failed = sum(item.status == "failed" for item in results)
    if failed == len(results):
        response.status_code = 200  # nothing was created
    return wire.BatchAnswer(data=wire.BatchResult(submitted=len(results) - failed, failed=failed, results=results))


@router.get("/api/v1/usage/history")
@router.get("/api/v1/usage")
async def list_records(work: Reading, chosen: Annotated[Chosen, Query()]) -> Records:
    """Records, the newest first unless another order is asked for."""
    within = between(chosen.start_date, chosen.end_date)
    wanted = Filter(
        organization=chosen.organization_id,
        from_ns=within.from_ns,
        until_ns=within.until_ns,
        providers=() if chosen.provider is None else (chosen.provider,),
        models=() if chosen.model_id is None else (chosen.model_id,),
        users=() if chosen.user_id is None else (chosen.user_id,),
        kinds=REPORTED,
    )
    limit, offset = bounds(chosen)
    found = await Reader(work, READ).page(
        wanted, order=sorts_of(chosen), limit=limit, after=after_of(chosen), offset=offset
    )
    by_number = numbered(chosen)
    page = numbered_page(chosen, found.total) if by_number else cursor_page(chosen, found.total, found.after)
    return Records(data=[wire.record_of(item) for item in found.items], pagination=page)


router.include_router(_large)


@router.get("/api/v1/usage/{usage_id}")
async def get_record(usage_id: str, work: Reading) -> wire.RecordAnswer:
    """One record."""
    return wire.RecordAnswer(data=wire.record_of(await Reader(work, READ).get(usage_id)))


def known_providers(context: Context) -> frozenset[str]:
    """Those of the reference, and those of the configuration by name and kind."""
    configured = context.settings.providers
    return wire.PROVIDERS | {item.name for item in configured} | {item.kind for item in configured}


def _record(item: object) -> wire.NewRecord:
    try:
        return wire.NewRecord.model_validate(item)
    except ValidationError as error:
        raise of_validation(RequestValidationError(error.errors())) from None


def _result(index: int, result: Result, request: Request, work: Work) -> wire.RecordResult:
    if not isinstance(result, GatewayError):
        return wire.RecordResult(index=index, usage_id=result.id, status="success")
    rendered = render("llm_cost_ops", result, request_id=origin_of(request).request_id or "", now=work.now)
    return wire.RecordResult(index=index, status="failed", error=rendered.body["error"])
