"""``/api/v1/usage``: records reported, listed and read. ``usage:write`` and ``usage:read``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from gateway.contract.envelopes import render
from gateway.dialects.common.bodies import Text
from gateway.dialects.common.context import Context, ContextOf, origin_of
from gateway.dialects.common.faults import of_validation
from gateway.dialects.common.fields import IdempotencyKey
from gateway.dialects.common.models import Answer, EndMoment, Moment
from gateway.dialects.common.routing import LARGEST_BODY, make_large_router, make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.dialects.llm_cost_ops import usage_wire as wire
from gateway.dialects.llm_cost_ops.listing import Listing, Paging, listed
from gateway.domain.analytics.entries import REPORTED
from gateway.domain.analytics.periods import between
from gateway.domain.analytics.service import Reader
from gateway.domain.ledger.query import Filter
from gateway.domain.ledger.reporting import Report, Reporting, Result
from gateway.domain.organizations import repo as organizations
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

LARGEST_BATCH = 10_485_760  # bytes
_TOGETHER = 262_144  # bytes of records that are entered at once
READ = "usage:read"

router = make_router()
_large = make_large_router(LARGEST_BATCH, "records")


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
    pagination: Paging


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
    taken = _Batch(Reporting(work, context.prices), known_providers(context), idempotency_key)
    results = [_result(index, item, request, work) async for index, item in taken.results(asked.records)]
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
    found, page = await listed(Reader(work, READ), chosen, wanted)
    return Records(data=[wire.record_of(item) for item in found], pagination=page)


router.include_router(_large)


@router.get("/api/v1/usage/{usage_id}")
async def get_record(usage_id: str, work: Reading) -> wire.RecordAnswer:
    """One record."""
    return wire.RecordAnswer(data=wire.record_of(await Reader(work, READ).get(usage_id)))


def known_providers(context: Context) -> frozenset[str]:
    """Those of the reference, and those of the configuration by name and kind."""
    configured = context.settings.providers
    return wire.PROVIDERS | {item.name for item in configured} | {item.kind for item in configured}


class _Batch:
    """Records on their way into the ledger, a part at a time: what they unfold to goes again in between."""

    def __init__(self, reporting: Reporting, known: frozenset[str], idempotency_key: str | None) -> None:
        self._reporting = reporting
        self._known = known
        self._key = idempotency_key

    async def results(self, items: Sequence[object]) -> AsyncIterator[tuple[int, Result]]:
        """What became of each, in their order. Raises what is wrong with the body as a whole."""
        waiting: dict[int, Report | GatewayError] = {}
        size = 0
        for index, item in enumerate(items):
            try:
                waiting[index] = self._report(index, item)
            except GatewayError as error:
                waiting[index] = error
            size += item.size if isinstance(item, Text) else 0
            if size >= _TOGETHER:
                for result in await self._entered(waiting):
                    yield result
                waiting, size = {}, 0
        for result in await self._entered(waiting):
            yield result
        await self._reporting.audit()

    def _report(self, index: int, item: object) -> Report:
        if isinstance(item, Text) and item.size > LARGEST_BODY:
            message = f"A record must have at most {LARGEST_BODY} bytes."
            raise GatewayError(Kind.TOO_LARGE, "payload_too_large", message)
        key = None if self._key is None else f"{self._key}:{index}"
        return wire.report_of(_record(item), self._reporting.work.now, self._known, key)

    async def _entered(self, waiting: Mapping[int, Report | GatewayError]) -> list[tuple[int, Result]]:
        reports = {index: item for index, item in waiting.items() if isinstance(item, Report)}
        found = dict(zip(reports, await self._reporting.enter(list(reports.values())), strict=True))
        return [(index, item if isinstance(item, GatewayError) else found[index]) for index, item in waiting.items()]


def _record(item: object) -> wire.NewRecord:
    try:
        value = item.read() if isinstance(item, Text) else item
    except (ValueError, RecursionError):
        raise HTTPException(400) from None
    try:
        return wire.NewRecord.model_validate(value)
    except ValidationError as error:
        raise of_validation(RequestValidationError(error.errors())) from None


def _result(index: int, result: Result, request: Request, work: Work) -> wire.RecordResult:
    if not isinstance(result, GatewayError):
        return wire.RecordResult(index=index, usage_id=result.id, status="success")
    rendered = render("llm_cost_ops", result, request_id=origin_of(request).request_id or "", now=work.now)
    return wire.RecordResult(index=index, status="failed", error=rendered.body["error"])
